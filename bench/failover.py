"""What happens when one of two replicas is killed in the middle of a load and started again.

Two memory nodes on this machine hold one index each. Batches of queries run without a pause; after a third of the time
one node is killed (SIGKILL), after two thirds it is started again. Every answer is compared with that of ``dram:``.

    python -m tiervec.bench.failover --index DIR --queries query.u8bin --seconds 60
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import tiervec
from tiervec.bench.figure_program import finish, program
from tiervec.bench.node_process import NodeProcess
from tiervec.errors import TiervecError
from tiervec.index_files.directory import IndexDirectory
from tiervec.machine.environment import environment
from tiervec.vectors.vector_files import open_vectors

__all__ = ["main", "run"]

_K = 10
_RECOVERED = 0.5  # of the speed before


@dataclass(kw_only=True)
class _Load:
    """What batches of queries gave, in order."""

    index: tiervec.Index
    queries: Any
    right: Any
    params: dict[str, Any]
    batch: int
    wrong: int = 0
    failed: int = 0
    errors: list[str] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)  # of batches that were answered
    asked: int = 0

    def step(self) -> None:
        """One batch."""
        first = (self.asked // self.batch * self.batch) % (len(self.queries) - self.batch + 1)
        self.asked += self.batch
        try:
            found = self.index.search(self.queries[first : first + self.batch], _K, params=self.params, timeout_s=10)
        except TiervecError as error:
            self.failed += self.batch
            self.errors.append(f"{type(error).__name__}: {error}")
            return
        self.wrong += int((found.ids != self.right[first : first + self.batch]).any(axis=1).sum())
        self.ends.append(time.perf_counter())

    def rate(self, start: float, end: float) -> float:
        """Queries answered per second between two times."""
        return self.batch * sum(start <= at < end for at in self.ends) / (end - start)

    def longest_gap(self, start: float, end: float) -> float:
        """Seconds that passed without an answer, at most, between two times."""
        inside = [start, *(at for at in self.ends if start <= at < end), end]
        return max(after - before for before, after in itertools.pairwise(inside))


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    path = Path(arguments.index)
    file = open_vectors(arguments.queries)
    queries = file.rows(0, min(file.shape[0], arguments.queries_used))
    params = {"search_list": arguments.search_list}
    with tiervec.open(path, threads=arguments.threads) as local:
        right = local.search(queries, _K, params=params).ids
    size = sum(s.bytes for s in IndexDirectory.open(path).manifest.sections if s.placement == "tier")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def start(number: int, listen: str = "127.0.0.1:0") -> NodeProcess:
            return NodeProcess(folder, capacity_bytes=2 * size, data_dir=folder / f"node{number}", listen=listen)

        nodes = [start(0), start(1)]
        try:
            url = tiervec.publish(path, [f"tcp://{node.address}/bench" for node in nodes]).url
            with tiervec.open(path, tier=url, threads=arguments.threads) as index:
                load = _Load(
                    index=index, queries=queries, right=np.asarray(right), params=params, batch=arguments.batch
                )
                times = _drive(load, arguments.seconds, nodes, lambda: start(0, nodes[0].address))
        finally:
            for node in nodes:
                node.kill()
    return {"environment": environment(), "seconds": arguments.seconds, **_figures(load, times)}


def _drive(load: _Load, seconds: float, nodes: list[NodeProcess], restart: Any) -> dict[str, float]:
    load.step()
    began = time.perf_counter()
    times = {"began": began}
    with ThreadPoolExecutor(1) as beside:  # the load goes on while the node starts
        starting = None
        while (now := time.perf_counter()) < began + seconds or starting is None or not starting.done():
            if "killed" not in times and now > began + seconds / 3:
                nodes[0].kill()
                times["killed"] = time.perf_counter()
            elif starting is None and now > began + 2 * seconds / 3:
                times["restarted"] = time.perf_counter()
                starting = beside.submit(restart)
            load.step()
        nodes[0] = starting.result()
    return {**times, "ended": time.perf_counter()}


def _figures(load: _Load, times: dict[str, float]) -> dict[str, Any]:
    began, killed, restarted, ended = (times[name] for name in ("began", "killed", "restarted", "ended"))
    first_after = next((at for at in load.ends if at > killed), None)
    before = load.rate(began, killed)
    window_s = 0.25
    recovered = next(
        (
            at
            for at in np.arange(killed, restarted - window_s, 0.05)
            if load.rate(at, at + window_s) > _RECOVERED * before
        ),
        None,
    )
    return {
        "queries": load.asked,
        "wrong_answers": load.wrong,
        "failed_queries": load.failed,
        "errors": load.errors[:5],
        "first_answer_after_kill_s": None if first_after is None else first_after - killed,
        "recovery_s": None if recovered is None else float(recovered) - killed,
        "longest_gap_s": {
            "before": load.longest_gap(began, killed),
            "after_kill": load.longest_gap(killed, restarted - 1e-9),
            "after_restart": load.longest_gap(restarted, ended),
        },
        "qps": {
            "before": before,
            "one_replica": load.rate(killed, restarted),
            "after_restart": load.rate(restarted, ended),
        },
    }


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"after {value:.3f} s"


def print_figures(result: dict[str, Any]) -> None:
    """The figures for people."""
    gaps, qps = result["longest_gap_s"], result["qps"]
    print(f"{result['queries']:,} queries in {result['seconds']:g} s, one of two replicas killed and restarted")
    print(f"wrong answers: {result['wrong_answers']}, failed queries: {result['failed_queries']}")
    for error in result["errors"]:
        print(f"  {error}")
    print(f"first answer after the kill: {_seconds(result['first_answer_after_kill_s'])}")
    print(f"half of the speed before again: {_seconds(result['recovery_s'])}")
    print("longest time without an answer: " + ", ".join(f"{key} {value:.3f} s" for key, value in gaps.items()))
    print("QPS: " + ", ".join(f"{key} {value:,.0f}" for key, value in qps.items()))


def main() -> int:
    """Command line; the exit status is 1 when an answer was wrong."""
    parser = program("failover", __doc__, needed=("index", "queries"))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--queries-used", type=int, default=1000)
    parser.add_argument("--search-list", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    return finish(parser, run, print_figures, failed=lambda result: bool(result["wrong_answers"]))


if __name__ == "__main__":
    raise SystemExit(main())
