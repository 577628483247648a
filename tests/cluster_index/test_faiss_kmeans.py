from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from tiervec import _core
from tiervec.cluster_index.faiss_kmeans import CentroidIndex, kmeans, load_faiss
from tiervec.errors import UnsupportedError

Array = np.ndarray[Any, Any]
faiss = load_faiss(1)


def points_of(count: int, dim: int = 8) -> Array:
    return np.random.default_rng(1).normal(size=(count, dim)).astype(np.float32)


def test_the_module_is_set_to_the_threads_of_this_build() -> None:
    load_faiss(1)
    assert faiss.omp_get_max_threads() == 1
    load_faiss(0)
    assert faiss.omp_get_max_threads() == _core.resolve_threads(0)
    load_faiss(1)


def test_without_faiss_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UnsupportedError, match="pip install faiss-cpu"):
        load_faiss(1)


@pytest.mark.parametrize("seed", [0, 2**31, 2**63 - 1])
def test_any_seed_is_one_of_kmeans(seed: int, capfd: pytest.CaptureFixture[str]) -> None:
    points = points_of(40)
    found = [kmeans(faiss, points, 30, seed=seed, iterations=3) for _ in range(2)]
    np.testing.assert_array_equal(*found)
    assert found[0].shape == (30, 8)
    assert capfd.readouterr() == ("", ""), "faiss warns of few points"


def test_kmeans_goes_on_from_given_centroids() -> None:
    points = np.concatenate([points_of(50), points_of(50) + 20])
    start = np.array([[0.0] * 8, [20.0] * 8], np.float32)
    found = kmeans(faiss, points, 2, seed=1, iterations=2, start=start)
    np.testing.assert_allclose(found, [points[:50].mean(axis=0), points[50:].mean(axis=0)], atol=1e-4)
    assert (start[0] == 0).all(), "what it starts from stays as it is"


def test_few_centroids_are_found_exactly() -> None:
    centroids, asked = points_of(300), points_of(40)
    ids, squared = CentroidIndex(faiss, centroids, centroids[:5]).nearest(asked, 7)
    exact = ((asked[:, None] - centroids[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(squared, np.sort(exact, axis=1)[:, :7], rtol=1e-4, atol=1e-4)
    assert ids.shape == (40, 7)


def test_many_centroids_are_found_by_groups() -> None:
    centroids = points_of(2000)
    groups = kmeans(faiss, centroids, 60, seed=1, iterations=5)
    _, squared = CentroidIndex(faiss, centroids, groups).nearest(points_of(200) * 0.9, 4)
    exact = ((points_of(200)[:, None] * 0.9 - centroids[None]) ** 2).sum(axis=2)
    found = (squared[:, 0] <= exact.min(axis=1) * (1 + 1e-4) + 1e-4).mean()
    assert found >= 0.98
    assert (np.diff(squared, axis=1) >= 0).all()
    np.testing.assert_array_equal(CentroidIndex(faiss, centroids, groups).nearest(centroids, 1)[0][:, 0], range(2000))


def test_more_neighbours_than_centroids() -> None:
    ids, _ = CentroidIndex(faiss, points_of(3), points_of(1)).nearest(points_of(5), 10)
    assert sorted(ids[0].tolist()) == [0, 1, 2]


def test_a_vector_among_empty_groups_is_compared_with_all() -> None:
    # All centroids are in one group, far from the 99 groups that the vector is near to.
    centroids = points_of(1500) * 0.01
    groups = np.concatenate([np.zeros((1, 8)), np.full((99, 8), 100.0) + points_of(99)]).astype(np.float32)
    asked = np.full((3, 8), 100, np.float32)
    ids, squared = CentroidIndex(faiss, centroids, groups).nearest(asked, 2)
    assert (ids >= 0).all()
    assert np.isfinite(squared).all()
