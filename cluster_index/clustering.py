"""Clusters of vectors, independent of any layout: what is stored with every index so that layouts can be converted.

    centroids           float32 (clusters, dim)
    membership_sizes    uint8 (vectors,)      how many clusters list each vector
    memberships         uint32                these clusters, nearest first, vector after vector
    sample_probes       uint32 (queries, width)   the nearest clusters of sample queries, from which frequencies come

These sections stay on the disk; opening an index does not load them. Clusters are numbered along a chain in which
neighbours are near, so that what is stored in their order has neighbours side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiervec.cluster_index.balanced_kmeans import train_centroids
from tiervec.cluster_index.closure import NONE, Memberships, assign
from tiervec.cluster_index.cluster_chain import number_centroids
from tiervec.cluster_index.cluster_space import ClusterSpace
from tiervec.cluster_index.faiss_kmeans import CentroidIndex, load_faiss
from tiervec.cluster_index.params import ClusterBuildParams
from tiervec.errors import DataLossError
from tiervec.index_files.directory import IndexDirectory, IndexDirectoryWriter
from tiervec.kinds.index_kind import IndexBuild

__all__ = ["Clustering", "cluster_vectors"]

_SAMPLE_QUERIES = 8000
_SAMPLE_WIDTH = 96  # about what a recall of 0.95 takes
_ROWS_AT_ONCE = 1 << 16
_STREAMED_SHARE = 4  # of the memory limit: the rows that centroids are trained on


@dataclass(frozen=True, kw_only=True, eq=False)
class Clustering:
    """Clusters, and what sample queries would search.

    Attributes:
        centroids: float32 (clusters, dim), contiguous.
        groups: First cluster of each group of neighbouring clusters, and the end; in fast memory too.
        memberships: Which clusters list which vectors.
        probes: uint32 (queries, width): clusters that sample queries search, nearest first.
    """

    centroids: NDArray[np.float32]
    groups: NDArray[np.int64]
    memberships: Memberships
    probes: NDArray[np.uint32]

    def details(self) -> dict[str, Any]:
        """What the manifest says: how many clusters, and how large they are."""
        home = np.bincount(self.memberships.home, minlength=len(self.centroids))
        listed = self.memberships.posting_sizes()
        return {
            "clusters": len(self.centroids),
            "replication": round(float(listed.sum() / home.sum()), 4),
            "own_sizes": _sizes(home),
            "posting_sizes": _sizes(listed),
            "probes_width": self.probes.shape[1],
        }

    def group_means(self) -> NDArray[np.float32]:
        """Mean of the centroids of each group (groups, dim)."""
        sums = np.add.reduceat(self.centroids, self.groups[:-1], axis=0, dtype=np.float64)
        means: NDArray[np.float32] = (sums / np.diff(self.groups)[:, None]).astype(np.float32)
        return means

    def write(self, writer: IndexDirectoryWriter) -> None:
        """Writes the sections."""
        writer.write_section("centroids", self.centroids, placement="disk")
        lists = self.memberships.lists
        sizes = np.empty(len(lists), np.uint8)
        # In blocks: the lists may be most of the memory that a build takes, so there is none for a second copy.
        with open(writer.section_path("memberships"), "xb") as file:
            for start in range(0, len(lists), _ROWS_AT_ONCE):
                part = lists[start : start + _ROWS_AT_ONCE]
                listed = part != NONE
                sizes[start : start + len(part)] = listed.sum(axis=1)
                file.write(part[listed].data)
        writer.write_section("membership_sizes", sizes, placement="disk")
        writer.finish_section("memberships", placement="disk")
        writer.write_section("sample_probes", self.probes, placement="disk")

    @classmethod
    def read(cls, directory: IndexDirectory, width: int, clusters: int) -> Clustering:
        """Reads and checks what `write` wrote.

        Raises:
            DataLossError: It is not what was written.
        """
        manifest = directory.manifest
        centroids = directory.read_array("centroids", np.float32, (clusters, manifest.dim))
        sizes = directory.read_array("membership_sizes", np.uint8, (manifest.vectors,))
        listed = directory.map_section("memberships")
        directory.verify_bytes("memberships", listed)
        probes = directory.read_section("sample_probes").view(np.uint32)
        groups = directory.read_section("group_offsets").view(np.uint32).astype(np.int64)
        if len(groups) < 2 or groups[0] != 0 or groups[-1] != clusters or (np.diff(groups) < 1).any():
            raise DataLossError(f"{directory.path}: stored groups do not fit {clusters:,} clusters")
        fits = sizes.min() >= 1 and len(listed) == 4 * int(sizes.sum(dtype=np.int64))
        if not fits or listed.view(np.uint32).max() >= clusters or len(probes) % width or (probes >= clusters).any():
            raise DataLossError(f"{directory.path}: stored clusters do not fit {manifest.vectors:,} vectors")
        lists = _unpacked(listed.view(np.uint32), sizes)
        return cls(
            centroids=centroids,
            groups=groups,
            memberships=Memberships(lists=lists, clusters=clusters),
            probes=probes.reshape(-1, width),
        )


def cluster_vectors(build: IndexBuild[ClusterBuildParams]) -> Clustering:
    """Clusters the vectors of a build."""
    faiss = load_faiss(build.threads)
    params, count = build.params, len(build.vectors)
    space = ClusterSpace(build.vectors, build.metric)
    clusters = params.count_for(count)
    most_rows = None
    if build.memory_limit is not None:
        most_rows = max(clusters, build.memory_limit // _STREAMED_SHARE // (4 * space.dim))
    centroids = train_centroids(faiss, space, clusters, seed=build.seed, most_rows=most_rows, progress=build.progress)
    numbered = number_centroids(faiss, centroids, build.seed)
    index = CentroidIndex(faiss, numbered.centroids, numbered.groups)
    memberships = assign(
        space,
        numbered.centroids,
        index,
        replicas=params.replicas,
        closure=params.closure,
        rng_factor=params.rng_factor,
        threads=build.threads,
        progress=build.progress,
    )
    return Clustering(
        centroids=space.plain_centroids(numbered.centroids),
        groups=numbered.offsets,
        memberships=memberships,
        probes=_sample_probes(build, space, index, clusters),
    )


def _sample_probes(
    build: IndexBuild[ClusterBuildParams], space: ClusterSpace, index: CentroidIndex, clusters: int
) -> NDArray[np.uint32]:
    """Counts for the given queries, or for base vectors that stand for queries."""
    if build.calibration_queries is not None:
        points = space.queries(build.calibration_queries[:_SAMPLE_QUERIES])
    else:
        random = np.random.default_rng(build.seed + 2)
        rows = random.choice(space.count, min(space.count, _SAMPLE_QUERIES), replace=False, shuffle=False)
        points = space.rows(np.sort(rows))
    ids, _ = index.nearest(points, min(_SAMPLE_WIDTH, clusters))
    return ids[(ids >= 0).all(axis=1)].astype(np.uint32)


def _unpacked(listed: NDArray[np.uint32], sizes: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """`Memberships.lists` from what is stored of them."""
    lists = np.full((len(sizes), int(sizes.max())), NONE, np.uint32)
    columns, at = np.arange(lists.shape[1]), 0
    for start in range(0, len(lists), _ROWS_AT_ONCE):
        there = columns < sizes[start : start + _ROWS_AT_ONCE, None]
        count = int(there.sum())
        lists[start : start + _ROWS_AT_ONCE][there] = listed[at : at + count]
        at += count
    return lists


def _sizes(counts: NDArray[np.int64]) -> dict[str, float]:
    low, median, high = np.percentile(counts, (1, 50, 99)).tolist()
    return {
        "least": int(counts.min()),
        "p1": low,
        "median": median,
        "mean": round(float(counts.mean()), 2),
        "p99": high,
        "most": int(counts.max()),
    }
