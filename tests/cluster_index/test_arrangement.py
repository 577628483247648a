"""Layouts as arrays: every vector in its place, the same members in each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiervec.cluster_index.arrangement import Arrangement, arrange
from tiervec.cluster_index.closure import Memberships
from tiervec.cluster_index.params import LAYOUTS

Array = np.ndarray[Any, Any]


@given(
    seed=st.integers(0, 2**32 - 1),
    vectors=st.integers(1, 120),
    clusters=st.integers(1, 9),
    replicas=st.integers(1, 6),
)
@settings(max_examples=50)
def test_every_layout_gives_the_same_members(
    seed: int,
    vectors: int,
    clusters: int,
    replicas: int,
    random_memberships: Callable[..., Memberships],
    reference_members: Callable[[Arrangement, int], list[int]],
) -> None:
    random = np.random.default_rng(seed)
    memberships = random_memberships(random, vectors, clusters, replicas)
    probes = np.argsort(random.random((20, clusters)), axis=1)[:, : max(1, clusters // 2)].astype(np.uint32)
    for layout in LAYOUTS:
        arrangement = arrange(layout, memberships, probes=probes, threads=1)
        assert sorted(arrangement.order.tolist()) == list(range(vectors)), "every vector is stored once"
        assert arrangement.order[arrangement.positions].tolist() == list(range(vectors))
        for cluster in range(clusters):
            listed = memberships.home == cluster if layout == "coded" else (memberships.lists == cluster).any(axis=1)
            assert reference_members(arrangement, cluster) == np.flatnonzero(listed).tolist(), layout


def test_without_an_order_groups_lie_by_cluster_and_members_by_row(
    random_memberships: Callable[..., Memberships], reference_members: Callable[[Arrangement, int], list[int]]
) -> None:
    memberships, probes = small(random_memberships)
    ordered, plain = (arrange("grouped", memberships, probes=probes, ordered=on, threads=1) for on in (True, False))
    assert plain.places is not None
    assert plain.places.tolist() == list(range(12))
    for cluster in range(12):
        own = plain.order[plain.cluster_offsets[cluster] : plain.cluster_offsets[cluster + 1]].astype(int)
        assert (np.diff(own) > 0).all()
        assert reference_members(plain, cluster) == reference_members(ordered, cluster)
    assert ordered.order.tolist() != plain.order.tolist()


def small(random_memberships: Callable[..., Memberships]) -> tuple[Memberships, Array]:
    random = np.random.default_rng(1)
    probes = np.argsort(random.random((30, 12)), axis=1)[:, :4].astype(np.uint32)
    return random_memberships(random, 300, 12, 5), probes


@pytest.mark.parametrize("layout", ["coded", "grouped"])
def test_own_ranges_cover_all_positions(layout: str, random_memberships: Callable[..., Memberships]) -> None:
    memberships, probes = small(random_memberships)
    offsets = arrange(layout, memberships, probes=probes, threads=1).cluster_offsets
    assert offsets.dtype == np.uint32
    assert (offsets[0], offsets[-1]) == (0, 300)
    assert (np.diff(offsets.astype(int)) >= 0).all()


@pytest.mark.parametrize("layout", ["grouped", "decoupled", "replicated"])
def test_postings_are_in_order_and_name_no_position_twice(
    layout: str, random_memberships: Callable[..., Memberships]
) -> None:
    memberships, probes = small(random_memberships)
    found = arrange(layout, memberships, probes=probes, threads=1)
    assert found.postings is not None
    assert found.posting_offsets is not None
    assert len(found.postings) == found.posting_offsets[-1]
    for cluster in range(12):
        posting = found.postings[found.posting_offsets[cluster] : found.posting_offsets[cluster + 1]].astype(int)
        assert (np.diff(posting) > 0).all(), "ascending, so that neighbours are read together"
        own = range(found.cluster_offsets[cluster], found.cluster_offsets[cluster + 1])
        assert not set(own) & set(posting.tolist())


def test_one_list_each_leaves_nothing_to_group(random_memberships: Callable[..., Memberships]) -> None:
    memberships = random_memberships(np.random.default_rng(2), 100, 7, 1)
    found = arrange("grouped", memberships, probes=np.zeros((1, 1), np.uint32), threads=1)
    assert found.postings is not None
    assert len(found.postings) == 0
    np.testing.assert_array_equal(np.diff(found.cluster_offsets.astype(int)), memberships.posting_sizes())
