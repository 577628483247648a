"""Recall on data that break indexes: a default build is searched and compared with brute force in float64.

A found vector counts when it is no farther than the exact k-th neighbour, so that ties cannot be mistakes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import tiervec

Array = NDArray[np.float32]
K = 10


def exact_distances(base: NDArray[Any], queries: NDArray[Any], metric: str) -> NDArray[np.float64]:
    b, q = base.astype(np.float64), queries.astype(np.float64)
    if metric == "l2":
        return np.stack([((b - row) ** 2).sum(axis=1) for row in q])
    if metric == "cosine":
        lengths = np.linalg.norm(b, axis=1)
        b = b / np.where(lengths > 0, lengths, 1)[:, None]
        q = q / np.linalg.norm(q, axis=1, keepdims=True)
    return -(q @ b.T)


def recall(base: NDArray[Any], queries: NDArray[Any], metric: str, ids: NDArray[np.int64]) -> float:
    distances = exact_distances(base, queries, metric)
    kth = np.sort(distances, axis=1)[:, K - 1 : K]
    found = np.take_along_axis(distances, ids, axis=1)
    distinct = np.array([len(set(row.tolist())) == K for row in ids])
    assert distinct.all()
    return float((found <= kth + 1e-6 * np.abs(kth)).mean())


def searched(
    folder: Path,
    base: NDArray[Any],
    queries: NDArray[Any],
    metric: str = "l2",
    kind: str = "graph",
    build: dict[str, Any] | None = None,
    **search: Any,
) -> float:
    tiervec.build(base, folder / "index", kind=kind, metric=metric, params=build)
    with tiervec.open(folder / "index") as index:
        return recall(base, queries, metric, index.search(queries, K, params=search).ids)


def norms_spread(seed: int, sigma: float, count: int = 4000, dim: int = 64) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    base = random.standard_normal((count, dim)) * np.exp(sigma * random.standard_normal((count, 1)))
    return base.astype(np.float32), random.standard_normal((100, dim)).astype(np.float32)


@pytest.mark.parametrize("sigma", [0.0, 0.2, 0.5])
def test_a_graph_finds_the_largest_inner_products_whatever_the_norms(tmp_path: Path, sigma: float) -> None:
    base, queries = norms_spread(1, sigma)
    assert searched(tmp_path, base, queries, "ip", search_list=128) >= 0.97


def test_a_graph_follows_norms_that_differ_by_orders_of_magnitude(tmp_path: Path) -> None:
    base, queries = norms_spread(1, 1.0, count=2000, dim=16)
    build = {"code": "pq", "code_bits": 8}
    assert searched(tmp_path, base, queries, "ip", build=build, search_list=64) >= 0.99
