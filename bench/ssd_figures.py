"""One disk, one graph: `ssd:` against DiskANN's own search, and against memory behind the same search code.

    python -m tiervec.bench.ssd_figures --diskann DIR/ann --diskann-python PYTHON --queries query.u8bin \
        --ground-truth gt100.bin --work DIR [--wide INDEX] [--clusters INDEX]...

`--diskann` is an index on disk that diskannpy built, `--diskann-python` a Python that has diskannpy; without it DiskANN
itself is left out. The index is imported into DIR in both layouts, and all systems are measured in interleaved rounds
at the same recall. `--wide` is a graph index of a larger degree in layout `sectors`, `--clusters` cluster indexes in
layout `replicated` with align=4096. Beside each figure on the disk stands what the disk gave in the same rounds, in
random reads of 4 KiB. Figures of `emulated:` tiers are emulated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tiervec
from tiervec.bench.cluster_figures import tuned_cluster_params
from tiervec.bench.disk import Disk
from tiervec.bench.figure_program import finish, program, short
from tiervec.bench.graph_figures import Workload
from tiervec.bench.interleaved import Spread, measure_interleaved, ratio
from tiervec.cluster_index.params import ClusterSearchParams
from tiervec.index_files.directory import IndexDirectory
from tiervec.kinds.index_kind import search_natively
from tiervec.kinds.registry import index_kind
from tiervec.machine.environment import environment
from tiervec.vectors.ground_truth import read_ground_truth
from tiervec.vectors.vector_files import open_vectors

_K = 10
_EMULATED = "emulated:rdma-200g"
_BEAM = 4  # of DiskANN, its usual one
_MOST_COMPLEXITY = 512
_LISTS = (16, 20, 24, 28, 32, 36, 40, 48, 64, 96)
_MARGINS = (0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.1, 0.11, 0.12, 0.13, 0.14, 0.16, 0.18, 0.2, 0.25, 0.3, 0.0)
_READ_SECONDS = 0.4


class Diskann:
    """diskannpy's search of an index on disk, in a process of its own."""

    def __init__(self, python: str, prefix: Path, workload: Workload, work: Path) -> None:
        self.workload, self._ids = workload, work / "diskann-ids.npy"
        np.save(work / "diskann-queries.npy", workload.queries)
        self._process = subprocess.Popen(
            [
                python,
                str(Path(__file__).with_name("diskann_peer.py")),
                str(prefix.parent),
                prefix.name,
                str(work / "diskann-queries.npy"),
                str(workload.threads),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.complexity, self.reached = self._tune()

    def __enter__(self) -> Diskann:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def qps(self) -> float:
        """Queries per second of one run over all queries."""
        return self._run(self.complexity, None)

    def _run(self, complexity: int, ids: Path | None) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"k": _K, "complexity": complexity, "beam_width": _BEAM, "ids": None if ids is None else str(ids)}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"diskannpy ended with status {self._process.wait()}")
        return float(len(self.workload.queries) / json.loads(answer)["seconds"])

    def _tune(self) -> tuple[int, float]:
        """The least complexity that reaches the target, by bisection: recall grows with it."""
        below, least, reached = _K - 1, _MOST_COMPLEXITY + 1, 0.0
        while least - below > 1:
            middle = min((below + least) // 2, 2 * below)  # large ones take long
            self._run(middle, self._ids)
            recall = self.workload.recall(np.load(self._ids))
            if recall >= self.workload.target:
                least, reached = middle, recall
            else:
                below = middle
        if least > _MOST_COMPLEXITY:
            raise SystemExit(f"diskannpy does not reach recall {self.workload.target}")
        return least, reached


class Graph:
    """A graph index on one tier with one setting."""

    def __init__(self, path: Path, tier: str, workload: Workload, params: dict[str, Any]) -> None:
        self.path, self.workload, self.params = path, workload, params
        self.index = tiervec.open(path, tier=tier, threads=workload.threads)

    def run(self) -> tiervec.SearchResult:
        """All queries once."""
        return self.index.search(self.workload.queries, _K, params=self.params)

    def qps(self) -> float:
        """Queries per second of one run over all queries."""
        return self.run().receipt.qps

    def describe(self) -> dict[str, Any]:
        """Counters of the setting."""
        found = self.run()
        return {
            "tier": self.index.tier,
            "layout": self.index.info.params["layout"],
            "params": self.params,
            "recall": self.workload.recall(found.ids),
            "reads_per_query": found.receipt.reads_per_query,
            "bytes_per_query": found.receipt.bytes_per_query,
            "cpu_us_per_query": found.receipt.cpu_us_per_query,
            "latency_us_p50": found.receipt.latency_us_p50,
            "latency_us_p99": found.receipt.latency_us_p99,
            "amplification": self.index.info.amplification,
            "fast_bytes_per_vector": self.index.info.fast_bytes_per_vector,
            "notes": list(found.receipt.notes),
        }


def fewest_reads(path: Path, workload: Workload) -> dict[str, Any]:
    """The setting with the fewest reads, one a round, that reaches the target: a disk is bound by its reads."""
    best: tuple[float, dict[str, Any]] | None = None
    with tiervec.open(path, threads=workload.threads) as index:
        for search_list in _LISTS:
            for margin in _MARGINS:
                params = {"search_list": search_list, "stop_margin": margin}
                found = index.search(workload.queries, _K, params=params)
                if workload.recall(found.ids) < workload.target:
                    continue
                if best is None or found.receipt.reads_per_query < best[0]:
                    best = found.receipt.reads_per_query, params
                break
    if best is None:
        raise SystemExit(f"{path} does not reach recall {workload.target}")
    return best[1]


def _imported(prefix: Path, work: Path, layout: str, threads: int) -> Path:
    out = work / f"imported-{layout}"
    if not out.exists():
        tiervec.import_diskann(prefix, out, params={"layout": layout}, threads=threads)
    return out


def _share(qps: list[float], reads_per_query: float, reads_per_s: list[float]) -> Spread:
    """How much of the disk's reads a search used, round by round."""
    return ratio([value * reads_per_query for value in qps], reads_per_s)


def graph_part(arguments: argparse.Namespace, workload: Workload, work: Path) -> dict[str, Any]:
    """The imported graph on the disk, in memory, and by DiskANN itself."""
    prefix = Path(arguments.diskann)
    paths = {layout: _imported(prefix, work, layout, workload.threads) for layout in ("sectors", "packed")}
    params = fewest_reads(paths["packed"], workload)
    graphs = {
        "ssd, sectors": Graph(paths["sectors"], "ssd:", workload, params),
        "ssd, packed": Graph(paths["packed"], "ssd:", workload, params),
        "dram, packed": Graph(paths["packed"], "dram:", workload, params),
        f"{_EMULATED}, packed": Graph(paths["packed"], _EMULATED, workload, params),
    }
    settings: dict[str, Any] = {name: graph.describe() for name, graph in graphs.items()}
    systems: dict[str, Callable[[], float]] = {name: graph.qps for name, graph in graphs.items()}
    systems["disk"] = Disk(paths["sectors"], workload.threads, _READ_SECONDS).reads_per_s
    if arguments.diskann_python is None:
        figures = measure_interleaved(systems, arguments.repeats)
    else:
        with Diskann(arguments.diskann_python, prefix, workload, work) as diskann:
            settings["diskannpy"] = {"complexity": diskann.complexity, "beam": _BEAM, "recall": diskann.reached}
            figures = measure_interleaved({**systems, "diskannpy": diskann.qps}, arguments.repeats)
    ssd = figures["ssd, sectors"]
    ratios = {
        "ssd packed / ssd sectors": ratio(figures["ssd, packed"], ssd),
        "dram / ssd": ratio(figures["dram, packed"], ssd),
        f"{_EMULATED} / ssd": ratio(figures[f"{_EMULATED}, packed"], ssd),
        "share of the disk's reads": _share(ssd, settings["ssd, sectors"]["reads_per_query"], figures["disk"]),
    }
    if "diskannpy" in figures:
        ratios["ssd / diskannpy"] = ratio(ssd, figures["diskannpy"])
    return {"settings": settings, "figures": figures, "ratios": ratios}


def wide_part(path: Path, arguments: argparse.Namespace, workload: Workload) -> dict[str, Any]:
    """A graph of a larger degree against the disk's own limit."""
    graph = Graph(path, "ssd:", workload, fewest_reads(path, workload))
    setting = graph.describe()
    disk = Disk(path, workload.threads, _READ_SECONDS)
    figures = measure_interleaved({"ssd, wide": graph.qps, "disk": disk.reads_per_s}, arguments.repeats)
    share = _share(figures["ssd, wide"], setting["reads_per_query"], figures["disk"])
    return {
        "settings": {"ssd, wide": setting},
        "figures": figures,
        "ratios": {"share of the disk's reads": share},
    }


def cluster_part(path: Path, arguments: argparse.Namespace, workload: Workload) -> dict[str, Any]:
    """Copied postings on the disk: sectors and queries per second."""
    with tiervec.open(path, threads=workload.threads) as index:
        params = tuned_cluster_params(index, workload.queries, workload.truth, workload.target)
        info = index.info
    sectors, recall = _sectors_per_query(path, workload, params)
    index = tiervec.open(path, tier="ssd:", threads=workload.threads)
    disk = Disk(path, workload.threads, _READ_SECONDS)
    name = f"ssd, replicated, {info.params['replicas']} replicas"
    figures = measure_interleaved(
        {
            name: lambda: index.search(workload.queries, _K, params=params).receipt.qps,
            "disk": disk.reads_per_s,
        },
        arguments.repeats,
    )
    setting = {
        "params": params,
        "recall": recall,
        "sectors_per_query": sectors,
        "sectors_per_s": sectors * statistics.median(figures[name]),
        "amplification": info.amplification,
        "fast_bytes_per_vector": info.fast_bytes_per_vector,
    }
    return {"settings": {name: setting}, "figures": figures, "ratios": {}}


def _sectors_per_query(path: Path, workload: Workload, params: dict[str, Any]) -> tuple[float, float]:
    """Counted by the tier, and the recall of that run."""
    opened = index_kind("cluster").open(IndexDirectory.open(path), "ssd:")
    before = opened.tier.counters["sectors"]
    queries: NDArray[Any] = workload.queries
    fitted = opened.fitted(ClusterSearchParams(**params), _K)
    found = search_natively(opened.searcher, queries, _K, fitted, threads=workload.threads)
    return (opened.tier.counters["sectors"] - before) / len(queries), workload.recall(found.ids)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """All figures asked for."""
    work = Path(arguments.work)
    work.mkdir(parents=True, exist_ok=True)
    queries = open_vectors(arguments.queries)
    count = min(arguments.most_queries, queries.shape[0])
    truth = read_ground_truth(arguments.ground_truth).ids[:count]
    workload = Workload(queries.rows(0, count), truth, arguments.recall, arguments.threads)
    result: dict[str, Any] = {"environment": environment(), "parts": {}}
    if arguments.diskann is not None:
        result["parts"]["graph"] = graph_part(arguments, workload, work)
    if arguments.wide is not None:
        result["parts"]["wide"] = wide_part(Path(arguments.wide), arguments, workload)
    for path in arguments.clusters:
        result["parts"][f"clusters {path}"] = cluster_part(Path(path), arguments, workload)
    return result


def print_figures(result: dict[str, Any]) -> None:
    """The figures for people."""
    for part, figures in result["parts"].items():
        print(f"== {part}")
        for name, setting in figures["settings"].items():
            print(f"{name}: " + ", ".join(f"{key} {short(value)}" for key, value in setting.items()))
        for name, runs in figures["figures"].items():
            print(f"{'reads/s' if name == 'disk' else 'QPS'} {name}: {Spread.of(runs):,.0f}")
        for name, value in figures["ratios"].items():
            print(f"ratio {name}: {value:.2f}")


def main() -> int:
    """Command line."""
    parser = program("ssd_figures", __doc__, needed=("queries", "ground-truth", "work"))
    parser.add_argument("--diskann", metavar="PREFIX", help="an index on disk that diskannpy built")
    parser.add_argument("--diskann-python", metavar="PYTHON", help="a Python with diskannpy")
    parser.add_argument("--wide", metavar="INDEX", help="a graph index of a larger degree, layout sectors")
    parser.add_argument("--clusters", metavar="INDEX", action="append", default=[], help="replicated, align=4096")
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--threads", type=int, default=2)
    # As many as keep the disk busy for long beside the end of a run, when fewer and fewer are in flight.
    parser.add_argument("--most-queries", type=int, default=6000)
    parser.add_argument("--repeats", type=int, default=5)
    return finish(parser, run, print_figures)


if __name__ == "__main__":
    raise SystemExit(main())
