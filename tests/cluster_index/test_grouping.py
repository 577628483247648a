"""The grouped layout: the choice of groups against a solver, the order against counting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiervec import _core
from tiervec.cluster_index.arrangement import Arrangement, arrange
from tiervec.cluster_index.closure import NONE, Memberships
from tiervec.cluster_index.grouping import choose_groups, frequencies
from tiervec.errors import CancelledError, InvalidArgumentError

Array = np.ndarray[Any, Any]


def reads(memberships: Memberships, groups: Array, searched: Array) -> int:
    """sum_j h_j (1 + sum_i (A_ij - P_ij))"""
    foreign = memberships.posting_sizes() - np.bincount(groups, minlength=memberships.clusters)
    return int((searched * (1 + foreign)).sum())


def solved(memberships: Memberships, searched: Array) -> int:
    """The least reads, from the integer program as it is written."""
    optimize = pytest.importorskip("scipy.optimize", reason="scipy is not installed")
    rows, columns = np.nonzero(memberships.lists != NONE)
    clusters = memberships.lists[rows, columns]
    one_group = np.zeros((len(memberships.lists), len(rows)))
    one_group[rows, np.arange(len(rows))] = 1
    found = optimize.milp(
        -searched[clusters].astype(float),
        constraints=optimize.LinearConstraint(one_group, 1, 1),
        integrality=np.ones(len(rows)),
        bounds=optimize.Bounds(0, 1),
    )
    assert found.success
    return int((searched * (1 + memberships.posting_sizes())).sum() + round(found.fun))


@given(seed=st.integers(0, 2**32 - 1), vectors=st.integers(1, 25), clusters=st.integers(1, 8), most=st.integers(1, 6))
@settings(max_examples=40)
def test_the_choice_is_the_optimum_of_the_integer_program(
    seed: int, vectors: int, clusters: int, most: int, random_memberships: Callable[..., Memberships]
) -> None:
    random = np.random.default_rng(seed)
    memberships = random_memberships(random, vectors, clusters, most)
    searched = random.integers(0, 12, clusters)
    groups = choose_groups(memberships, searched)
    assert (memberships.lists == groups[:, None]).any(axis=1).all(), "a group holds members of its cluster only"
    assert reads(memberships, groups, searched) == solved(memberships, searched)


def test_of_equal_clusters_the_nearest_stores_a_vector() -> None:
    memberships = Memberships(lists=np.array([[2, 0, 1], [1, 2, NONE]], np.uint32), clusters=3)
    assert choose_groups(memberships, np.array([5, 5, 5])).tolist() == [2, 1]
    assert choose_groups(memberships, np.array([6, 5, 5])).tolist() == [0, 1]


def test_frequencies_count_probes() -> None:
    assert frequencies(np.array([[0, 2], [2, 3]], np.uint32), 5).tolist() == [1, 0, 2, 1, 0]


def runs_per_query(arrangement: Arrangement, memberships: Memberships, probes: Array, gap: int = 0) -> float:
    """Reads of the queries when neighbours are read together."""
    positions = arrangement.positions.astype(np.int64)
    counts = []
    for probed in probes:
        needed = np.sort(positions[np.isin(memberships.lists, probed).any(axis=1)])
        counts.append(1 + int((np.diff(needed) > gap + 1).sum()))
    return float(np.mean(counts))


def test_grouping_and_then_ordering_save_reads(cluster: Callable[..., Any]) -> None:
    random = np.random.default_rng(4)
    data = (random.normal(size=(4000, 6)) @ random.normal(size=(6, 16))).astype(np.float32)
    found = cluster(data, clusters=80, replicas=8, closure=0.5)
    asked = data[random.choice(4000, 150)] + np.float32(0.1)
    squared = ((asked[:, None] - found.centroids[None]) ** 2).sum(axis=2)
    probes = np.argsort(squared, axis=1)[:, :6]
    memberships = found.memberships
    searched = found.probes[:, :6].copy()
    decoupled, grouped, ordered = (
        runs_per_query(arrangement, memberships, probes, gap)
        for arrangement, gap in (
            (arrange("decoupled", memberships, probes=found.probes, threads=1), 0),
            (arrange("grouped", memberships, probes=searched, ordered=False, threads=1), 0),
            (arrange("grouped", memberships, probes=searched, threads=1), 2),
        )
    )
    assert grouped <= 0.5 * decoupled
    assert ordered <= 0.75 * grouped


def order(**changes: Any) -> Array:
    parts = {
        "posting_offsets": np.array([0, 2, 4]),
        "members": np.array([0, 1, 1, 2], np.uint32),
        "groups": np.array([0, 0, 1], np.uint32),
        "probes": np.array([[0], [1]], np.uint32),
        "chain": np.empty(2, np.uint32),
        "rows": np.empty(3, np.uint32),
        "threads": 1,
        **changes,
    }
    _core.cluster_group_order(**parts)
    return parts["rows"]


def test_what_a_neighbour_needs_lies_at_its_side() -> None:
    # Row 0 of the first group is needed by nobody else, row 1 by the second cluster, whose group follows.
    assert order().tolist() == [0, 1, 2]
    assert order(members=np.array([0, 1, 0, 2], np.uint32)).tolist() == [1, 0, 2]


def test_groups_that_save_a_read_lie_side_by_side() -> None:
    # Six clusters of one own row each. Clusters 3 and 4 are searched together, and 2 stores a row that 5 lists.
    chain = np.empty(6, np.uint32)
    order(
        posting_offsets=np.array([0, 1, 2, 4, 5, 6, 8]),
        members=np.array([0, 1, 2, 6, 3, 4, 5, 6], np.uint32),
        groups=np.array([0, 1, 2, 3, 4, 5, 2], np.uint32),
        probes=np.array([[3, 4], [4, 3], [5, 1], [5, 0]], np.uint32),
        chain=chain,
        rows=(rows := np.empty(7, np.uint32)),
    )
    places = np.argsort(chain)
    assert abs(int(places[3]) - int(places[4])) == 1
    assert abs(int(places[2]) - int(places[5])) == 1
    at = np.argsort(rows)
    assert abs(int(at[6]) - int(at[5])) == 1, "the shared row at the border"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"posting_offsets": np.array([0, 2, 5])}, "posting_offsets"),
        ({"posting_offsets": np.array([0, 4, 2])}, "posting_offsets"),
        ({"posting_offsets": np.array([1, 2, 4])}, "posting_offsets"),
        ({"members": np.array([0, 1, 1, 3], np.uint32)}, "range"),
        ({"groups": np.array([0, 0, 2], np.uint32)}, "range"),
        ({"groups": np.array([0, 0], np.uint32)}, "sizes"),
        ({"probes": np.array([[0], [2]], np.uint32)}, "range"),
        ({"probes": np.empty((2, 0), np.uint32)}, "matrix"),
        ({"posting_offsets": np.empty(0, np.int64)}, "sizes"),
        ({"chain": np.zeros(3, np.uint32)}, "chain"),
    ],
    ids=str,
)
def test_the_native_order_checks_its_arguments(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(InvalidArgumentError, match=word):
        order(**changes)


def test_the_order_is_the_same_for_any_number_of_threads_and_can_be_stopped(
    random_memberships: Callable[..., Memberships],
) -> None:
    random = np.random.default_rng(5)
    memberships = random_memberships(random, 600, 40, 4)
    offsets, members = memberships.members()
    probes = np.argsort(random.random((50, 40)), axis=1)[:, :5].astype(np.uint32)
    arguments = (offsets, members, memberships.home.copy(), probes)
    results = []
    for threads in (1, 2, 3):
        chain, rows = np.empty(40, np.uint32), np.empty(600, np.uint32)
        _core.cluster_group_order(*arguments, chain, rows, threads)
        results.append((chain.tolist(), rows.tolist()))
        assert sorted(chain.tolist()) == list(range(40))
        assert (np.diff(np.argsort(chain)[arguments[2][rows]]) >= 0).all(), "groups lie along the chain"
    assert results[0] == results[1] == results[2]
    monitor = _core.WorkMonitor()
    monitor.cancel()
    with pytest.raises(CancelledError):
        _core.cluster_group_order(*arguments, np.empty(40, np.uint32), np.empty(600, np.uint32), 1, monitor)
