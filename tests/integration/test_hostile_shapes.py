"""Recall of a default build and search on data that a few vectors, an offset or a scale would spoil."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec

COUNT, DIM, QUERIES, K = 3000, 32, 60, 10
KINDS = ("graph", "cluster")
SEARCH = {"graph": {"search_list": 96}, "cluster": {"nprobe": 40, "rerank": 300}}


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def recall(base: Any, queries: Any, kind: str, path: Path) -> float:
    """Share of the true neighbours found; one as near as the last true one counts."""
    middle = np.median(base.astype(np.float64), axis=0)
    x, q = base.astype(np.float64) - middle, queries.astype(np.float64) - middle
    squared = ((q[:, None] - x[None]) ** 2).sum(axis=2)
    kth = np.sort(squared, axis=1)[:, K - 1 : K]
    tiervec.build(base, path, kind=kind)
    with tiervec.open(path) as index:
        ids = index.search(queries, k=K, params=SEARCH[kind]).ids
    assert all(len(set(row)) == K for row in ids.tolist())
    return float((np.take_along_axis(squared, ids, axis=1) <= kth * (1 + 1e-6)).mean())


def one_largest_float16(base: Any, _queries: Any) -> None:
    base[77] = 65504


def a_hundredth_far_away(base: Any, _queries: Any) -> None:
    base[: COUNT // 100] *= 1e4


def far_from_the_origin(base: Any, queries: Any) -> None:
    base += 1e6
    queries += 1e6


def tiny(base: Any, queries: Any) -> None:
    base *= 1e-10
    queries *= 1e-10


def enormous(base: Any, queries: Any) -> None:
    base *= 1e10
    queries *= 1e10


SHAPES: tuple[Callable[[Any, Any], None], ...] = (
    one_largest_float16,
    a_hundredth_far_away,
    far_from_the_origin,
    tiny,
    enormous,
)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    folder = tmp_path_factory.mktemp("usual")
    return {kind: recall(normal(COUNT, DIM), normal(QUERIES, DIM, seed=1), kind, folder / kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_recall_is_that_of_the_same_data_without(
    shape: Callable[[Any, Any], None], kind: str, usual: dict[str, float], tmp_path: Path
) -> None:
    base, queries = normal(COUNT, DIM), normal(QUERIES, DIM, seed=1)
    shape(base, queries)
    assert recall(base, queries, kind, tmp_path / "index") >= usual[kind] - 0.04
