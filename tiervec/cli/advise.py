"""``tiervec advise``: which index for one's own data on one's own tier, and what to expect of it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from tiervec.cli.options import add_json, add_threads, byte_size, count, positive, recall_target

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "advise",
        help="recommend an index for your data and tier, and predict its speed",
        description="Builds small indexes of samples of the data, measures them and this machine, and predicts what "
        "each design does with all of the data. Takes some minutes; the machine should have nothing else to do.",
        epilog="--check measures an index that exists and prints how far the prediction for it is off.",
        allow_abbrev=False,
    )
    parser.add_argument("--data", metavar="FILE", required=True, help="vectors, in any format of `build`")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--tier", metavar="URL", default="dram:", help="where the big part is to be (default: dram:)")
    where.add_argument(
        "--profile", metavar="FILE", help="a device that is elsewhere: what `tiervec profile URL --json` printed there"
    )
    parser.add_argument("--k", metavar="N", type=positive, default=10, help="neighbours per query (default: 10)")
    parser.add_argument(
        "--target-recall", metavar="R", type=recall_target, default=0.95, help="recall to reach (default: 0.95)"
    )
    parser.add_argument("--fast-memory", metavar="SIZE", type=byte_size, help="fast memory that the index may take")
    add_threads(parser)
    parser.add_argument("--metric", default="l2", help="l2 (squared), ip or cosine (default: l2)")
    parser.add_argument(
        "--prefer",
        choices=("throughput", "latency"),
        default="throughput",
        help="what the best one is best at (default: throughput)",
    )
    parser.add_argument(
        "--calibration-queries", metavar="FILE", help="vectors like the queries to come (default: some of the data)"
    )
    parser.add_argument(
        "--sample", metavar="N", type=positive, default=64_000, help="vectors of the larger sample (default: 64000)"
    )
    parser.add_argument("--seed", metavar="N", type=count, default=0, help="seed of the choice (default: 0)")
    parser.add_argument("--work", metavar="DIR", help="keep the samples' indexes here: asking again is then quick")
    parser.add_argument("--check", metavar="DIR", help="compare the prediction with this index of the same data")
    parser.add_argument("--queries", metavar="FILE", help="queries for --check")
    parser.add_argument("--ground-truth", metavar="FILE", help="their true neighbours, for the recall of --check")
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from tiervec.advisor import Request, advise, check
    from tiervec.advisor.device import Device
    from tiervec.cli.output import print_json
    from tiervec.errors import InvalidArgumentError
    from tiervec.vectors.ground_truth import read_ground_truth

    if (arguments.check is None) != (arguments.queries is None):
        raise InvalidArgumentError("--check and --queries need each other")
    queries = None if arguments.queries is None else _read(arguments.queries)
    truth = None if arguments.ground_truth is None else read_ground_truth(arguments.ground_truth).ids
    by_tier = arguments.profile is None
    device = Device.of_tier(arguments.tier) if by_tier else Device.read_profile(arguments.profile)
    request = Request(
        data=arguments.data,
        device=device,
        k=arguments.k,
        target_recall=arguments.target_recall,
        fast_memory=arguments.fast_memory,
        threads=arguments.threads,
        metric=arguments.metric,
        prefer=arguments.prefer,
        sample=arguments.sample,
        seed=arguments.seed,
        work=None if arguments.work is None else Path(arguments.work),
        queries=None if arguments.calibration_queries is None else _read(arguments.calibration_queries),
        check=None if arguments.check is None else Path(arguments.check),
        check_queries=queries,
    )
    advice = advise(request, lambda text: print(f"tiervec: {text}", file=sys.stderr, flush=True))
    checked = None if arguments.check is None else check(advice, truth)
    if arguments.json:
        print_json({**advice.as_dict(), "check": None if checked is None else checked.as_dict()})
    else:
        print(advice if checked is None else f"{advice}\n\n{checked}")
    return 0


def _read(path: str) -> Any:
    from tiervec.vectors.vector_files import open_vectors

    file = open_vectors(path)
    return file.rows(0, file.shape[0])
