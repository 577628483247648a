"""`code_bits=auto`: how many bits a dimension, chosen on a sample by the least work at a recall of 0.95.

Recall is what a search would lose by the code: exact distances of a sample get the error that a code leaves, and one
looks how deep the true neighbours fall. Work is a model in nanoseconds, of reads and of codes by their bytes; nothing
is timed, so that the same data and seed give the same index on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from tiervec.arguments.parameter_checks import check_number
from tiervec.codes.centering import directions_from, robust_center, squared_norms
from tiervec.codes.principal_axes import DENSE_DIM, principal_axes
from tiervec.codes.rabitq import grid_error
from tiervec.codes.trained_code import code_row_bytes

__all__ = ["AUTO", "CodeBits", "CodeUse", "check_code_bits", "choose_code_bits", "largest_code_bits"]

#: The choice is made by `choose_code_bits`.
AUTO: Final = "auto"
CodeBits = float | Literal["auto"]
#: A graph's codes are looked at one by one, those of clusters are scanned.
CodeUse = Literal["graph", "scan"]

_FIXED = {"sq": 4.0, "pq": 2.0}  # of the other codes
_CANDIDATES: dict[CodeUse, tuple[float, ...]] = {"graph": (0.5, 1, 2, 4, 8), "scan": (1, 1.5, 2, 3, 4, 6, 8)}
_LEAST_DENSE: dict[CodeUse, float] = {"graph": 1, "scan": 1.5}  # with fewer a row is hardly more than its factors
_MOST: dict[CodeUse, float] = {"graph": 4, "scan": 2}
_MOST_ROW: dict[CodeUse, int] = {"graph": 64, "scan": 48}  # bytes; more bits as long as rows are shorter

_QUERIES, _NEIGHBOURS, _LEAST_ROWS = 128, 10, 512
_BASE_ROWS, _BASE_VALUES = 4096, 1 << 21  # rows of many dimensions are fewer
_DEPTHS = np.unique(np.geomspace(10, 1024, 64).astype(np.int64))
_TIE = 1.03
# Neighbours lie closer together among more vectors: how deep they fall grows so with the size.
_DEPTH_GROWTH = 0.15
_READ_NS, _RAW_BYTE_NS, _CODE_NS, _CODE_BYTE_NS = 150.0, 0.1, 2.0, 0.08
_CODES_PER_READ = 16
_SCANNED_CODES = 3072
# A graph of usual degree loses so much of recall at a list of 20, and a fourth of it at one of 40.
_GRAPH_LOSS, _GRAPH_LIST = 0.045, 20
_LOSS = 0.05
_SCAN_LOSS = 0.02  # the rest is lost by clusters that are not searched


def check_code_bits(name: str, code_bits: object) -> None:
    """Raises InvalidArgumentError when a code cannot have so many bits; ``auto`` suits every code."""
    if not isinstance(code_bits, str) or code_bits != AUTO:
        code_row_bytes(name, check_number("code_bits", code_bits, 0, 8), 128)


def candidate_bits(use: CodeUse, dim: int) -> list[float]:
    """What ``auto`` chooses from, ascending."""
    least = 0.0 if dim > DENSE_DIM else _LEAST_DENSE[use]
    return [
        bits
        for bits in _CANDIDATES[use]
        if bits >= least and (bits <= _MOST[use] or code_row_bytes("rabitq", bits, dim) <= _MOST_ROW[use])
    ]


def largest_code_bits(code_bits: CodeBits, *, name: str, use: CodeUse, dim: int) -> float:
    """The given bits, or the most that ``auto`` may choose, as estimates before a build need them."""
    if not isinstance(code_bits, str):
        return code_bits
    return _FIXED[name] if name in _FIXED else candidate_bits(use, dim)[-1]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sample:
    """Queries of a sample, and how far every other vector is from them.

    Attributes:
        distances: (queries, rows), exact, in the unit of the metric.
        error_scale: (queries, rows): what a relative error of an inner product of residuals is worth.
        directions: Directions of the residuals that a code rounds.
    """

    distances: NDArray[np.float64]
    error_scale: NDArray[np.float64]
    directions: NDArray[np.float32]


def choose_code_bits(
    name: str,
    sample: NDArray[Any],
    *,
    metric: str,
    use: CodeUse,
    vectors: int,
    seed: int,
    origins: NDArray[np.float32] | None = None,
) -> float:
    """Bits a dimension for a code of `vectors` vectors of which this is a sample.

    Args:
        name: ``rabitq``; ``sq`` and ``pq`` have fixed bits.
        sample: (rows, dim), any of the four dtypes.
        metric: ``l2``, ``ip`` or ``cosine``.
        use: How the code is used: by a graph's walk, or scanned.
        vectors: How many there are in all.
        seed: Seed for all randomness.
        origins: (rows, dim), what the code of each sampled vector is relative to; None: their center.
    """
    if name in _FIXED:
        return _FIXED[name]
    dim = sample.shape[1]
    candidates = candidate_bits(use, dim)
    if len(sample) < _LEAST_ROWS:  # too few to tell, and to matter
        return min(candidates[-1], _MOST[use])
    drawn = _draw(sample, origins, metric, seed)
    axes = principal_axes(drawn.directions, seed)
    growth = max(1.0, vectors / drawn.distances.shape[1]) ** _DEPTH_GROWTH
    noise = np.random.default_rng(seed + 1).normal(size=drawn.distances.shape)
    work = _graph_work if use == "graph" else _scan_work
    works = []
    for bits in candidates:
        row_bytes = code_row_bytes(name, bits, dim)
        depths = _depths(drawn, noise * grid_error(axes, row_bytes) ** 0.5) * growth
        read_ns = _READ_NS + _RAW_BYTE_NS * sample.dtype.itemsize * dim
        works.append(work([float((depths >= depth).mean()) for depth in _DEPTHS], row_bytes, read_ns, vectors))
    return next(bits for bits, each in zip(candidates, works, strict=True) if each <= _TIE * min(works))


def _draw(sample: NDArray[Any], origins: NDArray[np.float32] | None, metric: str, seed: int) -> _Sample:
    rows = _QUERIES + min(_BASE_ROWS, max(_LEAST_ROWS, _BASE_VALUES // sample.shape[1]))
    chosen = np.random.default_rng(seed).permutation(len(sample))[:rows]
    points: NDArray[np.float32] = np.array(sample[chosen], dtype=np.float32)
    if metric == "cosine":
        norms = np.sqrt(squared_norms(points))[:, None]
        points = (points / np.where(norms > 0, norms, 1)).astype(np.float32)
    center = robust_center(points)
    middles = np.zeros_like(points) if origins is None else origins[chosen] - center
    points -= center  # distances from squares cancel far from the origin
    queries, base, middles = points[:_QUERIES], points[_QUERIES:], middles[_QUERIES:]
    residuals = base - middles
    if metric == "ip":
        distances = -((queries + center) @ base.T).astype(np.float64)
    else:
        distances = _squared_distances(queries, base)
    # Inner products are those of the centred query.
    to_origin = np.sqrt(_squared_distances(queries, np.zeros_like(middles) if metric == "ip" else middles))
    lengths = np.sqrt(squared_norms(residuals))
    directions = directions_from(residuals, np.zeros(points.shape[1], np.float32))
    return _Sample(
        distances=distances,
        error_scale=to_origin * lengths * (1.0 if metric == "ip" else 2.0),
        directions=directions,
    )


def _squared_distances(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    squared: NDArray[np.float64] = squared_norms(a)[:, None] - 2 * (a @ b.T).astype(np.float64) + squared_norms(b)
    return squared.clip(min=0)


def _depths(sample: _Sample, relative_error: NDArray[np.float64]) -> NDArray[np.int64]:
    """Where the true neighbours (queries x neighbours) are in the order of the estimates, from 0."""
    estimates = sample.distances + sample.error_scale * relative_error
    near = np.argpartition(sample.distances, _NEIGHBOURS, axis=1)[:, :_NEIGHBOURS]
    of_near = np.take_along_axis(estimates, near, axis=1)
    ordered = np.sort(estimates, axis=1)
    places = [np.searchsorted(row, values) for row, values in zip(ordered, of_near, strict=True)]
    return np.stack(places).astype(np.int64)


# losses: of recall when the best so many of _DEPTHS are read.
def _graph_work(losses: list[float], row_bytes: int, read_ns: float, _vectors: int) -> float:
    code_ns = _CODES_PER_READ * (_CODE_NS + _CODE_BYTE_NS * row_bytes)
    lists = zip(_DEPTHS.tolist(), losses, strict=True)
    enough = (depth for depth, loss in lists if loss + _GRAPH_LOSS * (_GRAPH_LIST / depth) ** 2 <= _LOSS)
    return float(next(enough, _DEPTHS[-1])) * (read_ns + code_ns)


def _scan_work(losses: list[float], row_bytes: int, read_ns: float, vectors: int) -> float:
    enough = (depth for depth, loss in zip(_DEPTHS.tolist(), losses, strict=True) if loss <= _SCAN_LOSS)
    return min(vectors, _SCANNED_CODES) * _CODE_BYTE_NS * row_bytes + float(next(enough, _DEPTHS[-1])) * read_ns / 3
