"""Chains of clusters: every cluster once, near ones side by side, whatever the data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiervec.cluster_index.cluster_chain import number_centroids, shortest_chain
from tiervec.cluster_index.faiss_kmeans import load_faiss

Array = np.ndarray[Any, Any]
faiss = load_faiss(1)


def length(points: Array) -> float:
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 200),
    dim=st.integers(1, 5),
    distinct=st.sampled_from([1, 2, 7, 1000]),
)
@settings(max_examples=60)
def test_a_chain_holds_every_centroid_once(seed: int, count: int, dim: int, distinct: int) -> None:
    random = np.random.default_rng(seed)
    centroids = random.normal(size=(distinct, dim))[random.integers(0, distinct, count)].astype(np.float32)
    assert sorted(shortest_chain(faiss, centroids).tolist()) == list(range(count))
    numbered = number_centroids(faiss, centroids, 1)
    assert numbered.offsets[0] == 0
    assert numbered.offsets[-1] == count
    assert (np.diff(numbered.offsets) > 0).all(), "no group is empty"
    assert len(numbered.groups) == len(numbered.offsets) - 1
    assert sorted(map(tuple, numbered.centroids.tolist())) == sorted(map(tuple, centroids.tolist()))


def test_points_on_a_line_come_in_its_order() -> None:
    line = np.random.default_rng(1).permutation(100).astype(np.float32)[:, None]
    chain = line[shortest_chain(faiss, line)].ravel().tolist()
    assert chain in (sorted(chain), sorted(chain, reverse=True))


def test_a_chain_is_far_shorter_than_any_order() -> None:
    points = np.random.default_rng(2).normal(size=(400, 4)).astype(np.float32)
    assert length(points[shortest_chain(faiss, points)]) <= 0.5 * length(points)
    assert length(number_centroids(faiss, points, 1).centroids) <= 0.6 * length(points)


def test_a_centroid_is_in_the_nearest_group() -> None:
    points = np.random.default_rng(3).normal(size=(300, 3)).astype(np.float32)
    numbered = number_centroids(faiss, points, 1)
    squared = ((numbered.centroids[:, None] - numbered.groups[None]) ** 2).sum(axis=2)
    owner = np.repeat(np.arange(len(numbered.groups)), np.diff(numbered.offsets))
    chosen = squared[np.arange(300), owner]
    np.testing.assert_allclose(chosen, squared.min(axis=1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_very_few_centroids(count: int) -> None:
    points = np.arange(count, dtype=np.float32)[:, None]
    assert number_centroids(faiss, points, 0).offsets[-1] == count
