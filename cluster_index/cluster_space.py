"""Vectors as the clustering sees them: float32 whose squared Euclidean distance agrees with the metric."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiervec.codes.centering import far_squared, robust_center, squared_norms

__all__ = ["ClusterSpace"]

_BLOCK_VALUES = 1 << 21  # of float32, 8 MiB
_CENTER_ROWS = 4096


class ClusterSpace:
    """A view of the vectors, converted piece by piece, so that the data may be a mapped file larger than memory.

    l2      the vectors from their center: a distance computed as |x|^2 - 2 x y + |y|^2 in float32 would else be lost in
            the rounding of the squares, where all vectors lie far from the origin
    cosine  their unit vectors
    ip      the vectors with one more coordinate sqrt(M^2 - |x|^2), M the largest norm; neighbours by inner product are
            then neighbours by distance (Bachrach et al., RecSys'14). Queries have 0 there.

    Attributes:
        count: Number of vectors.
        dim: Columns of a converted vector.
    """

    def __init__(self, vectors: NDArray[Any], metric: str) -> None:
        self._vectors, self._metric = vectors, metric
        self.count = len(vectors)
        self.dim = vectors.shape[1] + (metric == "ip")
        self._center, self._far_squared = None, np.inf
        if metric == "l2":
            few = _spread_rows(vectors)
            center = robust_center(few)
            self._center = np.rint(center) if vectors.dtype.kind in "iu" else center  # distances of integers stay exact
            self._far_squared = far_squared(squared_norms(few - self._center))
        self._largest_squared_norm = 0.0
        if metric == "ip":
            for start, stop in self.blocks():
                part = np.asarray(vectors[start:stop], np.float32)
                norms = np.einsum("ij,ij->i", part, part, dtype=np.float64)
                self._largest_squared_norm = max(self._largest_squared_norm, float(norms.max()))

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Ranges of rows that convert to about 8 MiB."""
        rows = max(1, _BLOCK_VALUES // self.dim)
        for start in range(0, self.count, rows):
            yield start, min(start + rows, self.count)

    def rows(self, which: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors of these rows, converted; rows are best in ascending order, as a file is read."""
        return self._convert(np.asarray(self._vectors[which]), is_query=False)

    def usual(self, which: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of these rows that do not lie far outside: one far vector would take a centroid for itself."""
        if self._center is None:
            return which
        block = max(1, _BLOCK_VALUES // self.dim)
        parts = [which[start : start + block] for start in range(0, len(which), block)]
        return np.concatenate([part[squared_norms(self.rows(part)) <= self._far_squared] for part in parts])

    def queries(self, queries: NDArray[Any]) -> NDArray[np.float32]:
        """Queries, converted."""
        return self._convert(queries, is_query=True)

    def plain_centroids(self, centroids: NDArray[np.float32]) -> NDArray[np.float32]:
        """Centroids without the added coordinate and from the origin, for a search by the metric itself."""
        if self._center is not None:
            return centroids + self._center
        return np.ascontiguousarray(centroids[:, : self._vectors.shape[1]])

    def converted_centroids(self, centroids: NDArray[np.float32]) -> NDArray[np.float32]:
        """What `plain_centroids` gave, as the rows are converted; without the added coordinate of ip."""
        return centroids if self._center is None else centroids - self._center

    def _convert(self, part: NDArray[Any], *, is_query: bool) -> NDArray[np.float32]:
        points: NDArray[np.float32] = np.array(part, dtype=np.float32, order="C")
        if self._center is not None:
            points -= self._center
        elif self._metric == "cosine":
            norms = np.sqrt(np.einsum("ij,ij->i", points, points))[:, None]
            points /= np.where(norms > 0, norms, 1)
        elif self._metric == "ip":
            added = np.zeros((len(points), 1), np.float32)
            if not is_query:
                squared = np.einsum("ij,ij->i", points, points, dtype=np.float64)
                added[:, 0] = np.sqrt(np.maximum(self._largest_squared_norm - squared, 0))
            points = np.concatenate([points, added], axis=1)
        return points


def _spread_rows(vectors: NDArray[Any]) -> NDArray[np.float32]:
    rows = np.unique(np.linspace(0, len(vectors) - 1, min(len(vectors), _CENTER_ROWS)).astype(np.int64))
    return np.asarray(vectors[rows], np.float32)
