"""``tiervec build``: a file of vectors becomes an index directory."""

from __future__ import annotations

import argparse
from typing import Any

from tiervec.cli.options import add_json, add_settings, add_threads, byte_size, count, settings
from tiervec.kinds.names import DEFAULT_KIND, KIND_NAMES

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "build",
        help="build an index from a file of vectors",
        description="Builds an index from a file of vectors. Ctrl-C stops it; nothing half-written remains.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--data",
        metavar="FILE",
        required=True,
        help="vectors: .npy .fbin .f16bin .u8bin .i8bin .fvecs .bvecs .hdf5 .parquet",
    )
    parser.add_argument("--out", metavar="DIR", required=True, help="the index directory to create; must not exist")
    parser.add_argument("--kind", choices=KIND_NAMES, default=DEFAULT_KIND, help="kind of index (default: %(default)s)")
    parser.add_argument(
        "--metric",
        default="l2",
        help="l2 (squared), ip or cosine; a smaller distance is closer (default: l2)",
    )
    add_settings(parser, "graph_degree=32, code_bits=4; for --kind cluster: layout=grouped, clusters=10000, replicas=8")
    add_threads(parser)
    parser.add_argument(
        "--memory-limit",
        metavar="SIZE",
        type=byte_size,
        help="refuse a build that needs more: 8GiB; clusters leave the vectors in the file when that is enough",
    )
    parser.add_argument("--ids", metavar="FILE", help=".npy file with the id of each vector (default: 0, 1, 2, ...)")
    parser.add_argument(
        "--attributes",
        metavar="FILE",
        help="attributes of each vector, which searches can filter by: .parquet, or .jsonl with one object a line",
    )
    parser.add_argument("--seed", metavar="N", type=count, default=0, help="seed of everything random (default: 0)")
    parser.add_argument(
        "--calibration-queries",
        metavar="FILE",
        help="vectors like the queries to come, to calibrate --target-recall on; for clusters they also choose groups "
        "and their order (default: some of the data)",
    )
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    import tiervec
    from tiervec.cli.info import info_text
    from tiervec.cli.output import print_json
    from tiervec.cli.progress import ProgressReport
    from tiervec.kinds.parameters import build_parameters_class, parse_parameters

    what = f"build of a {arguments.kind} index"
    params = parse_parameters(build_parameters_class(arguments.kind), settings(arguments), what)
    with ProgressReport() as progress:
        info = tiervec.build(
            arguments.data,
            arguments.out,
            kind=arguments.kind,
            metric=arguments.metric,
            ids=None if arguments.ids is None else _read_ids(arguments.ids),
            params=params,
            memory_limit=arguments.memory_limit,
            threads=arguments.threads,
            seed=arguments.seed,
            progress=progress,
            calibration_queries=arguments.calibration_queries,
            attributes=arguments.attributes,
        )
    if arguments.json:
        print_json(info.as_dict())
    else:
        print(info_text(info))
    return 0


def _read_ids(path: str) -> Any:
    import numpy as np

    from tiervec.errors import InvalidArgumentError

    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InvalidArgumentError(f"{path} is not a .npy file of ids: {error}") from None
