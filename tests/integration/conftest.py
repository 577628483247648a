from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec.sample import load_sample

ROWS = 1500
CALIBRATION = 20  # queries: the whole of a calibration would take most of the tests' time

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Corpus:
    """A slice of the sample in one dtype, with real queries, and exact answers computed by numpy in float64."""

    vectors: Array
    queries: Array
    _distances: dict[str, Array] = field(default_factory=dict)

    def distances(self, metric: str) -> Array:
        """(queries, vectors), in the unit of the metric."""
        if metric not in self._distances:
            self._distances[metric] = distances(self.queries, self.vectors, metric)
        return self._distances[metric]

    def recall(self, ids: Array, metric: str, k: int) -> float:
        """The share of `ids` that are no farther than the true k-th neighbour."""
        exact = self.distances(metric)
        kth = np.partition(exact, k - 1, axis=1)[:, k - 1 : k]
        return float((np.take_along_axis(exact, ids[:, :k], axis=1) <= kth + 1e-9).mean())


def distances(queries: Array, vectors: Array, metric: str) -> Array:
    q, x = queries.astype(np.float64), vectors.astype(np.float64)
    dots = q @ x.T
    if metric == "ip":
        return -dots
    squared_q, squared_x = (q**2).sum(axis=1)[:, None], (x**2).sum(axis=1)[None]
    return 1 - dots / np.sqrt(squared_q * squared_x) if metric == "cosine" else squared_q - 2 * dots + squared_x


@cache
def make_corpus(dtype: str) -> Corpus:
    sample = load_sample()
    vectors, queries = sample.vectors[:ROWS].astype(np.float32), sample.query_vectors.astype(np.float32)
    if dtype == "float16":
        return Corpus(vectors.astype(np.float16), queries)
    if dtype == "float32":
        return Corpus(vectors, queries)
    # The whole range of the type; titles and passages share one scale.
    low, high = float(vectors.min()), float(vectors.max())
    if dtype == "int8":
        scale = 127 / max(-low, high)
        return Corpus(*(np.clip(np.rint(part * scale), -128, 127).astype(np.int8) for part in (vectors, queries)))
    scale = 255 / (high - low)
    return Corpus(*(np.clip(np.rint((part - low) * scale), 0, 255).astype(np.uint8) for part in (vectors, queries)))


@pytest.fixture(scope="session")
def corpus() -> Callable[[str], Corpus]:
    """``corpus("int8")``: the sample's slice in one dtype."""
    return make_corpus


Builder = Callable[..., Path]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """``built("int8", "ip", code="sq")``: the graph index of that slice, built once. Tests must not change it.

    ``kind="cluster"`` builds the other kind.
    """
    folder = tmp_path_factory.mktemp("indexes")
    made: dict[str, Path] = {}

    def build(dtype: str = "float32", metric: str = "cosine", kind: str = "graph", **params: Any) -> Path:
        name = json.dumps([dtype, metric, kind, params], sort_keys=True)
        if name not in made:
            part = make_corpus(dtype)
            out = folder / str(len(made))
            queries = part.queries[:CALIBRATION]
            tiervec.build(part.vectors, out, kind=kind, metric=metric, params=params, calibration_queries=queries)
            made[name] = out
        return made[name]

    return build


@pytest.fixture
def own_copy(built: Builder, tmp_path: Path) -> Path:
    """An index that the test may harm."""
    return Path(shutil.copytree(built(), tmp_path / "index"))
