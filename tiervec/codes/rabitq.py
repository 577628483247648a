"""Training of the ``rabitq`` code: rotation to principal axes, and bits where the variance is.

RaBitQ (SIGMOD'24) and its extension (SIGMOD'25) round a randomly rotated vector to a grid and correct the estimate with
two factors per vector. A random rotation spreads the variance evenly; rotating to the principal axes instead and giving
an axis bits by its variance (SAQ, 2025) makes the estimate far better for the same bytes on data with structure, and
equal on data without. The correction is RaBitQ's.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiervec.codes.centering import directions_from, robust_center
from tiervec.codes.principal_axes import DENSE_DIM, PrincipalAxes, principal_axes

__all__ = ["grid_error", "train"]

_FACTOR_BYTES = 6
# Step of the uniform grid with least squared error for a unit normal variable, and that error, by bits (Max, 1960).
# A tenth more step loses nothing there and clips less of what is not normal.
_STEP = {1: 1.596, 2: 0.996, 4: 0.335, 6: 0.104, 8: 0.0308}
_ERROR = {0: 1.0, 1: 0.3634, 2: 0.1188, 4: 0.01154, 6: 0.00104, 8: 0.00009}
_STEP_MARGIN = 1.1
_BITS_TOGETHER = 16  # single bits come in so many, so that the native kernels' last chunk ends within the row


def train(
    vectors: NDArray[np.float32], row_bytes: int, seed: int = 0
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Trains on float32 vectors (rows, dim), unit length for cosine; returns (arrays, scalars) of a dot code.

    The vectors are overwritten.
    """
    center = robust_center(vectors)
    directions = directions_from(vectors, center)
    axes = principal_axes(directions, seed)
    on_axes, spread = _grids(axes, row_bytes)
    chosen = on_axes
    arrays: dict[str, NDArray[Any]] = {"center": center}
    scalars: dict[str, Any] = {"row_bytes": row_bytes, "unbiased": True}
    if spread is not None and spread.error < on_axes.error:
        chosen = spread
        scalars["fast_rotation"] = seed
    else:
        arrays["rotation"] = axes.rows[chosen.widths[: len(axes.rows)] > 0].astype(np.float16)
    arrays["widths"], arrays["steps"] = chosen.widths, chosen.steps
    return arrays, scalars


@dataclass(frozen=True, kw_only=True, eq=False)
class _Grid:
    """Bits and steps of each dimension, and the squared error of an inner product that they leave."""

    widths: NDArray[np.uint8]
    steps: NDArray[np.float32]
    error: float


def grid_error(axes: PrincipalAxes, row_bytes: int) -> float:
    """Squared error that a code on these axes leaves in the inner product of two of their directions."""
    return min(grid.error for grid in _grids(axes, row_bytes) if grid is not None)


def _grids(axes: PrincipalAxes, row_bytes: int) -> tuple[_Grid, _Grid | None]:
    """(on the axes, after a fast rotation in many dimensions)."""
    budget = 8 * (row_bytes - _FACTOR_BYTES)
    return _on_axes(axes, budget), _spread_evenly(axes.dim, budget) if axes.dim > DENSE_DIM else None


def _on_axes(axes: PrincipalAxes, budget_bits: int) -> _Grid:
    """Bits by variance; none for what lies outside of the axes, whose variance is taken to decay."""
    widths = np.zeros(axes.dim, np.uint8)
    widths[: len(axes.rows)] = allocate_bits(axes.variances, budget_bits)
    variances = np.zeros(axes.dim)
    variances[: len(axes.rows)] = axes.variances
    outside = axes.variance_outside**2 * 2 / max(1, axes.dim - len(axes.rows))
    left = sum(float((variances[widths == width] ** 2).sum()) * error for width, error in _ERROR.items())
    return _Grid(widths=widths, steps=_steps(widths, variances), error=left + outside)


def _spread_evenly(dim: int, budget_bits: int) -> _Grid:
    """After a fast rotation: every dimension has the same variance; one bit for each is the least."""
    variances = np.full(dim, 1 / dim)
    if budget_bits >= 2 * dim:
        widths = allocate_bits(variances, budget_bits)
    else:
        widths = np.zeros(dim, np.uint8)
        widths[: max(1, min(dim, budget_bits // _BITS_TOGETHER * _BITS_TOGETHER))] = 1
    left = sum(float((variances[widths == width] ** 2).sum()) * error for width, error in _ERROR.items())
    return _Grid(widths=widths, steps=_steps(widths, variances), error=left)


def _steps(widths: NDArray[np.uint8], variances: NDArray[np.float64]) -> NDArray[np.float32]:
    steps = np.array([_STEP.get(int(width), 0.0) for width in widths]) * np.sqrt(variances) * _STEP_MARGIN
    return steps.astype(np.float32)


def allocate_bits(variances: NDArray[np.float64], budget_bits: int) -> NDArray[np.uint8]:
    """Spends `budget_bits` on dimensions, 2 at a time, where they lower the error of an inner product most.

    The error of dimension i is its variance (of the data) times its variance (of the query) times the grid's error. The
    result packs into budget_bits / 8 bytes, each cut into 8, 6+2, 4+4, 4+2+2 or 2+2+2+2 bits.
    """
    for budget in range(budget_bits - budget_bits % 2, -1, -2):
        widths = _greedy(variances, budget)
        if _packed_bytes(widths) * 8 <= budget_bits:
            return widths
    raise AssertionError("no bits at all always fit")


def _greedy(variances: NDArray[np.float64], budget_bits: int) -> NDArray[np.uint8]:
    weights = variances.astype(np.float64) ** 2

    def gain(index: int, width: int) -> float:
        return float(weights[index] * (_ERROR[width] - _ERROR[width + 2]))

    widths = np.zeros(len(variances), np.uint8)
    heap = [(-gain(index, 0), index) for index in range(len(variances))]
    heapq.heapify(heap)
    for _ in range(budget_bits // 2):
        if not heap:
            break
        _, index = heapq.heappop(heap)
        widths[index] += 2
        if widths[index] < 8:
            heapq.heappush(heap, (-gain(index, int(widths[index])), index))
    return widths


def _packed_bytes(widths: NDArray[np.uint8]) -> int:
    """Bytes that the native packing takes: wide fields first, gaps filled with narrower ones."""
    eights, sixes, fours, twos = (int(np.sum(widths == width)) for width in (8, 6, 4, 2))
    twos -= min(twos, sixes)
    if fours % 2:
        twos -= min(twos, 2)
    return eights + sixes + (fours + 1) // 2 + (twos + 3) // 4
