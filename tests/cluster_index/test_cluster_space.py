from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from tiervec.cluster_index.cluster_space import ClusterSpace

Array = np.ndarray[Any, Any]


def vectors_of(dtype: str, count: int = 200) -> Array:
    shift = 100 if dtype == "uint8" else 0
    return (np.random.default_rng(3).normal(size=(count, 9)) * 20 + shift).astype(dtype)


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8"])
def test_distances_of_the_space_agree_with_the_metric(dtype: str, metric: str) -> None:
    vectors, queries = vectors_of(dtype), vectors_of(dtype, 210)[200:]
    space = ClusterSpace(vectors, metric)
    points, asked = space.rows(slice(0, 200)), space.queries(queries)
    squared = ((asked[:, None] - points[None]) ** 2).sum(axis=2)
    exact_v, exact_q = vectors.astype(np.float64), queries.astype(np.float64)
    dots = exact_q @ exact_v.T
    distances = {
        "l2": ((exact_q[:, None] - exact_v[None]) ** 2).sum(axis=2),
        "ip": -dots,
        "cosine": 1 - dots / np.linalg.norm(exact_q, axis=1)[:, None] / np.linalg.norm(exact_v, axis=1),
    }[metric]
    for row in range(10):
        kth = np.sort(distances[row])[9]
        near = np.argsort(squared[row])[:10]
        assert (distances[row][near] <= kth + 1e-4 * abs(kth) + 1e-6).all()


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_any_rows_are_converted_alike(metric: str) -> None:
    space = ClusterSpace(vectors_of("int8"), metric)
    whole = space.rows(slice(0, 200))
    assert whole.dtype == np.float32
    assert whole.shape == (200, space.dim) == (200, 9 + (metric == "ip"))
    np.testing.assert_array_equal(space.rows(np.array([3, 77, 199])), whole[[3, 77, 199]])
    np.testing.assert_array_equal(space.rows(slice(20, 30)), whole[20:30])
    centroids = space.plain_centroids(whole[:5])
    np.testing.assert_array_equal(space.converted_centroids(centroids), whole[:5, :9])
    assert centroids.shape == (5, 9)
    assert centroids.flags.c_contiguous


def test_vectors_far_from_the_origin_are_moved_to_it() -> None:
    far = vectors_of("float32") + np.float32(1e6)
    points = ClusterSpace(far, "l2").rows(slice(0, 200))
    assert np.abs(points).max() < 200
    np.testing.assert_allclose(points[1:] - points[:1], far[1:] - far[:1], atol=1e-5)


def test_inner_products_have_one_more_coordinate_that_makes_all_norms_equal() -> None:
    points = ClusterSpace(vectors_of("float32"), "ip").rows(slice(0, 200))
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), np.linalg.norm(points, axis=1).max(), rtol=1e-5)
    assert (ClusterSpace(vectors_of("float32"), "ip").queries(vectors_of("float32"))[:, -1] == 0).all()


def test_zeros_have_no_direction() -> None:
    assert (ClusterSpace(np.zeros((3, 4), np.float32), "cosine").rows(slice(0, 3)) == 0).all()


def test_blocks_cover_all_rows_and_stay_small() -> None:
    space = ClusterSpace(np.zeros((5000, 1024), np.uint8), "l2")
    blocks = list(space.blocks())
    assert blocks[0][0] == 0
    assert blocks[-1][1] == 5000
    assert all(stop == start for (_, stop), (start, _) in itertools.pairwise(blocks))
    assert max(stop - start for start, stop in blocks) * 1024 * 4 <= 8 << 20
