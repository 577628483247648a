"""Samples of the data, and the indexes of them that the advisor measures."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tiervec
from tiervec.advisor.design import Design
from tiervec.advisor.growth import Growth
from tiervec.api import IndexInfo
from tiervec.cluster_index.params import ClusterBuildParams
from tiervec.errors import InvalidArgumentError
from tiervec.index_files.directory import IndexDirectory
from tiervec.machine.environment import own_version
from tiervec.vectors.vector_files import VectorFile, open_vectors
from tiervec.vectors.vector_files.opening import split_path

__all__ = ["Samples", "draw"]

_QUERIES = 2000
_CALIBRATION = 500
_LEAST_VECTORS = 1000
_CONVERTED = ("layout", "code", "code_bits", "spill", "ordered", "align")
_RATIO = 4  # between the two samples

Step = Callable[[str], None]
"""Called with what is being done."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Two samples of the vectors, and others that serve as queries.

    Attributes:
        growth: Sizes of the samples and of the data.
        dim: Columns of a vector.
        large: The larger sample; the smaller one is its first rows.
        calibration: Vectors that the indexes are calibrated and grouped for, in neither sample.
        queries: Vectors to search for, in none of these.
        folder: Where indexes of the samples are kept.
        metric: Metric of these indexes.
    """

    growth: Growth
    dim: int
    metric: str
    large: NDArray[Any]
    calibration: NDArray[Any]
    queries: NDArray[Any]
    folder: Path

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.large.itemsize

    def sizes(self) -> tuple[int, ...]:
        """Sizes of the samples, ascending; one when the data is no larger."""
        return tuple(sorted({self.growth.small, self.growth.large}))

    def index(self, design: Design, size: int, *, threads: int, step: Step) -> Path:
        """The index of a sample, built unless it is there already.

        Layouts of a cluster index share their clusters when they share ``replicas``.
        """
        out = self.folder / f"{design.key}-{size}"
        if out.exists():
            return out
        step(f"building {design.name} of {size:,} vectors")
        base = self._clusters(design, size)
        if base is not None:
            wanted = ClusterBuildParams(**design.params)
            changed = {key: getattr(wanted, key) for key in _CONVERTED}
            tiervec.relayout(base, out, params=changed, threads=threads)
            return out
        tiervec.build(
            self.large[:size],
            out,
            kind=design.kind,
            metric=self.metric,
            params=dict(design.params),
            threads=threads,
            calibration_queries=self.calibration if len(self.calibration) else None,
        )
        return out

    def _clusters(self, design: Design, size: int) -> Path | None:
        """Another cluster index of that sample with as many replicas and clusters."""
        if design.kind != "cluster":
            return None
        params = ClusterBuildParams(**design.params)
        wanted = {"replicas": params.replicas, "closure": params.closure, "rng_factor": params.rng_factor}
        if params.clusters is not None:
            wanted["clusters"] = params.clusters
        for path in sorted(self.folder.glob(f"cluster-*-{size}")):
            info = IndexInfo.from_manifest(path, IndexDirectory.open(path).manifest)
            if all(info.params[key] == value for key, value in wanted.items()):
                return path
        return None


def draw(
    data: str | os.PathLike[str],
    *,
    most: int,
    seed: int,
    folder: Path,
    metric: str = "l2",
    queries: NDArray[Any] | None = None,
) -> Samples:
    """Draws the samples of a file at random.

    Args:
        data: A file of vectors.
        most: Vectors of the larger sample.
        seed: Seed of the choice.
        folder: Where indexes of samples are kept; one folder for all that decides what these are is made in it.
        metric: ``l2``, ``ip`` or ``cosine``.
        queries: Vectors like the queries to come, instead of vectors of the file. Some calibrate, at most half of
            them; the others are searched for.

    Raises:
        InvalidArgumentError: The file has too few vectors, or `most` is too small.
    """
    file = open_vectors(data)
    total = file.shape[0]
    if most < _LEAST_VECTORS:
        raise InvalidArgumentError(f"sample is {most}; it must be at least {_LEAST_VECTORS} vectors")
    if total < _LEAST_VECTORS:
        raise InvalidArgumentError(
            f"{file.path} has {total:,} vectors; the advisor needs {_LEAST_VECTORS:,}: with fewer, build any index"
        )
    held_out = 0 if queries is not None else min(_QUERIES, total // 10)
    large = min(most, total - held_out)
    rows = np.random.default_rng(seed).permutation(total)[: held_out + large]
    taken = _rows(file, rows)
    small = large if large == total - held_out else large // _RATIO
    given = _as_queries(taken[:held_out]) if queries is None else queries
    calibrating = min(_CALIBRATION, len(given) // 2)
    made_of = [_identity(data), metric, most, seed, _content(queries), own_version()]
    kept = folder / hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]
    kept.mkdir(parents=True, exist_ok=True)
    return Samples(
        growth=Growth(small=small, large=large, wanted=total),
        dim=file.shape[1],
        metric=metric,
        large=np.ascontiguousarray(taken[held_out:]),
        calibration=given[:calibrating],
        queries=given[calibrating:],
        folder=kept,
    )


def _rows(file: VectorFile, rows: NDArray[np.int64]) -> NDArray[Any]:
    """These rows, in the order given."""
    order = np.argsort(rows)
    ascending = rows[order]
    found = np.empty((len(rows), file.shape[1]), file.dtype)
    if file.mapped is not None:
        found[order] = file.mapped[ascending]
        return found
    for first, block in file.chunks():
        begin, end = np.searchsorted(ascending, [first, first + len(block)])
        found[order[begin:end]] = block[ascending[begin:end] - first]
    return found


def _as_queries(rows: NDArray[Any]) -> NDArray[Any]:
    return rows.astype(np.float32) if rows.dtype == np.float16 else np.ascontiguousarray(rows)


def _identity(data: str | os.PathLike[str]) -> list[Any]:
    name, part = split_path(data)
    status = os.stat(name)
    return [os.path.realpath(name), part, status.st_size, status.st_mtime_ns]


def _content(queries: NDArray[Any] | None) -> str | None:
    return None if queries is None else hashlib.sha256(np.ascontiguousarray(queries).data).hexdigest()
