"""Where the middle of a set of vectors is, and in which directions they lie from it, whatever a few of them are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK_VALUES", "directions_from", "far_squared", "robust_center", "row_blocks", "squared_norms"]

#: A sample may take a large part of the memory, so what needs a copy of it is calculated in blocks of so many values.
BLOCK_VALUES = 1 << 18

_MEDIAN_ROWS = 4096
_USUAL_SHARE, _KEPT_SHARE, _FAR = 0.9, 0.99, 16.0
_LEAST_NORM = 1e-6  # of a usual one


def robust_center(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of all vectors but the farthest hundredth, and but those that lie far outside of nine tenths of the others.

    A vector of any length moves it no more than another one does.
    """
    random = np.random.default_rng(0)
    few = random.choice(len(vectors), min(len(vectors), _MEDIAN_ROWS), replace=False, shuffle=False)
    columns = max(1, BLOCK_VALUES // len(few))
    starts = range(0, vectors.shape[1], columns)
    median = np.concatenate([np.median(vectors[few, start : start + columns], axis=0) for start in starts])
    squared = np.concatenate([squared_norms(vectors[block] - median) for block in row_blocks(vectors)])
    kept = squared <= min(float(np.quantile(squared, _KEPT_SHARE)), far_squared(squared))
    total = np.zeros(vectors.shape[1])
    for block in row_blocks(vectors):
        total += vectors[block][kept[block]].sum(axis=0, dtype=np.float64)
    center: NDArray[np.float32] = (total / kept.sum()).astype(np.float32)
    return center


def directions_from(vectors: NDArray[np.float32], center: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit vectors from the center to the vectors that are not the center.

    They replace the vectors: the result is the beginning of the same array.
    """
    vectors -= center
    norms = np.sqrt(squared_norms(vectors))
    apart = norms > _LEAST_NORM * np.quantile(norms, _USUAL_SHARE)
    count = 0
    for block in row_blocks(vectors):
        some = apart[block]
        directions = vectors[block][some] / norms[block][some, None]
        vectors[count : count + len(directions)] = directions
        count += len(directions)
    return vectors[:count]


def row_blocks(vectors: NDArray[np.float32]) -> Iterator[slice]:
    """Slices of consecutive rows, `BLOCK_VALUES` values in each.

    Example:
        >>> list(row_blocks(np.zeros((5, BLOCK_VALUES // 2), np.float32)))
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    count = len(vectors)
    rows = max(1, BLOCK_VALUES // vectors.shape[1])
    return (slice(start, min(start + rows, count)) for start in range(0, count, rows))


def far_squared(squared: NDArray[np.float64]) -> float:
    """The squared distance from the center beyond which a vector is far outside of nine tenths of the others."""
    near = float(np.quantile(squared, _USUAL_SHARE))
    return _FAR * near if near > 0 else float("inf")


def squared_norms(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """The value for each row."""
    squared: NDArray[np.float64] = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    return squared
