"""``tiervec search``: runs a file of queries against an index and reports recall, speed and reads."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

from tiervec.cli.options import (
    add_json,
    add_settings,
    add_threads,
    add_tier,
    byte_size,
    positive,
    recall_target,
    repeats,
    settings,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tiervec.api import Index, SearchResult

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "search",
        help="run a file of queries and report recall, speed and reads",
        description="Runs a file of queries as one batch and reports recall, queries per second, latency and reads.",
        allow_abbrev=False,
    )
    parser.add_argument("directory", metavar="DIR", help="an index directory")
    parser.add_argument("--queries", metavar="FILE", required=True, help="query vectors, in any format of `build`")
    parser.add_argument("--k", metavar="N", type=positive, default=10, help="neighbours per query (default: 10)")
    add_tier(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--target-recall", metavar="R", type=recall_target, help="recall to aim at, from the calibration")
    add_settings(how, "search_list=64, beam_width=4, pipeline=off; of clusters: nprobe=64, rerank=64")
    parser.add_argument(
        "--filter",
        metavar="TEXT",
        help='find only vectors whose attributes match: year >= 2020 and lang in ["en", "de"]',
    )
    parser.add_argument("--ground-truth", metavar="FILE", help="true neighbours; without it no recall is reported")
    parser.add_argument(
        "--fast-memory",
        metavar="SIZE",
        type=byte_size,
        help="fast memory in all: what the codes of a graph leave of it holds the most read records: 1GiB",
    )
    add_threads(parser)
    parser.add_argument(
        "--repeat",
        metavar="N",
        type=repeats,
        default=1,
        help="run N times after one run that does not count; figures are those of the run with the median speed",
    )
    parser.add_argument("--out", metavar="FILE", help="write the ids found, int64, as .npy")
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    import tiervec
    from tiervec.cli.output import print_json
    from tiervec.kinds.parameters import parse_parameters, search_parameters_class
    from tiervec.rdma.remote_url import is_remote
    from tiervec.vectors.ground_truth import read_ground_truth

    truth = None if arguments.ground_truth is None else read_ground_truth(arguments.ground_truth).ids
    queries = _read_queries(arguments.queries)
    began = time.perf_counter()
    with tiervec.open(
        arguments.directory, tier=arguments.tier, fast_memory=arguments.fast_memory, threads=arguments.threads
    ) as index:
        kind = index.info.kind
        params = parse_parameters(search_parameters_class(kind), settings(arguments), f"search of a {kind} index")
        if is_remote(arguments.tier):
            _report_first_query(index, queries, arguments, params, began)
        results = _search_repeatedly(index, queries, arguments, params)
        result = _median_run(results)
        # A mistake in the ground truth must not cost the results.
        if arguments.out is not None:
            _write_ids(arguments.out, result.ids)
        recall = None if truth is None else tiervec.recall(result.ids, truth, arguments.k)
        document = _document(index, result, recall)
    if len(results) > 1:
        document["qps_runs"] = [run.receipt.qps for run in results]
    if arguments.json:
        for note in result.receipt.notes:
            print(f"tiervec: note: {note}", file=sys.stderr)
        print_json(document)
    else:
        print(_text(document, result))
    return 0


def _read_queries(path: str) -> NDArray[Any]:
    from tiervec.vectors.vector_files import open_vectors

    file = open_vectors(path)
    return file.rows(0, file.shape[0])


def _search_repeatedly(
    index: Index, queries: NDArray[Any], arguments: argparse.Namespace, params: dict[str, Any]
) -> list[SearchResult]:
    def run() -> SearchResult:
        return index.search(
            queries,
            arguments.k,
            target_recall=arguments.target_recall,
            params=params or None,
            filter=arguments.filter,
        )

    if arguments.repeat > 1:
        run()
    return [run() for _ in range(arguments.repeat)]


def _report_first_query(
    index: Index, queries: NDArray[Any], arguments: argparse.Namespace, params: dict[str, Any], began: float
) -> None:
    opened_s = time.perf_counter() - began
    index.search(
        queries[:1], arguments.k, target_recall=arguments.target_recall, params=params or None, filter=arguments.filter
    )
    print(
        f"tiervec: attached to {index.tier} and loaded the codes in {opened_s:.3f} s; "
        f"first query answered after {time.perf_counter() - began:.3f} s",
        file=sys.stderr,
    )


def _median_run(results: list[SearchResult]) -> SearchResult:
    """The run whose speed is the median (the slower of the two middle ones), so that all figures are of one run."""
    return sorted(results, key=lambda result: result.receipt.qps)[(len(results) - 1) // 2]


def _write_ids(path: str, ids: NDArray[Any]) -> None:
    import numpy as np

    with open(path, "wb") as file:
        np.save(file, ids)


def _document(index: Index, result: SearchResult, recall: float | None) -> dict[str, Any]:
    from tiervec.machine.environment import environment

    info, receipt = index.info, result.receipt
    receipt_document = receipt.as_dict()
    from_info = ("vectors", "dim", "dtype", "metric", "kind")
    from_receipt = ("tier", "emulated", "k", "queries", "threads", "params")
    measured = (
        "qps",
        "latency_us",
        "reads_per_query",
        "bytes_per_query",
        "rounds_per_query",
        "code_distances_per_query",
        "hot_records_per_query",
        "cpu_us_per_query",
        "waiting_us_per_query",
    )
    return {
        **{key: getattr(info, key) for key in from_info},
        **{key: receipt_document[key] for key in from_receipt},
        "recall": recall,
        **{key: receipt_document[key] for key in measured},
        **({} if receipt.plan is None else {"matching": receipt.matching, "plan": receipt.plan}),
        "fast_bytes": info.fast_bytes,
        "tier_bytes": info.tier_bytes,
        "amplification": info.amplification,
        "fraction_of_limit": receipt.fraction_of_limit,
        "environment": environment(),
    }


def _text(document: dict[str, Any], result: SearchResult) -> str:
    from tiervec.arguments.sizes import format_size
    from tiervec.cli.output import pairs_text

    info = "{vectors:,} vectors of {dim} x {dtype}, {metric}, {kind} index".format(**document)
    fast_per_vector = document["fast_bytes"] / document["vectors"]
    tail = [
        (
            "memory",
            f"{format_size(document['tier_bytes'])} on the tier (amplification {document['amplification']:.2f}), "
            f"{format_size(document['fast_bytes'])} in fast memory ({fast_per_vector:.1f} bytes per vector)",
        ),
    ]
    if document["recall"] is not None:
        tail.insert(0, (f"recall@{document['k']}", f"{document['recall']:.4f}"))
    if "qps_runs" in document:
        runs = sorted(document["qps_runs"])
        tail.insert(0, ("runs", f"{len(runs)}, from {runs[0]:,.0f} to {runs[-1]:,.0f} queries per second"))
    return f"{info}\n{result.receipt}\n{pairs_text(tail)}"
