"""Balanced hierarchical k-means: coarse cells first, then the centroids of each cell in proportion to its size.

Balance comes in two steps. While the centroids of a cell are trained, a cluster of more than twice the mean size is
split by k-means and the smallest clusters of the cell are given up for it, so the number of clusters stays. What is
still too large after the vectors are assigned is cut to the limit by `closure.assign`.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiervec.cluster_index.cluster_space import ClusterSpace
from tiervec.cluster_index.faiss_kmeans import kmeans
from tiervec.machine.interruptible import BuildProgress

__all__ = ["LARGEST_SHARE", "train_centroids"]

#: A cluster is home to at most so many times the mean number of vectors.
LARGEST_SHARE = 2.0

_FLAT = 64  # so few clusters need no hierarchy
_COARSE_POINTS = 128  # per coarse centroid
_LEAF_POINTS = 64  # per centroid
_COARSE_ITERATIONS = 10
_LEAF_ITERATIONS = 8
_SETTLING_ITERATIONS = 3  # after clusters were split
_SPLIT_ITERATIONS = 4
_BALANCE_ROUNDS = 4


def train_centroids(
    faiss: Any,
    space: ClusterSpace,
    count: int,
    *,
    seed: int,
    most_rows: int | None = None,
    progress: BuildProgress | None = None,
) -> NDArray[np.float32]:
    """Trains `count` centroids, at most the number of vectors.

    Args:
        faiss: The module.
        space: The vectors.
        count: How many centroids.
        seed: Seed for all randomness.
        most_rows: Train on at most so many rows, for data that does not fit into memory.
        progress: Progress callback or None.

    Returns:
        The centroids (count, dim).
    """
    random = np.random.default_rng(seed)
    rows = _sample(random, space.count, max(count, min(count * _LEAF_POINTS, most_rows or space.count)))
    usual = space.usual(rows)
    rows = usual if len(usual) >= count else rows
    if count <= _FLAT:
        centroids = _balanced_leaf(faiss, space.rows(rows), count, seed)
        _report(progress, count, count, 0.0)
        return centroids
    cells = round(count**0.5)
    coarse_rows = rows[_sample(random, len(rows), cells * _COARSE_POINTS)]
    coarse = kmeans(faiss, space.rows(coarse_rows), cells, seed=seed, iterations=_COARSE_ITERATIONS)
    cell_of = _nearest_cells(faiss, space, rows, coarse)
    order = np.argsort(cell_of, kind="stable")
    sizes = np.bincount(cell_of, minlength=cells)
    shares = _shares(sizes, count)
    centroids = np.empty((count, space.dim), np.float32)
    began, done, at = time.monotonic(), 0, 0
    for size, share in zip(sizes.tolist(), shares.tolist(), strict=True):
        if share:
            points = space.rows(rows[order[at : at + size]])
            centroids[done : done + share] = _balanced_leaf(faiss, points, share, seed)
        at += size
        done += share
        elapsed = time.monotonic() - began
        _report(progress, done, count, elapsed / done * (count - done) if done else None)
    return centroids


def _sample(random: np.random.Generator, count: int, wanted: int) -> NDArray[np.int64]:
    """Rows in ascending order; all of them when no more are there."""
    if wanted >= count:
        return np.arange(count)
    chosen = random.choice(count, wanted, replace=False, shuffle=False)
    chosen.sort()
    return chosen


def _nearest_cells(
    faiss: Any, space: ClusterSpace, rows: NDArray[np.int64], coarse: NDArray[np.float32]
) -> NDArray[np.int64]:
    index = faiss.IndexFlatL2(space.dim)
    index.add(coarse)
    cell_of = np.empty(len(rows), np.int64)
    block = max(1, (1 << 21) // space.dim)
    for start in range(0, len(rows), block):
        part = rows[start : start + block]
        cell_of[start : start + block] = index.search(space.rows(part), 1)[1][:, 0]
    return cell_of


def _shares(sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """`count` centroids over cells in proportion to their sizes, none with more centroids than points."""
    exact = sizes * (count / sizes.sum())
    shares: NDArray[np.int64] = np.minimum(np.maximum(np.floor(exact).astype(np.int64), sizes > 0), sizes)
    while (missing := count - int(shares.sum())) != 0:
        able = shares < sizes if missing > 0 else shares > 1
        need = np.where(able, (exact - shares) * np.sign(missing), -np.inf)
        most = np.argsort(-need, kind="stable")[: abs(missing)]
        most = most[able[most]]
        shares[most] += 1 if missing > 0 else -1
    return shares


def _balanced_leaf(faiss: Any, points: NDArray[np.float32], count: int, seed: int) -> NDArray[np.float32]:
    """Centroids of one cell; clusters above the limit are split and the smallest given up."""
    if count == len(points):
        return points
    centroids = kmeans(faiss, points, count, seed=seed, iterations=_LEAF_ITERATIONS)
    mean = len(points) / count
    for _ in range(_BALANCE_ROUNDS):
        index = faiss.IndexFlatL2(points.shape[1])
        index.add(centroids)
        owner = index.search(points, 1)[1][:, 0]
        sizes = np.bincount(owner, minlength=count)
        large = np.flatnonzero(sizes > LARGEST_SHARE * mean)
        if len(large) == 0:
            break
        replaced = _split(faiss, points, owner, sizes, centroids, large, mean, seed)
        if not replaced:
            break
        centroids = kmeans(faiss, points, count, seed=seed, iterations=_SETTLING_ITERATIONS, start=centroids)
    return centroids


def _split(
    faiss: Any,
    points: NDArray[np.float32],
    owner: NDArray[np.int64],
    sizes: NDArray[np.int64],
    centroids: NDArray[np.float32],
    large: NDArray[np.int64],
    mean: float,
    seed: int,
) -> int:
    """Puts parts of the large clusters in the place of the smallest ones; how many centroids changed their place."""
    free = [int(c) for c in np.argsort(sizes, kind="stable") if sizes[c] < mean / 2]
    replaced = 0
    for cluster in large[np.argsort(-sizes[large], kind="stable")].tolist():
        parts = min(round(sizes[cluster] / mean), len(free) + 1)
        if parts < 2:
            break
        members = points[owner == cluster]
        if np.all(members == members[0]):  # equal vectors cannot be told apart
            continue
        split = kmeans(faiss, members, parts, seed=seed, iterations=_SPLIT_ITERATIONS)
        places = [cluster, *free[: parts - 1]]
        del free[: parts - 1]
        centroids[places] = split
        replaced += parts - 1
    return replaced


def _report(progress: BuildProgress | None, done: int, total: int, seconds_left: float | None) -> None:
    if progress is not None:
        progress("clustering", done, total, seconds_left)
