"""Generated vectors that are as hard to search as real ones: near one curved surface of a given dimension, in clusters.

Independent coordinates would have an intrinsic dimension near the full one, in which no index works well; descriptors
and embeddings have about 10 to 30 (SIFT about 12, GIST and word vectors about 20). A vector is

    z A + sin(z B) C + noise,    z of `intrinsic` values, normal around the mean of its cluster

The clusters overlap, their sizes fall off, and some are denser than others, as in natural data. Vector i depends on the
parameters and on i alone, so a smaller set is the beginning of a larger one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tiervec.arguments.parameter_checks import check_whole
from tiervec.errors import InvalidArgumentError
from tiervec.kinds.parameters import parse_parameters

__all__ = ["SyntheticParams", "parse_synthetic", "synthetic_blocks", "synthetic_queries"]

_BLOCK_ROWS: Final = 16_384
_NOISE: Final = 0.01
_DTYPES: Final = ("float32", "float16", "int8", "uint8")
_QUERY_STREAM: Final = 2**31


@dataclass(frozen=True, kw_only=True)
class SyntheticParams:
    """What to generate.

    Attributes:
        n: Vectors.
        dim: Dimension.
        intrinsic: Intrinsic dimension, at most `dim`.
        clusters: Clusters.
        queries: Queries, drawn as the vectors are.
        dtype: float32, float16, int8 or uint8.
        metric: ``l2``, ``ip`` or ``cosine``.
        seed: Seed for all randomness.

    Example:
        >>> parse_synthetic("synthetic:n=5000,dim=32").intrinsic
        16
    """

    n: int = 100_000
    dim: int = 96
    intrinsic: int = 16
    clusters: int = 100
    queries: int = 1000
    dtype: str = "float32"
    metric: str = "l2"
    seed: int = 0

    def __post_init__(self) -> None:
        check_whole("n", self.n, 1, 2**31 - 1)
        check_whole("dim", self.dim, 1, 16_384)
        check_whole("intrinsic", self.intrinsic, 1, self.dim)
        check_whole("clusters", self.clusters, 1, 100_000)
        check_whole("queries", self.queries, 1, 1_000_000)
        check_whole("seed", self.seed, 0, 2**31 - 1)
        if self.dtype not in _DTYPES:
            raise InvalidArgumentError(f"dtype is {self.dtype!r}; it must be one of {', '.join(_DTYPES)}")
        if self.metric not in ("l2", "ip", "cosine"):
            raise InvalidArgumentError(f"metric is {self.metric!r}; it must be l2, ip or cosine")

    @property
    def name(self) -> str:
        """The name that gives these parameters."""
        fields = ",".join(f"{key}={value}" for key, value in dataclasses.asdict(self).items())
        return f"synthetic:{fields}"


def parse_synthetic(name: str) -> SyntheticParams:
    """The parameters in ``synthetic:key=value,key=value``.

    Raises:
        InvalidArgumentError: An unknown key or a value that it cannot have.
    """
    _, _, text = name.partition(":")
    given = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise InvalidArgumentError(f"data set {name!r}: {part!r} must be KEY=VALUE")
        given[key.strip()] = value.strip()
    return SyntheticParams(**parse_parameters(SyntheticParams, given, f"data set {name!r}"))


def synthetic_blocks(params: SyntheticParams) -> Iterator[NDArray[Any]]:
    """The vectors in order, in blocks."""
    world = _World(params)
    for block in range(-(-params.n // _BLOCK_ROWS)):
        yield world.draw(block)[: params.n - block * _BLOCK_ROWS]


def synthetic_queries(params: SyntheticParams) -> NDArray[Any]:
    """The queries."""
    world = _World(params)
    blocks = [world.draw(_QUERY_STREAM + block) for block in range(-(-params.queries // _BLOCK_ROWS))]
    return np.concatenate(blocks)[: params.queries]


class _World:
    """The surfaces that vectors are drawn from."""

    def __init__(self, params: SyntheticParams) -> None:
        self._params = params
        rng = np.random.default_rng([params.seed, 0])
        dim, intrinsic, clusters = params.dim, params.intrinsic, params.clusters

        def normal(rows: int, columns: int, scale: float) -> NDArray[np.float32]:
            return np.asarray(rng.normal(scale=scale, size=(rows, columns)), np.float32)

        self._means = normal(clusters, intrinsic, 0.7)
        self._spreads = rng.uniform(0.4, 1.0, (clusters, 1)).astype(np.float32)
        self._frame = normal(intrinsic, dim, intrinsic**-0.5)
        self._bends = normal(intrinsic, 2 * intrinsic, intrinsic**-0.5)
        self._curves = normal(2 * intrinsic, dim, 0.5 * (2 * intrinsic) ** -0.5)
        weights = 1 / np.sqrt(np.arange(1, clusters + 1))
        self._weights = weights / weights.sum()

    def draw(self, stream: int) -> NDArray[Any]:
        """One block."""
        params = self._params
        rng = np.random.default_rng([params.seed, 1, stream])
        cluster = rng.choice(params.clusters, _BLOCK_ROWS, p=self._weights)
        latent = rng.standard_normal((_BLOCK_ROWS, params.intrinsic), dtype=np.float32)
        latent = latent * self._spreads[cluster] + self._means[cluster]
        rows = latent @ self._frame + np.sin(latent @ self._bends) @ self._curves
        rows += np.float32(_NOISE) * rng.standard_normal(rows.shape, dtype=np.float32)
        if params.dtype in ("float32", "float16"):
            return np.asarray(rows.astype(params.dtype))
        middle = 128 if params.dtype == "uint8" else 0
        limits = np.iinfo(params.dtype)
        return np.asarray(np.clip(np.rint(rows * 32 + middle), limits.min, limits.max).astype(params.dtype))
