"""k-means and nearest centroids with faiss, which only building needs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiervec.errors import UnsupportedError
from tiervec.machine.openmp import openmp_threads

__all__ = ["CentroidIndex", "kmeans", "load_faiss"]

_FEW_CENTROIDS = 1024  # so many are compared with directly
_PROBED_GROUPS = 32  # for one vector's nearest centroids


def load_faiss(threads: int) -> Any:
    """The module, set to so many threads.

    Raises:
        UnsupportedError: It is not installed.
    """
    try:
        import faiss
    except ImportError:
        raise UnsupportedError(
            "a cluster index is built with faiss, which is not installed: pip install faiss-cpu"
        ) from None
    faiss.omp_set_num_threads(openmp_threads(threads))  # it would else keep what an earlier build asked for
    return faiss


def kmeans(
    faiss: Any,
    points: NDArray[np.float32],
    count: int,
    *,
    seed: int,
    iterations: int,
    start: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """`count` centroids (count, dim) of points (rows, dim), rows at least `count`; from `start` if it is given."""
    clustering = faiss.Clustering(points.shape[1], count)
    clustering.niter = iterations
    clustering.seed = seed % 2**31
    clustering.min_points_per_centroid = 1  # else it prints warnings
    clustering.max_points_per_centroid = 2**31 - 1  # all the points
    if start is not None:
        faiss.copy_array_to_vector(np.ascontiguousarray(start).reshape(-1), clustering.centroids)
    clustering.train(np.ascontiguousarray(points), faiss.IndexFlatL2(points.shape[1]))
    centroids: NDArray[np.float32] = faiss.vector_to_array(clustering.centroids).reshape(count, -1)
    return centroids


class CentroidIndex:
    """Finds the nearest centroids of many vectors: exactly for few centroids, else within the nearest groups."""

    def __init__(self, faiss: Any, centroids: NDArray[np.float32], groups: NDArray[np.float32]) -> None:
        dim = centroids.shape[1]
        self._faiss, self._centroids = faiss, centroids
        if len(centroids) <= _FEW_CENTROIDS or len(groups) < 2:
            self._index = faiss.IndexFlatL2(dim)
        else:
            self._quantizer = faiss.IndexFlatL2(dim)  # not owned by the index
            self._quantizer.add(np.ascontiguousarray(groups))
            self._index = faiss.IndexIVFFlat(self._quantizer, dim, len(groups))
            self._index.nprobe = min(_PROBED_GROUPS, len(groups))
        self._index.add(np.ascontiguousarray(centroids))
        self._count = len(centroids)

    def nearest(self, points: NDArray[np.float32], count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """(ids, squared distances), each (rows, up to count), nearest first, ties by id; missing ids are -1."""
        wanted = min(count, self._count)
        distances, ids = self._index.search(np.ascontiguousarray(points), wanted)
        lost = np.flatnonzero(ids[:, 0] < 0)  # all the groups that were looked at are empty
        if len(lost):
            distances[lost], ids[lost] = self._faiss.knn(points[lost], self._centroids, wanted)
        return ids, distances
