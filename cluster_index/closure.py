"""Which clusters list which vectors: the nearest one is home; others by closure (SPANN, NeurIPS'21, section 3.2).

A vector is also listed by further clusters, nearest first, up to `replicas` in all, when such a cluster is at most
``1 + closure`` times as far as the nearest, and nearer to the vector than `rng_factor` times its distance to every
cluster that lists it already (with 1 the rule of relative neighbourhood graphs, which keeps clusters in different
directions; more relax it).
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiervec import _core
from tiervec.cluster_index.balanced_kmeans import LARGEST_SHARE
from tiervec.cluster_index.cluster_space import ClusterSpace
from tiervec.cluster_index.faiss_kmeans import CentroidIndex
from tiervec.machine.interruptible import BuildProgress

__all__ = ["NONE", "Memberships", "assign"]

#: Fills the rest of a row of `Memberships.lists`.
NONE = 2**32 - 1

_CANDIDATES_PER_REPLICA = 2
_OVERFLOW_CANDIDATES = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class Memberships:
    """Which clusters list each vector.

    Attributes:
        lists: uint32 (vectors, replicas): the home cluster, then the others, nearest first, then `NONE`.
        clusters: Number of clusters.
    """

    lists: NDArray[np.uint32]
    clusters: int

    @property
    def home(self) -> NDArray[np.uint32]:
        """Home cluster of each vector."""
        return self.lists[:, 0]

    def posting_sizes(self) -> NDArray[np.int64]:
        """Members of each cluster, copies counted."""
        sizes = np.zeros(self.clusters, np.int64)
        for column in self.lists.T:
            sizes += np.bincount(column[column != NONE], minlength=self.clusters)
        return sizes

    def members(self) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        """The members of all clusters: (offsets (clusters + 1), rows by cluster, ascending in each)."""
        offsets = np.concatenate([[0], np.cumsum(self.posting_sizes())])
        rows = np.empty(int(offsets[-1]), np.uint32)
        _core.cluster_members(self.lists, offsets[:-1].copy(), rows)
        return offsets, rows


def assign(
    space: ClusterSpace,
    centroids: NDArray[np.float32],
    index: CentroidIndex,
    *,
    replicas: int,
    closure: float,
    rng_factor: float = 1,
    threads: int,
    progress: BuildProgress | None = None,
) -> Memberships:
    """Assigns all vectors, block by block, and cuts clusters that are home to more than their share."""
    replicas = min(replicas, len(centroids))
    lists = np.empty((space.count, replicas), np.uint32)
    distances = np.empty(space.count, np.float32)
    candidates = 1 if replicas == 1 else _CANDIDATES_PER_REPLICA * replicas
    began = time.monotonic()
    for start, stop in space.blocks():
        ids, squared = index.nearest(space.rows(slice(start, stop)), candidates)
        distances[start:stop] = squared[:, 0]
        _core.cluster_closure(
            centroids,
            ids,
            squared,
            (1 + closure) ** 2,
            rng_factor**2,
            lists[start:stop],
            _core.resolve_threads(threads),
        )
        if progress is not None:
            elapsed = time.monotonic() - began
            progress("assigning", stop, space.count, elapsed / stop * (space.count - stop))
    _cut_large_clusters(space, index, len(centroids), lists, distances)
    return Memberships(lists=lists, clusters=len(centroids))


def home_limit(vectors: int, clusters: int) -> int:
    """Most vectors that a cluster is home to."""
    return int(np.ceil(LARGEST_SHARE * vectors / clusters))


def _cut_large_clusters(
    space: ClusterSpace,
    index: CentroidIndex,
    clusters: int,
    lists: NDArray[np.uint32],
    distances: NDArray[np.float32],
) -> None:
    """Moves the farthest members of clusters above the limit to the nearest clusters with room."""
    limit = home_limit(space.count, clusters)
    sizes = np.bincount(lists[:, 0], minlength=clusters)
    if sizes.max() <= limit:
        return
    affected = np.flatnonzero(sizes[lists[:, 0]] > limit)
    order = affected[np.lexsort((affected, distances[affected], lists[affected, 0]))]
    first = np.searchsorted(lists[order, 0], lists[order, 0])
    moved = np.sort(order[np.arange(len(order)) - first >= limit])
    room = limit - np.minimum(sizes, limit)
    block = max(1, (1 << 21) // space.dim)
    for start in range(0, len(moved), block):
        rows = moved[start : start + block]
        candidates, _ = index.nearest(space.rows(rows), _OVERFLOW_CANDIDATES)
        _set_home(lists, rows, _place(candidates, room))


def _place(candidates: NDArray[np.int64], room: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first candidate of each row that has room left, else any cluster with room; takes the room."""
    placed = np.full(len(candidates), -1)
    for column in candidates.T:
        waiting = np.flatnonzero((placed < 0) & (column >= 0))
        waiting = waiting[room[column[waiting]] > 0]
        if len(waiting) == 0:
            continue
        wanted = column[waiting]
        order = np.argsort(wanted, kind="stable")
        rank = np.arange(len(wanted)) - np.searchsorted(wanted[order], wanted[order])
        chosen = order[rank < room[wanted[order]]]
        placed[waiting[chosen]] = wanted[chosen]
        np.subtract.at(room, wanted[chosen], 1)
    left = np.flatnonzero(placed < 0)
    if len(left):
        placed[left] = np.repeat(np.arange(len(room)), room)[: len(left)]
        np.subtract.at(room, placed[left], 1)
    return placed


def _set_home(lists: NDArray[np.uint32], rows: NDArray[np.int64], home: NDArray[np.int64]) -> None:
    """Puts the new home first and the other clusters behind it, as far as there is place."""
    old = lists[rows]
    # The old entry that equals the new home, or the last one, makes place.
    gap = np.where((old == home[:, None]).any(axis=1), (old == home[:, None]).argmax(axis=1), old.shape[1] - 1)
    columns = np.arange(old.shape[1])
    shifted = np.concatenate([home[:, None].astype(np.uint32), old[:, :-1]], axis=1)
    lists[rows] = np.where(columns <= gap[:, None], shifted, old)
