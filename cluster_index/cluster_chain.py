"""Numbers of clusters along which neighbours are near: what is stored in their order has neighbours side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiervec.cluster_index.faiss_kmeans import kmeans

__all__ = ["NumberedCentroids", "number_centroids", "shortest_chain"]

_CHAIN_NEIGHBOURS = 12
_END_NEIGHBOURS = 30
_ITERATIONS = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class NumberedCentroids:
    """Centroids by groups of near ones.

    Attributes:
        centroids: float32 (clusters, dim), group by group.
        groups: float32 (groups, dim), the middle of each group.
        offsets: First centroid of each group, and the end; no group is empty.
    """

    centroids: NDArray[np.float32]
    groups: NDArray[np.float32]
    offsets: NDArray[np.int64]


def number_centroids(faiss: Any, centroids: NDArray[np.float32], seed: int) -> NumberedCentroids:
    """Groups centroids by k-means, about 4 sqrt(clusters) groups; groups lie along a chain, and so do their members."""
    count = min(len(centroids), max(1, round(4 * len(centroids) ** 0.5)))
    middles = kmeans(faiss, centroids, count, seed=seed, iterations=_ITERATIONS)
    index = faiss.IndexFlatL2(centroids.shape[1])
    index.add(middles)
    owner = index.search(np.ascontiguousarray(centroids), 1)[1][:, 0]
    used = np.unique(owner)
    chain = used[shortest_chain(faiss, np.ascontiguousarray(middles[used]))]
    members = [np.flatnonzero(owner == group) for group in chain]
    members = [rows[shortest_chain(faiss, np.ascontiguousarray(centroids[rows]))] for rows in members]
    return NumberedCentroids(
        centroids=np.ascontiguousarray(centroids[np.concatenate(members)]),
        groups=np.ascontiguousarray(middles[chain]),
        offsets=np.concatenate([[0], np.cumsum([len(rows) for rows in members])]),
    )


def shortest_chain(faiss: Any, centroids: NDArray[np.float32]) -> NDArray[np.uint32]:
    """All centroids in an order in which neighbours are near: short edges first, until they form one path."""
    chain = _Chain(len(centroids))
    chain.link_nearest(faiss, centroids, np.arange(len(centroids)), _CHAIN_NEIGHBOURS)
    while len(ends := chain.ends()) > 2:
        before = len(ends)
        chain.link_nearest(faiss, centroids, ends, _END_NEIGHBOURS)
        ends = chain.ends()
        if len(ends) == before:  # equal centroids hide the others from each other
            chain.link_in_order(ends)
    return chain.walk()


class _Chain:
    """Paths through clusters that grow together."""

    def __init__(self, count: int) -> None:
        self._links: list[list[int]] = [[] for _ in range(count)]
        self._parents = list(range(count))

    def link_nearest(self, faiss: Any, centroids: NDArray[np.float32], which: NDArray[np.int64], width: int) -> None:
        points = np.ascontiguousarray(centroids[which])
        distances, near = faiss.knn(points, points, min(width + 1, len(which)))
        order = np.argsort(distances.reshape(-1), kind="stable")
        ones = np.repeat(which, near.shape[1])[order].tolist()
        others = which[near.reshape(-1)[order]].tolist()
        for one, other in zip(ones, others, strict=True):
            self._link(one, other)

    def link_in_order(self, ends: NDArray[np.int64]) -> None:
        for one, other in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
            self._link(one, other)

    def ends(self) -> NDArray[np.int64]:
        """Clusters with fewer than two links; a lone one counts twice, so that two are left of one path."""
        return np.array([c for c, links in enumerate(self._links) for _ in range(2 - len(links))], np.int64)

    def walk(self) -> NDArray[np.uint32]:
        at, before = int(self.ends()[0]), -1
        path = [at]
        while len(path) < len(self._links):
            at, before = next(c for c in self._links[at] if c != before), at
            path.append(at)
        return np.array(path, np.uint32)

    def _link(self, one: int, other: int) -> None:
        if len(self._links[one]) == 2 or len(self._links[other]) == 2:
            return
        root, other_root = self._root(one), self._root(other)
        if root != other_root:
            self._parents[root] = other_root
            self._links[one].append(other)
            self._links[other].append(one)

    def _root(self, at: int) -> int:
        while self._parents[at] != at:
            self._parents[at] = self._parents[self._parents[at]]
            at = self._parents[at]
        return at
