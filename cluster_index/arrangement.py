"""Where each vector lies and what each cluster knows of its members: a layout, as arrays.

coded        vectors by home cluster; a cluster's members are its own range
grouped      vectors by group; a cluster's members are its own range and addresses of the others. Groups and the
             members of each are ordered by what is probed together, or lie as they come
decoupled    vectors in the order of the data; a cluster has addresses of all members
replicated   each cluster has copies of all members
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiervec import _core
from tiervec.cluster_index.closure import Memberships
from tiervec.cluster_index.grouping import choose_groups, frequencies
from tiervec.machine.interruptible import BuildProgress, run_monitored

__all__ = ["Arrangement", "arrange"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Arrangement:
    """One layout of one clustering.

    Attributes:
        order: Row at each position, uint32 (vectors,).
        cluster_offsets: First position of each cluster's own range, uint32 (clusters + 1,); all 0 without such ranges.
        posting_offsets: First entry of each cluster's posting, int64 (clusters + 1,); None for ``coded``.
        postings: Positions that the postings list; None for ``coded``.
        places: Of ``grouped``, uint32 (clusters,): the place of each cluster in cluster_offsets and posting_offsets.
            None: clusters are there by number.
    """

    order: NDArray[np.uint32]
    cluster_offsets: NDArray[np.uint32]
    posting_offsets: NDArray[np.int64] | None = None
    postings: NDArray[np.uint32] | None = None
    places: NDArray[np.uint32] | None = None

    @property
    def positions(self) -> NDArray[np.uint32]:
        """Position of each row."""
        return _inverse(self.order)


def arrange(
    layout: str,
    memberships: Memberships,
    *,
    probes: NDArray[np.uint32],
    ordered: bool = True,
    threads: int,
    progress: BuildProgress | None = None,
) -> Arrangement:
    """Lays a clustering out.

    Args:
        layout: One of the four.
        memberships: Which clusters list which vectors.
        probes: The clusters (queries, nprobe) that sample queries search; for ``grouped``.
        ordered: Of ``grouped``: order groups and members by `probes`; otherwise they lie in the order of the clusters
            and of the data.
        threads: 0 means all allowed CPUs.
        progress: Progress callback or None.
    """
    if layout == "coded":
        return _coded(memberships)
    if layout == "grouped":
        return _grouped(memberships, probes, ordered, threads, progress)
    offsets, rows = memberships.members()
    return Arrangement(
        order=np.arange(len(memberships.lists), dtype=np.uint32),
        cluster_offsets=np.zeros(memberships.clusters + 1, np.uint32),
        posting_offsets=offsets,
        postings=rows,
    )


def _coded(memberships: Memberships) -> Arrangement:
    home = memberships.home
    return Arrangement(
        order=np.argsort(home, kind="stable").astype(np.uint32),
        cluster_offsets=_offsets(np.bincount(home, minlength=memberships.clusters)),
    )


def _grouped(
    memberships: Memberships,
    probes: NDArray[np.uint32],
    ordered: bool,
    threads: int,
    progress: BuildProgress | None,
) -> Arrangement:
    clusters = memberships.clusters
    offsets, rows = memberships.members()
    groups = choose_groups(memberships, frequencies(probes, clusters))
    chain, order = np.arange(clusters, dtype=np.uint32), np.argsort(groups, kind="stable").astype(np.uint32)
    if ordered:
        run_monitored(
            "ordering groups",
            lambda monitor: _core.cluster_group_order(offsets, rows, groups, probes, chain, order, threads, monitor),
            progress,
        )
    places, positions = _inverse(chain), _inverse(order)
    owner = np.repeat(np.arange(clusters, dtype=np.uint32), np.diff(offsets))
    foreign = groups[rows] != owner
    owner, listed = places[owner[foreign]], positions[rows[foreign]]
    listed = listed[np.lexsort((listed, owner))]
    return Arrangement(
        order=order,
        cluster_offsets=_offsets(np.bincount(groups, minlength=clusters)[chain]),
        posting_offsets=np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=clusters))]),
        postings=listed,
        places=places,
    )


def _inverse(order: NDArray[np.uint32]) -> NDArray[np.uint32]:
    places = np.empty(len(order), np.uint32)
    places[order] = np.arange(len(order), dtype=np.uint32)
    return places


def _offsets(sizes: NDArray[np.int64]) -> NDArray[np.uint32]:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.uint32)
