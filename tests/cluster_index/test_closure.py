from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiervec import _core
from tiervec.cluster_index.closure import NONE, Memberships, assign, home_limit
from tiervec.cluster_index.cluster_space import ClusterSpace
from tiervec.cluster_index.faiss_kmeans import CentroidIndex, load_faiss
from tiervec.errors import InvalidArgumentError

Array = np.ndarray[Any, Any]
faiss = load_faiss(1)


def slow_closure(
    centroids: Array, ids: Array, distances: Array, factor: float, rng: float, replicas: int
) -> list[list[int]]:
    """The rule, one vector at a time."""
    lists = []
    for candidates, squared in zip(ids.tolist(), distances.tolist(), strict=True):
        chosen: list[int] = []
        for candidate, distance in zip(candidates, squared, strict=True):
            if candidate < 0 or distance > factor * squared[0] or len(chosen) == replicas:
                break
            if all(rng * ((centroids[candidate] - centroids[other]) ** 2).sum() > distance for other in chosen):
                chosen.append(candidate)
        lists.append(chosen + [NONE] * (replicas - len(chosen)))
    return lists


@given(
    seed=st.integers(0, 2**32 - 1),
    clusters=st.integers(1, 40),
    dim=st.integers(1, 9),
    replicas=st.integers(1, 9),
    factor=st.sampled_from([1.0, 1.3, 4.0, 100.0]),
    rng=st.sampled_from([1.0, 1.5, 4.0]),
)
@settings(max_examples=60)
def test_the_native_rule_is_the_slow_one(
    seed: int, clusters: int, dim: int, replicas: int, factor: float, rng: float
) -> None:
    random = np.random.default_rng(seed)
    centroids = np.rint(random.normal(size=(clusters, dim)) * 3).astype(np.float32)  # whole numbers: sums are exact
    points = np.rint(random.normal(size=(50, dim)) * 3).astype(np.float32)
    squared = ((points[:, None] - centroids[None]) ** 2).sum(axis=2)
    ids = np.ascontiguousarray(np.argsort(squared, axis=1, kind="stable")[:, : 2 * replicas])
    distances = np.take_along_axis(squared, ids, axis=1)
    lists = np.empty((50, replicas), np.uint32)
    _core.cluster_closure(centroids, ids, distances, factor, rng, lists, 2)
    assert lists.tolist() == slow_closure(centroids, ids, distances, factor, rng, replicas)


def assigned(vectors: Array, centroids: Array, replicas: int, closure: float = 1.0) -> Memberships:
    space = ClusterSpace(vectors, "l2")
    centroids = space.converted_centroids(centroids)
    index = CentroidIndex(faiss, centroids, centroids[:1])
    return assign(space, centroids, index, replicas=replicas, closure=closure, threads=1)


@given(
    seed=st.integers(0, 2**32 - 1),
    vectors=st.integers(2, 300),
    clusters=st.integers(1, 20),
    replicas=st.integers(1, 6),
    distinct=st.sampled_from([1, 2, 10, 1000]),
)
@settings(max_examples=60)
def test_every_vector_is_listed_and_no_cluster_is_home_to_too_many(
    seed: int, vectors: int, clusters: int, replicas: int, distinct: int
) -> None:
    random = np.random.default_rng(seed)
    clusters = min(clusters, vectors)
    data = random.normal(size=(distinct, 3))[random.integers(0, distinct, vectors)].astype(np.float32)
    found = assigned(data, data[random.choice(vectors, clusters, replace=False)], replicas)
    assert found.lists.shape == (vectors, min(replicas, clusters))
    assert np.bincount(found.home, minlength=clusters).max() <= home_limit(vectors, clusters)
    for row in found.lists.tolist():
        listed = [cluster for cluster in row if cluster != NONE]
        assert 1 <= len(listed) == len(set(listed))
        assert row[: len(listed)] == listed, "what is left over is behind"
    offsets, rows = found.members()
    for cluster in range(clusters):
        expected = np.flatnonzero((found.lists == cluster).any(axis=1))
        np.testing.assert_array_equal(rows[offsets[cluster] : offsets[cluster + 1]], expected)


def test_an_overfull_cluster_keeps_its_nearest() -> None:
    data = np.concatenate([np.linspace(0, 1, 90), np.linspace(9, 10, 10)]).astype(np.float32)[:, None]
    found = assigned(data, np.array([[0.0], [10.0]], np.float32), 1)
    assert np.bincount(found.home).tolist() == [90, 10]
    found = assigned(data, np.array([[0.0], [5.0], [9.0], [10.0]], np.float32), 1)
    sizes = np.bincount(found.home, minlength=4)
    assert sizes.max() == home_limit(100, 4) == 50
    assert (found.home[:50] == 0).all()
    assert (found.home[50:90] == 1).all()


def test_more_replicas_and_a_wider_bound_list_more(cluster: Callable[..., Any]) -> None:
    data = np.random.default_rng(2).normal(size=(2000, 8)).astype(np.float32)
    listed = [
        cluster(data, clusters=50, replicas=replicas, closure=closure).memberships.posting_sizes().sum()
        for replicas, closure in ((1, 1.0), (2, 0.1), (2, 0.5), (8, 0.5), (8, 2.0))
    ]
    assert listed[0] == 2000
    assert listed == sorted(listed)
    assert listed[-1] > 1.5 * listed[0]


def test_a_relaxed_rule_lists_up_to_replicas(cluster: Callable[..., Any]) -> None:
    data = np.random.default_rng(2).normal(size=(2000, 8)).astype(np.float32)
    listed = [
        cluster(data, clusters=50, replicas=4, closure=10, rng_factor=rng_factor).memberships.posting_sizes().sum()
        for rng_factor in (1, 1.3, 10)
    ]
    assert listed == sorted(set(listed))
    assert listed[-1] == 4 * 2000


def test_the_native_functions_check_their_arguments() -> None:
    centroids, ids = np.zeros((2, 3), np.float32), np.zeros((4, 1), np.int64)
    lists = np.empty((4, 1), np.uint32)
    with pytest.raises(InvalidArgumentError, match="one row per vector"):
        _core.cluster_closure(centroids, ids, np.zeros((3, 1), np.float32), 1, 1, lists, 1)
    with pytest.raises(InvalidArgumentError, match="centroid 5"):
        _core.cluster_closure(centroids, ids + 5, np.zeros((4, 1), np.float32), 1, 1, lists, 1)
    with pytest.raises(InvalidArgumentError, match="cluster 7"):
        _core.cluster_members(lists * 0 + 7, np.zeros(2, np.int64), np.empty(4, np.uint32))
    with pytest.raises(InvalidArgumentError, match="no room"):
        _core.cluster_members(lists * 0, np.zeros(2, np.int64), np.empty(3, np.uint32))
