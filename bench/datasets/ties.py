"""Recall that takes a vector for another one at the same distance."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tiervec.bench.datasets.dataset import Dataset
from tiervec.bench.datasets.exact_neighbours import distances_of

__all__ = ["recall_with_ties"]

_ROUNDING: Final = 1e-6  # relative, of a float32 distance


def recall_with_ties(dataset: Dataset, ids: NDArray[np.int64], truth: NDArray[np.int64], k: int) -> float:
    """Mean share of the k nearest that were found.

    A vector as far as the k-th neighbour stands for another one that is as far, but not for a nearer one: on data with
    equal vectors, one-hot rows or few values, the ids of the truth are some of many right answers.

    Args:
        dataset: Whose vectors they are.
        ids: Found, (rows, at least k), padded with -1.
        truth: True neighbours, (rows, at least k); row i is about query i modulo the number of queries.
        k: Neighbours that count.
    """
    ids, truth = ids[:, :k], truth[:, :k]
    hits = (ids[:, :, None] == truth[:, None, :]).any(axis=1).sum(axis=1)
    missed = np.flatnonzero(hits < k)
    if len(missed):
        queries = dataset.queries[missed % len(dataset.queries)]
        hits[missed] = _hits(dataset, queries, ids[missed], truth[missed])
    return float(hits.mean() / k)


def _hits(
    dataset: Dataset, queries: NDArray[Any], ids: NDArray[np.int64], truth: NDArray[np.int64]
) -> NDArray[np.int64]:
    exact = distances_of(dataset.vectors, queries, dataset.metric, truth)
    ids = np.sort(ids, axis=1)
    is_new = np.concatenate([ids[:, :1] >= 0, (ids[:, 1:] != ids[:, :-1]) & (ids[:, 1:] >= 0)], axis=1)
    found = np.where(is_new, distances_of(dataset.vectors, queries, dataset.metric, np.maximum(ids, 0)), np.inf)
    kth = exact[:, -1:]
    rounding = _ROUNDING * np.abs(kth)
    nearer, ties = found < kth - rounding, np.abs(found - kth) <= rounding
    expected = (exact < kth - rounding).sum(axis=1)
    return np.asarray(
        np.minimum(nearer.sum(axis=1), expected) + np.minimum(ties.sum(axis=1), exact.shape[1] - expected)
    )
