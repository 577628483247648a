"""The layouts of the cluster index on one data set: build, reads per query, bytes, memory, latency of one query.

    python -m tiervec.bench.cluster_figures --base base.u8bin --queries query.u8bin --ground-truth gt100.bin --work DIR

Builds a coded index in DIR, unless it is there, and converts it to the other layouts. Prints what each layout takes at
the target recall, and what grouping and ordering save: reads per query of the test queries, counted for the vectors in
the order of the data, by group, and by group along the order that sample queries gave; the last also with gaps read
through up to the knee of the device. Test queries are only counted: groups and order come from held-out base vectors.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tiervec
from tiervec.cluster_index.arrangement import arrange
from tiervec.cluster_index.clustering import Clustering
from tiervec.cluster_index.grouping import choose_groups, frequencies
from tiervec.environment import environment
from tiervec.ground_truth import read_ground_truth
from tiervec.index_directory import IndexDirectory
from tiervec.vector_files import open_vectors

_K = 10
_LAYOUTS = ("coded", "grouped", "decoupled", "replicated")
_NPROBES = (8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 256, 384)
_RERANKS = (20, 30, 40, 50, 60, 70, 80, 100, 128)
_READS_PER_CODE = 1 / 40
_RECORD_CHECK_BYTES = 2


def tuned_cluster_params(
    index: tiervec.Index, queries: NDArray[Any], truth: NDArray[np.int64], target: float
) -> dict[str, Any]:
    """The cheapest setting by counters that reaches the target."""
    best: tuple[float, dict[str, Any]] | None = None
    for nprobe in _NPROBES:
        for rerank in _RERANKS if index.info.params["layout"] == "coded" else (64,):
            found = index.search(queries, _K, params={"nprobe": nprobe, "rerank": rerank})
            recall = tiervec.recall(found.ids, truth, _K)
            if recall < target:
                continue
            receipt = found.receipt
            cost = receipt.reads_per_query + _READS_PER_CODE * receipt.code_distances_per_query
            if best is None or cost < best[0]:
                best = cost, {"nprobe": nprobe, "rerank": rerank}
            break
        if best is not None and index.info.params["layout"] != "coded":
            break
    if best is None:
        raise SystemExit(f"{index} does not reach recall {target}")
    return best[1]


def layout_figures(path: Path, tier: str, queries: NDArray[Any], truth: NDArray[np.int64], target: float) -> Any:
    """What one layout takes at the target recall."""
    with tiervec.open(path, threads=1) as index:
        params = tuned_cluster_params(index, queries, truth, target)
    with tiervec.open(path, tier=tier, threads=1) as index:
        found = index.search(queries, _K, params=params)
        receipt, info = found.receipt, index.info
    return {
        "params": params,
        "recall": tiervec.recall(found.ids, truth, _K),
        "reads_per_query": receipt.reads_per_query,
        "bytes_per_query": receipt.bytes_per_query,
        "rounds_per_query": receipt.rounds_per_query,
        "code_distances_per_query": receipt.code_distances_per_query,
        "cpu_us_per_query": receipt.cpu_us_per_query,
        "device_bound_qps": receipt.device_bound_qps,
        "amplification": info.amplification,
        "fast_bytes_per_vector": info.fast_bytes_per_vector,
        "addresses_per_raw_byte": sum(
            section["bytes"] for section in info.sections if section["name"].startswith("posting_")
        )
        / info.dataset_bytes,
    }


def grouping_figures(path: Path, queries: NDArray[Any], nprobe: int, knee_bytes: float) -> dict[str, float]:
    """Reads per query, counted."""
    directory = IndexDirectory.open(path)
    details, manifest = directory.manifest.details, directory.manifest
    clustering = Clustering.read(directory, details["probes_width"], details["clusters"])
    memberships, vectors = clustering.memberships, manifest.vectors
    probes = _nearest(clustering.centroids, queries.astype(np.float32), nprobe)
    offsets, members = memberships.members()
    groups = choose_groups(memberships, frequencies(clustering.probes, details["clusters"]))
    by_group = np.empty(vectors, np.int64)
    by_group[np.argsort(groups, kind="stable")] = np.arange(vectors)
    ordered = arrange("grouped", memberships, probes=clustering.probes, threads=0).positions.astype(np.int64)
    record = manifest.dim * np.dtype(manifest.dtype).itemsize + _RECORD_CHECK_BYTES
    gap = int(knee_bytes // record)
    counts: dict[str, list[int]] = {}
    for probed in probes:
        rows = np.unique(np.concatenate([members[offsets[c] : offsets[c + 1]] for c in probed.tolist()]))
        for name, positions, through in (
            ("decoupled", np.arange(vectors), 0),
            ("grouped", by_group, 0),
            ("grouped, ordered", ordered, 0),
            (f"grouped, gaps up to {gap} read through", by_group, gap),
            (f"grouped, ordered, gaps up to {gap} read through", ordered, gap),
        ):
            places = np.sort(positions[rows])
            counts.setdefault(name, []).append(1 + int((np.diff(places) > through + 1).sum()))
    return {name: float(np.mean(values)) for name, values in counts.items()}


def _nearest(centroids: NDArray[np.float32], queries: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    squared = (centroids**2).sum(axis=1)
    found = []
    for start in range(0, len(queries), 256):
        part = queries[start : start + 256]
        found.append(np.argpartition(squared - 2 * part @ centroids.T, count - 1, axis=1)[:, :count])
    return np.concatenate(found)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    work = Path(arguments.work)
    work.mkdir(parents=True, exist_ok=True)
    file = open_vectors(arguments.queries)
    queries = file.rows(0, min(arguments.most_queries, file.shape[0]))
    truth = read_ground_truth(arguments.ground_truth).ids[: len(queries)]
    params = {"clusters": arguments.clusters, "replicas": arguments.replicas}
    result: dict[str, Any] = {"environment": environment(), "seconds": {}, "layouts": {}}
    for layout in _LAYOUTS:
        out = work / layout
        if out.exists():
            continue
        began = time.perf_counter()
        if layout == "coded":
            tiervec.build(arguments.base, out, kind="cluster", params=params, threads=arguments.threads)
        else:
            tiervec.relayout(work / "coded", out, params={"layout": layout}, threads=arguments.threads)
        result["seconds"][layout] = time.perf_counter() - began
    for layout in _LAYOUTS:
        figures = layout_figures(work / layout, arguments.tier, queries, truth, arguments.recall)
        result["layouts"][layout] = figures
    manifest = IndexDirectory.open(work / "coded").manifest
    result["clusters"] = {
        key: manifest.details[key] for key in ("clusters", "replication", "own_sizes", "posting_sizes")
    }
    nprobe = result["layouts"]["grouped"]["params"]["nprobe"]
    with tiervec.open(work / "grouped", tier=arguments.tier) as index:
        knee = float(index.search(queries[:1], 1).receipt.device["knee_bytes"])  # type: ignore[index]
    result["grouping"] = grouping_figures(work / "grouped", queries[:1000], nprobe, knee)
    return result


def print_figures(result: dict[str, Any]) -> None:
    """The figures for people."""
    for layout, seconds in result["seconds"].items():
        print(f"{'build' if layout == 'coded' else 'relayout'} {layout}: {seconds:.0f} s")
    print("clusters: " + json.dumps(result["clusters"]))
    for layout, figures in result["layouts"].items():
        print(f"{layout}: " + ", ".join(f"{key} {_short(value)}" for key, value in figures.items()))
    decoupled, grouped, *_ = result["grouping"].values()
    for name, reads in result["grouping"].items():
        print(f"reads, {name}: {reads:.1f}; {reads / decoupled:.2f} of decoupled, {reads / grouped:.2f} of grouped")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tiervec.bench.cluster_figures", description=__doc__.split("\n")[0])
    for name in ("base", "queries", "ground-truth", "work"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--tier", default="emulated:rdma-200g")
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--clusters", type=int)
    parser.add_argument("--replicas", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--most-queries", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = run(arguments)
    if arguments.json:
        json.dump(result, sys.stdout)
    else:
        print_figures(result)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
