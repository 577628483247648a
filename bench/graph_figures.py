"""The graph index against hnswlib on one data set: speed, reads, latency, memory, build.

    python -m tiervec.bench.graph_figures --base base.u8bin --queries query.u8bin --ground-truth gt100.bin --work DIR

Builds what DIR does not hold yet: hnswlib with M=16 and efConstruction=200, graph indexes with 4 and 2 bits of code.
Finds for each system the setting with the most queries per second at the target recall, then measures all of them in
interleaved rounds. Every figure is printed with its spread, and as JSON with --json. Figures of `emulated:` tiers are
emulated: the device's time is modelled, the CPU's is real.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tiervec
from tiervec.bench.figure_program import finish, program, short
from tiervec.bench.interleaved import Spread, measure_interleaved, ratio
from tiervec.machine.environment import environment
from tiervec.vectors.ground_truth import read_ground_truth
from tiervec.vectors.vector_files import open_vectors

_K = 10
_EMULATED = "emulated:rdma-200g"
_LISTS = (32, 40, 48, 64, 96, 128)
_MARGINS = (0.04, 0.06, 0.08, 0.09, 0.1, 0.11, 0.12, 0.13, 0.14, 0.16, 0.18, 0.2, 0.25, 0.3, 0.0)
_EFS = (20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 80, 90, 100, 120, 140, 160, 200, 250, 300)


class Workload:
    """Queries, their true neighbours and the recall to reach."""

    def __init__(self, queries: NDArray[Any], truth: NDArray[np.int64], target: float, threads: int) -> None:
        self.queries, self.truth, self.target, self.threads = queries, truth, target, threads

    def recall(self, ids: NDArray[np.int64]) -> float:
        """Mean recall@10."""
        return tiervec.recall(ids, self.truth, _K)


class Hnsw:
    """hnswlib, float32, as it ships."""

    def __init__(self, base: Path, workload: Workload, file: Path) -> None:
        import hnswlib

        vectors = open_vectors(base)
        self.workload, self.queries = workload, workload.queries.astype(np.float32)
        self.index = hnswlib.Index("l2", vectors.shape[1])
        self.index.set_num_threads(workload.threads)
        self.build_s: float | None = None
        if file.exists():
            self.index.load_index(str(file), vectors.shape[0])
        else:
            self.index.init_index(vectors.shape[0], M=16, ef_construction=200, random_seed=1)
            began = time.perf_counter()
            for first, block in vectors.chunks():
                self.index.add_items(
                    block.astype(np.float32), np.arange(first, first + len(block)), num_threads=workload.threads
                )
            self.build_s = time.perf_counter() - began
            self.index.save_index(str(file))
        self.ef, self.reached = self._tune()

    def qps(self) -> float:
        """Queries per second of one run over all queries."""
        began = time.perf_counter()
        self.index.knn_query(self.queries, k=_K, num_threads=self.workload.threads)
        return len(self.queries) / (time.perf_counter() - began)

    def _tune(self) -> tuple[int, float]:
        for ef in _EFS:
            self.index.set_ef(ef)
            labels, _ = self.index.knn_query(self.queries, k=_K, num_threads=self.workload.threads)
            if (reached := self.workload.recall(labels.astype(np.int64))) >= self.workload.target:
                return ef, reached
        raise SystemExit(f"hnswlib does not reach recall {self.workload.target}")


class Graph:
    """A graph index on one tier with one setting."""

    def __init__(self, index: tiervec.Index, workload: Workload, **params: Any) -> None:
        self.index, self.workload, self.params = index, workload, params

    def run(self) -> tiervec.SearchResult:
        """All queries once."""
        return self.index.search(self.workload.queries, _K, params=self.params)

    def qps(self) -> float:
        """Queries per second of one run over all queries."""
        return self.run().receipt.qps

    def with_params(self, **params: Any) -> Graph:
        """The same index with other search parameters."""
        return Graph(self.index, self.workload, **{**self.params, **params})

    def tuned(self) -> Graph:
        """The setting with the most queries per second that reaches the target, by code distances and reads.

        Both are counters and so free of noise; a read costs about as much CPU time as 12 code distances.
        """
        best: tuple[float, Graph] | None = None
        for search_list in _LISTS:
            for margin in _MARGINS:
                candidate = self.with_params(search_list=search_list, stop_margin=margin)
                found = candidate.run()
                if self.workload.recall(found.ids) < self.workload.target:
                    continue
                cost = found.receipt.reads_per_query * 12 + found.receipt.code_distances_per_query
                if best is None or cost < best[0]:
                    best = cost, candidate
                break
        if best is None:
            raise SystemExit(f"{self.index} does not reach recall {self.workload.target}")
        return best[1]

    def describe(self) -> dict[str, Any]:
        """Counters of the setting."""
        found = self.run()
        return {
            "params": dict(found.receipt.params),
            "recall": self.workload.recall(found.ids),
            "reads_per_query": found.receipt.reads_per_query,
            "rounds_per_query": found.receipt.rounds_per_query,
            "bytes_per_query": found.receipt.bytes_per_query,
            "cpu_us_per_query": found.receipt.cpu_us_per_query,
            "fast_bytes_per_vector": self.index.info.fast_bytes_per_vector,
            "amplification": self.index.info.amplification,
        }


def _build(base: Path, out: Path, bits: float, threads: int) -> dict[str, float] | None:
    if out.exists():
        return None
    peak = _PeakMemory()
    with peak:
        began = time.perf_counter()
        tiervec.build(base, out, params={"code_bits": bits}, threads=threads)
        elapsed = time.perf_counter() - began
    return {"seconds": elapsed, "peak_bytes": peak.bytes}


class _PeakMemory:
    """Peak resident memory of this process during a block, above what was resident before it."""

    def __enter__(self) -> _PeakMemory:
        self.bytes, self._before, self._done = 0.0, _resident_bytes(), threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._sampler.join()

    def _sample(self) -> None:
        while not self._done.wait(0.02):
            self.bytes = max(self.bytes, _resident_bytes() - self._before)


def _resident_bytes() -> float:
    import resource

    return int(Path("/proc/self/statm").read_text().split()[1]) * float(resource.getpagesize())


def _one_at_a_time(graph: Graph, queries: int, repeats: int) -> dict[str, Any]:
    """Latency of single queries: one read a round against several, interleaved."""
    sample = graph.workload.queries[:queries]

    def p50(setting: Graph) -> Callable[[], float]:
        def run() -> float:
            times = [setting.index.search(q, _K, params=setting.params).receipt.latency_us[0] for q in sample]
            return float(statistics.median(times))

        return run

    wide = wide_setting(graph)
    narrow = graph.with_params(beam_width=1)
    times = measure_interleaved({"wide": p50(wide), "narrow": p50(narrow)}, repeats)
    return {
        "wide": wide.describe(),
        "narrow": narrow.describe(),
        "p50_us_wide": vars(Spread.of(times["wide"])),
        "p50_us_narrow": vars(Spread.of(times["narrow"])),
        "ratio": ratio(times["wide"], times["narrow"]),
    }


def wide_setting(graph: Graph) -> Graph:
    """Of the settings with several reads a round that reach the target: the least modelled time."""
    best: tuple[float, Graph] | None = None
    for width in (4, 5, 6, 8):
        setting = graph.with_params(beam_width=width).tuned()
        receipt = setting.run().receipt
        cost = receipt.rounds_per_query * 2.8 + receipt.reads_per_query * 0.6
        if best is None or cost < best[0]:
            best = cost, setting
    assert best is not None
    return best[1]


def _open_seconds(path: Path, repeats: int) -> Spread:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        tiervec.open(path, tier="mmap:").close()
        times.append(time.perf_counter() - began)
    return Spread.of(times)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    work = Path(arguments.work)
    work.mkdir(parents=True, exist_ok=True)
    queries = open_vectors(arguments.queries)
    workload = Workload(
        queries.rows(0, queries.shape[0]),
        read_ground_truth(arguments.ground_truth).ids,
        arguments.recall,
        arguments.threads,
    )
    result: dict[str, Any] = {"environment": environment(), "builds": {}}
    base = Path(arguments.base)
    paths = {4: work / "graph-4bit", 2: work / "graph-2bit"}
    for bits, path in paths.items():
        result["builds"][f"graph-{bits}bit"] = _build(base, path, bits, workload.threads)
    hnsw = Hnsw(base, workload, work / "hnsw-M16-efC200.bin")
    result["builds"]["hnswlib"] = None if hnsw.build_s is None else {"seconds": hnsw.build_s}
    systems: dict[str, Callable[[], float]] = {"hnswlib": hnsw.qps}
    result["settings"] = {"hnswlib": {"ef": hnsw.ef, "recall": hnsw.reached}}
    for bits, path in paths.items():
        graph = Graph(tiervec.open(path, threads=workload.threads), workload).tuned()
        systems[f"dram {bits}bit"] = graph.qps
        result["settings"][f"dram {bits}bit"] = graph.describe()
        if bits == 4:
            emulated = Graph(tiervec.open(path, tier=_EMULATED, threads=workload.threads), workload, **graph.params)
            systems["emulated"] = emulated.qps
            systems["emulated pipeline=off"] = Graph(
                emulated.index,
                Workload(workload.queries[:1000], workload.truth[:1000], 0, 1),
                **graph.params,
                pipeline=False,
            ).qps
            systems["emulated one thread"] = Graph(
                tiervec.open(path, tier=_EMULATED, threads=1), workload, **graph.params
            ).qps
            latency_graph = emulated
    qps = measure_interleaved(systems, arguments.repeats)
    result["qps"] = qps
    result["ratios"] = {
        "dram 4bit / hnswlib": ratio(qps["dram 4bit"], qps["hnswlib"]),
        "dram 2bit / hnswlib": ratio(qps["dram 2bit"], qps["hnswlib"]),
        "emulated / dram 4bit": ratio(qps["emulated"], qps["dram 4bit"]),
        "emulated / pipeline=off": ratio(qps["emulated"], qps["emulated pipeline=off"]),
        "emulated one thread / pipeline=off": ratio(qps["emulated one thread"], qps["emulated pipeline=off"]),
    }
    result["one_at_a_time"] = _one_at_a_time(latency_graph, 1000, arguments.repeats)
    result["open_mmap_s"] = _open_seconds(paths[4], arguments.repeats)
    chosen = latency_graph.index.search(workload.queries, _K, target_recall=arguments.recall)
    result["target_recall"] = {
        "target": arguments.recall,
        "measured": workload.recall(chosen.ids),
        "params": dict(chosen.receipt.params),
    }
    return result


def print_figures(result: dict[str, Any]) -> None:
    """The figures for people."""
    for name, figures in result["builds"].items():
        if figures is not None:
            peak = f", peak memory {figures['peak_bytes'] / 1e6:.0f} MB" if "peak_bytes" in figures else ""
            print(f"build {name}: {figures['seconds']:.0f} s{peak}")
    for name, setting in result["settings"].items():
        print(f"{name}: " + ", ".join(f"{key} {short(value)}" for key, value in setting.items()))
    for name, runs in result["qps"].items():
        print(f"QPS {name}: {Spread.of(runs):,.0f}")
    for name, value in result["ratios"].items():
        print(f"ratio {name}: {value:.2f}")
    one = result["one_at_a_time"]
    for name in ("wide", "narrow"):
        print(f"one at a time, {name}: " + ", ".join(f"{key} {short(value)}" for key, value in one[name].items()))
    print(
        f"one at a time, p50 wide / narrow: {one['ratio']:.2f}; wide {one['p50_us_wide']['median']:.0f} us (emulated)"
    )
    print(f"open on mmap: {result['open_mmap_s']:.3f} s")
    target = result["target_recall"]
    print(f"target_recall={target['target']}: measured {target['measured']:.4f} with {target['params']}")


def main() -> int:
    """Command line."""
    parser = program("graph_figures", __doc__, needed=("base", "queries", "ground-truth", "work"))
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    return finish(parser, run, print_figures)


if __name__ == "__main__":
    raise SystemExit(main())
