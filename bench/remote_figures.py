"""What remote memory costs: a published index on ``tcp://`` against the same index on ``dram:``, and attaching again.

Starts a memory node on this machine, publishes the index, and runs the same queries on both tiers in turn. The node
takes CPU time of the same machine, which a second machine would not.

    python -m tiervec.bench.remote_figures --index DIR --queries query.u8bin --ground-truth gt100.bin
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import tiervec
from tiervec.bench.figure_program import finish, program
from tiervec.bench.interleaved import Spread, measure_interleaved, ratio
from tiervec.bench.node_process import NodeProcess
from tiervec.index_files.directory import IndexDirectory
from tiervec.machine.environment import environment
from tiervec.rdma.attach import Content, open_remote
from tiervec.vectors.ground_truth import read_ground_truth
from tiervec.vectors.vector_files import open_vectors

__all__ = ["main", "run"]

_K = 10


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    path = Path(arguments.index)
    file = open_vectors(arguments.queries)
    queries = file.rows(0, min(file.shape[0], arguments.queries_used))
    truth = read_ground_truth(arguments.ground_truth).ids[: len(queries)]
    section = next(s for s in IndexDirectory.open(path).manifest.sections if s.placement == "tier")
    result: dict[str, Any] = {"environment": environment(), "threads": arguments.threads}
    with tempfile.TemporaryDirectory() as folder, NodeProcess(Path(folder), capacity_bytes=2 * section.bytes) as node:
        receipt = tiervec.publish(path, f"tcp://{node.address}/bench")
        result["publish"] = {"seconds": receipt.seconds, "bytes": receipt.sent_bytes}
        content = Content(size_bytes=section.bytes, checksum=section.checksum)
        result["attach_s"] = vars(Spread.of([_timed(lambda: open_remote(receipt.url, content)) for _ in range(9)]))
        result["open_s"] = {
            "tcp": _open_seconds(path, receipt.url, arguments.repeats),
            "mmap": _open_seconds(path, "mmap:", arguments.repeats),
        }
        with (
            tiervec.open(path, threads=arguments.threads) as local,
            tiervec.open(path, tier=receipt.url, threads=arguments.threads) as remote,
        ):
            first = remote.search(queries, _K, target_recall=arguments.recall)
            params = {key: first.receipt.params[key] for key in ("search_list", "stop_margin", "beam_width")}

            def qps(index: tiervec.Index) -> float:
                return index.search(queries, _K, params=params).receipt.qps

            same = (local.search(queries, _K, params=params).ids == remote.search(queries, _K, params=params).ids).all()
            runs = measure_interleaved({"dram": lambda: qps(local), "tcp": lambda: qps(remote)}, arguments.repeats)
            found = remote.search(queries, _K, params=params)
            result["same_ids"] = bool(same)
            result["recall"] = tiervec.recall(found.ids, truth, _K)
            result["params"] = params
            result["reads_per_query"] = found.receipt.reads_per_query
        result["qps"] = runs
        result["ratio"] = vars(ratio(runs["tcp"], runs["dram"]))
    return result


def _open_seconds(path: Path, url: str, repeats: int) -> dict[str, float]:
    return vars(Spread.of([_timed(lambda: tiervec.open(path, tier=url).close()) for _ in range(repeats)]))


def _timed(call: Any) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def print_figures(result: dict[str, Any]) -> None:
    """The figures for people."""
    publish = result["publish"]
    print(f"publish: {publish['bytes'] / 1e6:.0f} MB in {publish['seconds']:.2f} s")
    print(f"attach: {Spread(**result['attach_s']):.3f} s")
    for tier, spread in result["open_s"].items():
        print(f"open on {tier}, codes and all: {Spread(**spread):.3f} s")
    print(f"recall {result['recall']:.4f} with {result['params']}, {result['reads_per_query']:.1f} reads per query")
    print(f"same ids on both: {result['same_ids']}")
    for tier, runs in result["qps"].items():
        print(f"QPS {tier}, {result['threads']} threads: {Spread.of(runs):,.0f}")
    print(f"ratio tcp / dram: {Spread(**result['ratio']):.2f}")


def main() -> int:
    """Command line."""
    parser = program("remote_figures", __doc__, needed=("index", "queries", "ground-truth"))
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--threads", type=int, default=1, help="compute threads; the node has one of its own")
    parser.add_argument("--queries-used", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=7)
    return finish(parser, run, print_figures)


if __name__ == "__main__":
    raise SystemExit(main())
