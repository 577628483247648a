from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tiervec.cluster_index.balanced_kmeans import LARGEST_SHARE, train_centroids
from tiervec.cluster_index.closure import home_limit
from tiervec.cluster_index.cluster_space import ClusterSpace
from tiervec.cluster_index.faiss_kmeans import load_faiss

Array = np.ndarray[Any, Any]
faiss = load_faiss(1)


def blobs(count: int, dim: int, seed: int = 1) -> Array:
    """Clusters of very different sizes and widths."""
    random = np.random.default_rng(seed)
    middles = random.normal(size=(12, dim)) * 5
    owner = np.minimum(random.geometric(0.4, count) - 1, 11)
    return (middles[owner] + random.normal(size=(count, dim)) * (0.05 + owner[:, None] / 6)).astype(np.float32)


@pytest.mark.parametrize(("count", "clusters"), [(500, 1), (500, 7), (3000, 64), (3000, 65), (3000, 500), (200, 199)])
def test_there_are_as_many_centroids_as_asked_for(count: int, clusters: int) -> None:
    space = ClusterSpace(blobs(count, 6), "l2")
    centroids = train_centroids(faiss, space, clusters, seed=1)
    assert centroids.shape == (clusters, 6)
    assert np.isfinite(centroids).all()
    np.testing.assert_array_equal(centroids, train_centroids(faiss, space, clusters, seed=1))


def test_every_vector_is_a_centroid_when_there_are_as_many() -> None:
    vectors = blobs(90, 4)
    space = ClusterSpace(vectors, "l2")
    centroids = space.plain_centroids(train_centroids(faiss, space, 90, seed=1))
    np.testing.assert_allclose(np.sort(centroids, axis=0), np.sort(vectors, axis=0), rtol=1e-5)


@pytest.mark.parametrize("clusters", [20, 200])
def test_sizes_are_balanced(clusters: int, cluster: Callable[..., Any]) -> None:
    found = cluster(blobs(4000, 8), clusters=clusters, replicas=1)
    sizes = np.bincount(found.memberships.home, minlength=clusters)
    assert sizes.max() <= home_limit(4000, clusters) == LARGEST_SHARE * 4000 / clusters
    assert np.median(sizes) >= 0.5 * sizes.mean()
    details = found.details()
    assert details["own_sizes"]["most"] == sizes.max()
    assert details["own_sizes"]["mean"] == 4000 / clusters


def test_balance_costs_little_closeness() -> None:
    vectors = blobs(3000, 8)
    space = ClusterSpace(vectors, "l2")
    balanced = space.plain_centroids(train_centroids(faiss, space, 60, seed=1))
    plain = faiss.Kmeans(8, 60, niter=15, seed=1, max_points_per_centroid=10_000)
    plain.train(vectors)

    def error(centroids: Array) -> float:
        return float(faiss.knn(vectors, centroids, 1)[0].mean())

    assert error(balanced) <= 1.3 * error(plain.centroids)
