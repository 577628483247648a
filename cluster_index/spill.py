"""A second cluster for each vector's code: the one that finds it when its own cluster is not searched.

The second cluster is the one near the vector with the least loss of SOAR (NeurIPS'23, section 3.2): the squared
distance to its centroid, and once more the part of that difference that is parallel to the difference to the vector's
own centroid. A query that is far from the one centroid along this line is then likely to be near the other one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tiervec.cluster_index.cluster_space import ClusterSpace
from tiervec.cluster_index.clustering import Clustering
from tiervec.cluster_index.faiss_kmeans import CentroidIndex, load_faiss
from tiervec.machine.interruptible import BuildProgress

__all__ = ["spill_clusters"]

_CANDIDATES = 8
_PARALLEL_WEIGHT = 1.0
_BLOCK_VALUES = 1 << 20  # rows x candidates x dim of float32


def spill_clusters(
    space: ClusterSpace, clustering: Clustering, threads: int, progress: BuildProgress | None = None
) -> NDArray[np.uint32]:
    """The second cluster of each vector, uint32 (vectors,); of one cluster there is none, and nothing is returned."""
    centroids, dim = space.converted_centroids(clustering.centroids), clustering.centroids.shape[1]
    if len(centroids) < 2:
        return np.empty(0, np.uint32)
    index = CentroidIndex(load_faiss(threads), centroids, space.converted_centroids(clustering.group_means()))
    home = clustering.memberships.home
    chosen = np.empty(space.count, np.uint32)
    rows_at_once = max(1, _BLOCK_VALUES // (_CANDIDATES * dim))
    for begin in range(0, space.count, rows_at_once):
        end = min(begin + rows_at_once, space.count)
        points = space.rows(slice(begin, end))[:, :dim]
        chosen[begin:end] = _least_loss(points, centroids, home[begin:end], index)
        if progress is not None:
            progress("spilling", end, space.count, None)
    return chosen


def _least_loss(
    points: NDArray[np.float32], centroids: NDArray[np.float32], home: NDArray[np.uint32], index: CentroidIndex
) -> NDArray[np.int64]:
    candidates, squared = index.nearest(points, _CANDIDATES)
    own = points - centroids[home]
    norms = np.einsum("ij,ij->i", own, own)
    # <x - c', r> = <x, r> - <c', r>, so that differences to all candidates need not be made.
    along = np.einsum("ij,ij->i", points, own)[:, None] - np.einsum("ikj,ij->ik", centroids[candidates], own)
    loss = squared + _PARALLEL_WEIGHT * along**2 / np.where(norms > 0, norms, 1)[:, None]
    loss[(candidates < 0) | (candidates == home[:, None])] = np.inf
    best = candidates[np.arange(len(points)), loss.argmin(axis=1)]
    # Groups that were looked at may hold no other cluster.
    neighbour = np.where(home + 1 < len(centroids), home.astype(np.int64) + 1, home.astype(np.int64) - 1)
    return np.where(np.isfinite(loss).any(axis=1), best, neighbour)
