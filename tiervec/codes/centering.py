"""Where the middle of a set of vectors is, and in which directions they lie from it, whatever a few of them are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["directions_from", "far_squared", "robust_center", "squared_norms"]

_MEDIAN_ROWS = 4096
_USUAL_SHARE, _KEPT_SHARE, _FAR = 0.9, 0.99, 16.0
_LEAST_NORM = 1e-6  # of a usual one


def robust_center(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of all vectors but the farthest hundredth, and but those that lie far outside of nine tenths of the others.

    A vector of any length moves it no more than another one does.
    """
    random = np.random.default_rng(0)
    few = random.choice(len(vectors), min(len(vectors), _MEDIAN_ROWS), replace=False, shuffle=False)
    median = np.median(vectors[few], axis=0)
    squared = squared_norms(vectors - median)
    kept = squared <= min(float(np.quantile(squared, _KEPT_SHARE)), far_squared(squared))
    center: NDArray[np.float32] = vectors[kept].mean(axis=0, dtype=np.float64).astype(np.float32)
    return center


def directions_from(vectors: NDArray[np.float32], center: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit vectors from the center to the vectors that are not the center."""
    residuals = vectors - center
    norms = np.sqrt(squared_norms(residuals))
    apart = norms > _LEAST_NORM * np.quantile(norms, _USUAL_SHARE)
    directions: NDArray[np.float32] = (residuals[apart] / norms[apart, None]).astype(np.float32)
    return directions


def far_squared(squared: NDArray[np.float64]) -> float:
    """The squared distance from the center beyond which a vector is far outside of nine tenths of the others."""
    near = float(np.quantile(squared, _USUAL_SHARE))
    return _FAR * near if near > 0 else float("inf")


def squared_norms(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """The value for each row."""
    squared: NDArray[np.float64] = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    return squared
