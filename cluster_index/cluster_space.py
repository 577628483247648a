"""Vectors as the clustering sees them: float32 whose squared Euclidean distance agrees with the metric."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ClusterSpace"]

_BLOCK_VALUES = 1 << 21  # of float32, 8 MiB


class ClusterSpace:
    """A view of the vectors, converted piece by piece, so that the data may be a mapped file larger than memory.

    l2      the vectors
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

    def queries(self, queries: NDArray[Any]) -> NDArray[np.float32]:
        """Queries, converted."""
        return self._convert(queries, is_query=True)

    def plain_centroids(self, centroids: NDArray[np.float32]) -> NDArray[np.float32]:
        """Centroids without the added coordinate, for a search by the metric itself."""
        return np.ascontiguousarray(centroids[:, : self._vectors.shape[1]])

    def _convert(self, part: NDArray[Any], *, is_query: bool) -> NDArray[np.float32]:
        points: NDArray[np.float32] = np.array(part, dtype=np.float32, order="C")
        if self._metric == "cosine":
            norms = np.sqrt(np.einsum("ij,ij->i", points, points))[:, None]
            points /= np.where(norms > 0, norms, 1)
        elif self._metric == "ip":
            added = np.zeros((len(points), 1), np.float32)
            if not is_query:
                squared = np.einsum("ij,ij->i", points, points, dtype=np.float64)
                added[:, 0] = np.sqrt(np.maximum(self._largest_squared_norm - squared, 0))
            points = np.concatenate([points, added], axis=1)
        return points
