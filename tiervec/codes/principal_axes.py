"""Principal axes of directions: all of them in few dimensions, the leading ones in many."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiervec.codes.centering import BLOCK_VALUES, row_blocks

__all__ = ["DENSE_DIM", "MAX_AXES", "PrincipalAxes", "axes_bytes", "principal_axes"]

#: Up to so many dimensions all axes are found. A rotation to all axes grows as dim^2, finding them as dim^3.
DENSE_DIM = 256
_LEADING = 128
#: Axes that there are at most.
MAX_AXES = max(DENSE_DIM, _LEADING)
_ROWS_PER_AXIS = 8  # fewer do not tell an axis of the data from one of the sample
_EXTRA_AXES = 16
_POWER_STEPS = 2
_SKETCH_VALUES = 1 << 23  # of the rows that leading axes are found in


@dataclass(frozen=True, kw_only=True, eq=False)
class PrincipalAxes:
    """Axes with the most variance first.

    Attributes:
        dim: Columns of a vector.
        rows: float32 (axes, dim), orthonormal.
        variances: float64 (axes,), of the directions along each axis.
        variance_outside: What of the directions' variance is along none of the axes.
    """

    dim: int
    rows: NDArray[np.float32]
    variances: NDArray[np.float64]
    variance_outside: float


def principal_axes(directions: NDArray[np.float32], seed: int) -> PrincipalAxes:
    """Axes of unit vectors (rows, dim); moments are about zero, which directions from a center have as their middle."""
    dim = directions.shape[1]
    if dim <= DENSE_DIM:
        variances, axes = np.linalg.eigh(_moments(directions) / max(1, len(directions)))
        rows = np.ascontiguousarray(axes[:, ::-1].T, dtype=np.float32)
        return PrincipalAxes(dim=dim, rows=rows, variances=np.maximum(variances[::-1], 0), variance_outside=0.0)
    most = _sketch_rows(dim)
    some = directions[:: -(-len(directions) // most) if len(directions) else 1]
    wanted = min(_LEADING, len(some) // _ROWS_PER_AXIS)
    if wanted == 0:
        rows = np.zeros((0, dim), np.float32)
        return PrincipalAxes(dim=dim, rows=rows, variances=np.zeros(0), variance_outside=1.0)
    rows = _leading_axes(some, wanted, seed)
    along = some @ rows.T
    variances = np.einsum("ij,ij->j", along, along, dtype=np.float64) / len(some)
    return PrincipalAxes(dim=dim, rows=rows, variances=variances, variance_outside=max(0.0, 1 - float(variances.sum())))


def axes_bytes(rows: int, dim: int) -> int:
    """Memory that `principal_axes` takes beside the directions, in bytes."""
    blocks = 3 * 8 * max(BLOCK_VALUES, dim)
    if dim <= DENSE_DIM:
        return 4 * 8 * dim * dim + blocks
    # Products of the rows and of the dimensions with a basis; their decompositions hold copies.
    return 5 * 4 * (min(rows, _sketch_rows(dim)) + dim) * (_LEADING + _EXTRA_AXES) + blocks


def _sketch_rows(dim: int) -> int:
    """At most so many rows show the leading axes."""
    return max(_LEADING * _ROWS_PER_AXIS, _SKETCH_VALUES // dim)


def _moments(directions: NDArray[np.float32]) -> NDArray[np.float64]:
    dim = directions.shape[1]
    moments = np.zeros((dim, dim))
    for block in row_blocks(directions):
        rows = directions[block].astype(np.float64)
        moments += rows.T @ rows
    return moments


def _leading_axes(rows: NDArray[np.float32], wanted: int, seed: int) -> NDArray[np.float32]:
    """By a random sketch and power steps (Halko, Martinsson and Tropp, SIAM Review 2011, algorithm 4.4)."""
    random = np.random.default_rng(seed)
    basis = random.normal(size=(rows.shape[1], wanted + _EXTRA_AXES)).astype(np.float32)
    for _ in range(_POWER_STEPS + 1):
        basis = np.linalg.qr(rows.T @ (rows @ basis))[0]
    turn = np.linalg.svd(rows @ basis, full_matrices=False)[2]
    axes: NDArray[np.float32] = np.ascontiguousarray((basis @ turn.T[:, :wanted]).T, dtype=np.float32)
    return axes
