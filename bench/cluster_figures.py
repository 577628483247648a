"""The layouts of the cluster index on one data set: build, reads per query, bytes, memory, speed.

    python -m tiervec.bench.cluster_figures --base base.u8bin --queries query.u8bin --ground-truth gt100.bin --work DIR

Builds a coded index in DIR, unless it is there, and converts it to the other layouts. Prints what each layout takes at
the target recall, and what grouping and ordering save: reads per query of the test queries, counted for the vectors in
the order of the data; by group, the groups in no order; with groups side by side that save reads there; with their
members ordered, too; and then with gaps read through up to the knee of the device. Test queries are only counted:
groups and order come from base vectors.
Then `grouped` and `replicated` run in turn on each emulated device, at the same setting, which gives both the same
candidates: queries per second as measured, and as the model of the device would allow.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tiervec
from tiervec.bench.build_process import Built, build_in_process
from tiervec.bench.figure_program import finish, program, short
from tiervec.bench.interleaved import Spread, measure_interleaved, ratio
from tiervec.cluster_index.arrangement import arrange
from tiervec.cluster_index.clustering import Clustering
from tiervec.cluster_index.grouping import choose_groups, frequencies
from tiervec.index_files.directory import IndexDirectory
from tiervec.machine.environment import environment
from tiervec.vectors.ground_truth import read_ground_truth
from tiervec.vectors.vector_files import open_vectors

_K = 10
_TIERS = ("emulated:rdma-200g", "emulated:cxl-x8")
_LAYOUTS = ("coded", "grouped", "decoupled", "replicated")
_NPROBES = (8, 12, 16, 20, 24, 28, *range(32, 200, 8), 224, 256, 320, 384)
_RERANKS = (20, 30, 40, 50, 60, 65, 70, 75, 80, 90, 100, 128)
_READS_PER_CODE = 1 / 40
_RECORD_CHECK_BYTES = 2


def settings_reaching(
    index: tiervec.Index, queries: NDArray[Any], truth: NDArray[np.int64], target: float
) -> Iterator[tuple[dict[str, Any], tiervec.SearchResult]]:
    """For each number of clusters the least re-rank that reaches the target; of other layouts the fewest clusters."""
    coded = index.info.params["layout"] == "coded"
    for nprobe in _NPROBES:
        for rerank in _RERANKS if coded else (64,):
            params = {"nprobe": nprobe, "rerank": rerank}
            found = index.search(queries, _K, params=params)
            if tiervec.recall(found.ids, truth, _K) >= target:
                yield params, found
                if not coded:
                    return
                break


def tuned_cluster_params(
    index: tiervec.Index, queries: NDArray[Any], truth: NDArray[np.int64], target: float
) -> dict[str, Any]:
    """The cheapest setting by counters that reaches the target."""

    def cost(setting: tuple[dict[str, Any], tiervec.SearchResult]) -> float:
        receipt = setting[1].receipt
        return receipt.reads_per_query + _READS_PER_CODE * receipt.code_distances_per_query

    best = min(settings_reaching(index, queries, truth, target), key=cost, default=None)
    if best is None:
        raise SystemExit(f"{index} does not reach recall {target}")
    return best[0]


def layout_figures(path: Path, queries: NDArray[Any], truth: NDArray[np.int64], target: float) -> Any:
    """What one layout takes at the target recall."""
    with tiervec.open(path, threads=1) as index:
        params = tuned_cluster_params(index, queries, truth, target)
        found = index.search(queries, _K, params=params)
        receipt, info = found.receipt, index.info
    addresses = sum(section["bytes"] for section in info.sections if section["name"].startswith("posting_"))
    return {
        "params": params,
        "recall": tiervec.recall(found.ids, truth, _K),
        "reads_per_query": receipt.reads_per_query,
        "bytes_per_query": receipt.bytes_per_query,
        "rounds_per_query": receipt.rounds_per_query,
        "code_distances_per_query": receipt.code_distances_per_query,
        "cpu_us_per_query": receipt.cpu_us_per_query,
        "amplification": info.amplification,
        "amplification_with_addresses": (info.tier_bytes + addresses) / info.dataset_bytes,
        "fast_bytes_per_vector": info.fast_bytes_per_vector,
    }


def speed_figures(
    work: Path, tier: str, queries: NDArray[Any], params: dict[str, Any], threads: int, repeats: int
) -> dict[str, Any]:
    """`grouped` beside `replicated` on a device, with the same setting."""
    with (
        tiervec.open(work / "grouped", tier=tier, threads=threads) as grouped,
        tiervec.open(work / "replicated", tier=tier, threads=threads) as replicated,
    ):
        indexes = {"grouped": grouped, "replicated": replicated}
        receipts = {name: index.search(queries, _K, params=params).receipt for name, index in indexes.items()}

        def qps_of(index: tiervec.Index) -> Callable[[], float]:
            return lambda: index.search(queries, _K, params=params).receipt.qps

        qps = measure_interleaved({name: qps_of(index) for name, index in indexes.items()}, repeats)
    limits = {name: receipt.device_bound_qps or float("nan") for name, receipt in receipts.items()}
    return {
        "qps": qps,
        "reads_per_query": {name: receipt.reads_per_query for name, receipt in receipts.items()},
        "bytes_per_query": {name: receipt.bytes_per_query for name, receipt in receipts.items()},
        "device_bound_qps": limits,
        "ratio_of_qps": ratio(qps["grouped"], qps["replicated"]),
        "ratio_of_device_bound_qps": limits["grouped"] / limits["replicated"],
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
    places = np.random.default_rng(0).permutation(details["clusters"])  # as k-means numbers them: in no order
    by_group = positions_of(places[groups])
    arrangement = arrange("grouped", memberships, probes=clustering.probes, threads=0)
    assert arrangement.places is not None
    along_chain = positions_of(arrangement.places[groups])
    ordered = arrangement.positions.astype(np.int64)
    record = manifest.dim * np.dtype(manifest.dtype).itemsize + _RECORD_CHECK_BYTES
    gap = int(knee_bytes // record)
    counts: dict[str, list[int]] = {}
    for probed in probes:
        rows = np.unique(np.concatenate([members[offsets[c] : offsets[c + 1]] for c in probed.tolist()]))
        for name, positions, through in (
            ("decoupled", np.arange(vectors), 0),
            ("grouped", by_group, 0),
            ("groups along the chain", along_chain, 0),
            ("grouped, ordered", ordered, 0),
            (f"grouped, ordered, gaps up to {gap} read through", ordered, gap),
        ):
            read = np.sort(positions[rows])
            counts.setdefault(name, []).append(1 + int((np.diff(read) > through + 1).sum()))
    return {name: float(np.mean(values)) for name, values in counts.items()}


def positions_of(keys: NDArray[Any]) -> NDArray[np.int64]:
    """Position of each row when rows lie by ascending key, and within a key in their order."""
    positions = np.empty(len(keys), np.int64)
    positions[np.argsort(keys, kind="stable")] = np.arange(len(keys))
    return positions


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
            built = build_in_process(
                Path(arguments.base), out, kind="cluster", params=params, threads=arguments.threads
            )
            result["build"] = asdict(built)
        else:
            tiervec.relayout(work / "coded", out, params={"layout": layout}, threads=arguments.threads)
            result["seconds"][layout] = time.perf_counter() - began
    for layout in _LAYOUTS:
        result["layouts"][layout] = layout_figures(work / layout, queries, truth, arguments.recall)
    manifest = IndexDirectory.open(work / "coded").manifest
    result["clusters"] = {
        key: manifest.details[key] for key in ("clusters", "replication", "own_sizes", "posting_sizes")
    }
    params = result["layouts"]["grouped"]["params"]
    with tiervec.open(work / "grouped", tier=_TIERS[0]) as index:
        knee = float(index.search(queries[:1], 1).receipt.device["knee_bytes"])  # type: ignore[index]
    result["grouping"] = grouping_figures(work / "grouped", queries[:1000], params["nprobe"], knee)
    result["speed"] = {
        tier: speed_figures(work, tier, queries, params, arguments.threads, arguments.repeats) for tier in _TIERS
    }
    return result


def print_figures(result: dict[str, Any]) -> None:
    """The figures for people."""
    if "build" in result:
        print(f"build coded: {Built(**result['build'])}")
    for layout, seconds in result["seconds"].items():
        print(f"relayout {layout}: {seconds:.0f} s")
    print("clusters: " + json.dumps(result["clusters"]))
    for layout, figures in result["layouts"].items():
        print(f"{layout}: " + ", ".join(f"{key} {short(value)}" for key, value in figures.items()))
    decoupled, grouped, *_ = result["grouping"].values()
    for name, reads in result["grouping"].items():
        print(f"reads, {name}: {reads:.1f}; {reads / decoupled:.2f} of decoupled, {reads / grouped:.2f} of grouped")
    for tier, figures in result["speed"].items():
        for name, runs in figures["qps"].items():
            limit = figures["device_bound_qps"][name]
            print(f"{tier}, {name}: {Spread.of(runs):,.0f} QPS, the device's limit {limit:,.0f}")
        print(
            f"{tier}, grouped / replicated: QPS {figures['ratio_of_qps']:.2f}, "
            f"the device's limit {figures['ratio_of_device_bound_qps']:.2f}"
        )


def main() -> int:
    """Command line."""
    parser = program("cluster_figures", __doc__, needed=("base", "queries", "ground-truth", "work"))
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--clusters", type=int)
    parser.add_argument("--replicas", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--most-queries", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=7)
    return finish(parser, run, print_figures)


if __name__ == "__main__":
    raise SystemExit(main())
