"""The battery: small data sets of shapes on which an index may silently return wrong neighbours.

``battery:NAME`` is one of them, about 5,000 vectors and 100 queries, float32 but where its name says otherwise. A shape
depends on its name alone, so its figures can be compared with those of another version.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tiervec.errors import NotFoundError
from tiervec.sample import QUERIES_PATH, VECTORS_PATH
from tiervec.vectors.vector_files import open_vectors

__all__ = ["BATTERY", "BatteryShape", "battery_shape"]

_VECTORS: Final = 5000
_QUERIES: Final = 100

Random = np.random.Generator
Matrix = NDArray[Any]
_Made = tuple[Matrix, Matrix]
_Make = Callable[[Random], _Made]


@dataclass(frozen=True, kw_only=True, eq=False)
class BatteryShape:
    """One data set of the battery.

    Attributes:
        base: (n, dim), float32, float16, int8 or uint8.
        queries: (queries, dim), of the same dtype.
        metric: ``l2``, ``ip`` or ``cosine``.
    """

    name: str
    base: Matrix
    queries: Matrix
    metric: str


def battery_shape(name: str) -> BatteryShape:
    """Makes the shape of this name.

    Raises:
        NotFoundError: There is none of this name.

    Example:
        >>> shape = battery_shape("few-vectors")
        >>> shape.base.shape, shape.queries.shape, shape.metric
        ((60, 16), (100, 16), 'l2')
    """
    if name not in _SHAPES:
        raise NotFoundError(f"there is no shape {name!r} in the battery; it has {', '.join(_SHAPES)}")
    metric, dtype, make = _SHAPES[name]
    base, queries = make(np.random.default_rng(zlib.crc32(name.encode())))
    return BatteryShape(name=name, base=_as_dtype(base, dtype), queries=_as_dtype(queries, dtype), metric=metric)


def _as_dtype(matrix: Matrix, dtype: str) -> Matrix:
    if dtype in ("int8", "uint8"):
        limits = np.iinfo(dtype)
        matrix = np.clip(np.rint(matrix), limits.min, limits.max)
    return np.ascontiguousarray(matrix.astype(dtype))


def _held_out(rows: Matrix, random: Random) -> _Made:
    """Some rows, drawn at random, become the queries."""
    order = random.permutation(len(rows))
    held = np.sort(order[:_QUERIES])
    return np.delete(rows, held, axis=0), rows[held]


def _blobs(random: Random, dim: int, *, clusters: int = 50, spread: float = 0.5, rows: int = _VECTORS) -> Matrix:
    centers = random.standard_normal((clusters, dim))
    return centers[random.integers(0, clusters, rows)] + spread * random.standard_normal((rows, dim))


def _surface(random: Random, dim: int, intrinsic: int, rows: int = _VECTORS) -> Matrix:
    frame = random.standard_normal((intrinsic, dim))
    return random.standard_normal((rows, intrinsic)) @ frame + 0.05 * random.standard_normal((rows, dim))


def _outlier(random: Random) -> _Made:
    del random
    base, asked = (open_vectors(path) for path in (VECTORS_PATH, QUERIES_PATH))
    rows = base.rows(0, base.shape[0]).astype(np.float32)
    rows[77] = np.finfo(np.float16).max
    return rows, asked.rows(0, asked.shape[0]).astype(np.float32)


def _outlying_hundredth(random: Random) -> _Made:
    rows, queries = _held_out(_blobs(random, 32), random)
    rows[::100] *= 1e4
    return rows, queries


def _two_groups(step: float) -> _Make:
    def make(random: Random) -> _Made:
        group = random.standard_normal((_VECTORS, 32))
        group[1::2] += step
        return _held_out(group, random)

    return make


def _log_normal_norms(sigma: float) -> _Make:
    def make(random: Random) -> _Made:
        norms = np.exp(sigma * random.standard_normal((_VECTORS, 1)))
        return random.standard_normal((_VECTORS, 64)) * norms, random.standard_normal((_QUERIES, 64))

    return make


def _zero_rows(random: Random) -> _Made:
    rows = random.standard_normal((_VECTORS, 64))
    rows[:20] = 0
    return rows, random.standard_normal((_QUERIES, 64))


def _equal_rows(random: Random) -> _Made:
    rows = random.standard_normal((6000, 48))
    rows[2000:3500] = 0.3 * rows[2000]
    return rows, random.standard_normal((_QUERIES, 48))


def _one_hot(values: int, rows: int) -> _Make:
    def make(random: Random) -> _Made:
        hot = np.eye(values)[random.permutation(np.arange(rows) % values)]
        return hot, hot[random.permutation(rows)[:_QUERIES]]

    return make


def _shifted(shift: float) -> _Make:
    return lambda random: _held_out(_blobs(random, 32, clusters=40) + shift, random)


def _densities(random: Random) -> _Made:
    groups = [
        scale * random.standard_normal((_VECTORS // 5, 24)) + 10 * random.standard_normal(24)
        for scale in (1e-3, 1e-2, 1e-1, 0.3, 1)
    ]
    return _held_out(np.concatenate(groups), random)


def _skewed_clusters(random: Random) -> _Made:
    weights = 1 / np.arange(1, 101) ** 1.5
    centers = 2 * random.standard_normal((100, 32))
    chosen = random.choice(100, _VECTORS, p=weights / weights.sum())
    return _held_out(centers[chosen] + random.standard_normal((_VECTORS, 32)), random)


def _anisotropic(random: Random) -> _Made:
    return _held_out(random.standard_normal((_VECTORS, 96)) / np.arange(1, 97), random)


def _sparse(random: Random) -> _Made:
    rows = (random.random((_VECTORS, 100)) < 0.05) * random.standard_normal((_VECTORS, 100))
    return _held_out(rows, random)


def _sorted(random: Random) -> _Made:
    along = np.sort(random.standard_normal((_VECTORS, 1)), axis=0)
    return _held_out(along + 0.01 * random.standard_normal((_VECTORS, 16)), random)


def _farther_queries(factor: float) -> _Make:
    return lambda random: (_blobs(random, 64), factor * random.standard_normal((_QUERIES, 64)))


def _between_queries(random: Random) -> _Made:
    """Queries halfway between vectors of different clusters, as short questions lie among long passages."""
    rows = _blobs(random, 64)
    pairs = random.integers(0, _VECTORS, (2, _QUERIES))
    return rows, (rows[pairs[0]] + rows[pairs[1]]) / 2


def _normal(dim: int, rows: int = _VECTORS, scale: float = 1.0) -> _Make:
    return lambda random: (
        scale * random.standard_normal((rows, dim)),
        scale * random.standard_normal((_QUERIES, dim)),
    )


_SHAPES: Final[dict[str, tuple[str, str, _Make]]] = {
    "outlier": ("l2", "float16", _outlier),
    "outlying-hundredth": ("l2", "float32", _outlying_hundredth),
    "two-groups": ("l2", "float32", _two_groups(100 / np.sqrt(32))),
    "two-groups-far": ("l2", "float32", _two_groups(100)),
    "norms-0.2-ip": ("ip", "float32", _log_normal_norms(0.2)),
    "norms-0.5-ip": ("ip", "float32", _log_normal_norms(0.5)),
    "norms-1.0-ip": ("ip", "float32", _log_normal_norms(1.0)),
    "zero-rows-cosine": ("cosine", "float32", _zero_rows),
    "equal-rows": ("l2", "float32", _equal_rows),
    "one-hot-64": ("l2", "float32", _one_hot(64, _VECTORS)),
    "one-hot-distinct": ("l2", "float32", _one_hot(3000, 3000)),
    "shift-1e3": ("l2", "float32", _shifted(1e3)),
    "shift-1e6": ("l2", "float32", _shifted(1e6)),
    "densities": ("l2", "float32", _densities),
    "skewed-clusters": ("l2", "float32", _skewed_clusters),
    "heavy-tails": ("l2", "float32", lambda random: _held_out(random.standard_t(1.5, (_VECTORS, 24)), random)),
    "anisotropic": ("l2", "float32", _anisotropic),
    "sparse": ("l2", "float32", _sparse),
    "binary-values": ("l2", "uint8", lambda random: _held_out(random.integers(0, 2, (_VECTORS, 64)), random)),
    "few-values": ("l2", "int8", lambda random: _held_out(random.integers(-1, 2, (_VECTORS, 8)), random)),
    "sorted-insertion": ("l2", "float32", _sorted),
    "dim-1": ("l2", "float32", _normal(1)),
    "dim-2": ("l2", "float32", _normal(2)),
    "normal-128": ("l2", "float32", _normal(128)),
    "bytes-128": ("l2", "uint8", lambda random: _held_out(128 + 20 * _surface(random, 128, 12) / 3.5, random)),
    "surface-768": ("l2", "float32", lambda random: _held_out(_surface(random, 768, 16, 3000), random)),
    "surface-768-cosine": ("cosine", "float16", lambda random: _held_out(_surface(random, 768, 16, 3000), random)),
    "dim-4096": ("l2", "float32", lambda random: _held_out(_surface(random, 4096, 16, 600), random)),
    "few-vectors": ("l2", "float32", _normal(16, 60)),
    "queries-3x": ("l2", "float32", _farther_queries(3)),
    "queries-1.5x": ("l2", "float32", _farther_queries(1.5)),
    "queries-between": ("l2", "float32", _between_queries),
}

#: Names of the shapes.
BATTERY: Final = tuple(_SHAPES)
