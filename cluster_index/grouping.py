"""The grouped layout: which group stores each vector, and in which order groups and members lie on the tier.

A cluster's group is one range; its other members lie in groups of other clusters and are read one by one. With A the
membership, P the choice of a group for each vector, and h how often a cluster is searched, the reads are

    sum_j h_j (1 + sum_i (A_ij - P_ij)),    one P_ij = 1 for each vector i, among its A_ij = 1.

The sum is smallest when each vector on its own takes away the largest h_j: its member cluster that is searched most.
So the exact optimum of this integer program (arXiv 2405.03267) needs no solver at any size.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiervec.cluster_index.closure import NONE, Memberships

__all__ = ["choose_groups", "frequencies"]

_ROWS_AT_ONCE = 1 << 16


def frequencies(probes: NDArray[np.uint32], clusters: int) -> NDArray[np.int64]:
    """How often each cluster is searched, from the clusters (queries, nprobe) that sample queries search."""
    return np.bincount(probes.reshape(-1), minlength=clusters)


def choose_groups(memberships: Memberships, searched: NDArray[Any]) -> NDArray[np.uint32]:
    """The cluster whose group stores each vector: of its clusters the one searched most, the nearest of equal ones.

    Args:
        memberships: Which clusters list which vectors.
        searched: How often each cluster is searched, not negative.

    Returns:
        One cluster for each vector, uint32.
    """
    lists = memberships.lists
    groups = np.empty(len(lists), np.uint32)
    for start in range(0, len(lists), _ROWS_AT_ONCE):
        part = lists[start : start + _ROWS_AT_ONCE]
        weights = np.where(part == NONE, -1, searched[np.minimum(part, memberships.clusters - 1)])
        groups[start : start + len(part)] = np.take_along_axis(part, weights.argmax(axis=1)[:, None], axis=1)[:, 0]
    return groups
