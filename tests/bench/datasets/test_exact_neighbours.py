from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from tiervec.bench.datasets.exact_neighbours import exact_neighbours
from tiervec.vectors.vector_files import open_vectors
from tiervec.vectors.vector_files.vector_file import VectorFile


def slow(base: np.ndarray, queries: np.ndarray, metric: str) -> np.ndarray:
    base, queries = base.astype(np.float64), queries.astype(np.float64)
    if metric == "l2":
        return ((queries[:, None] - base[None]) ** 2).sum(axis=2)
    dots = queries @ base.T
    if metric == "ip":
        return -dots
    return 1 - dots / np.linalg.norm(queries, axis=1)[:, None] / np.linalg.norm(base, axis=1)[None]


def saved(tmp_path: Path, base: np.ndarray) -> VectorFile:
    np.save(tmp_path / "base.npy", base)
    return open_vectors(tmp_path / "base.npy")


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "int8"])
@pytest.mark.parametrize("k", [1, 10, 100])
@pytest.mark.parametrize("few", [0, 1000])
def test_they_are_those_of_the_slow_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str, dtype: str, k: int, few: int
) -> None:
    module = importlib.import_module("tiervec.bench.datasets.exact_neighbours")  # the package exports the function
    monkeypatch.setattr(module, "_FEW_VECTORS", few)
    monkeypatch.setattr(module, "_BLOCK_BYTES", 4096)  # so that blocks are put together
    rng = np.random.default_rng(1)
    scale, shift = {"uint8": (30, 100), "int8": (30, 0)}.get(dtype, (1, 0))
    base, queries = ((rng.normal(size=(n, 12)) * scale + shift).astype(dtype) for n in (700, 9))
    ids, distances = exact_neighbours(saved(tmp_path, base), queries, metric, k)
    expected = slow(base, queries, metric)
    order = np.argsort(expected, axis=1, kind="stable")[:, :k]
    assert (ids == order).all()
    np.testing.assert_allclose(distances, np.take_along_axis(expected, order, axis=1), rtol=1e-5, atol=1e-6)


def test_few_vectors_give_few_neighbours(tmp_path: Path) -> None:
    base = np.eye(3, dtype=np.float32)
    ids, _ = exact_neighbours(saved(tmp_path, base), base, "l2", 10)
    assert ids.tolist() == [[0, 1, 2], [1, 0, 2], [2, 0, 1]]


def test_equal_vectors_come_by_their_ids(tmp_path: Path) -> None:
    base = np.zeros((300, 4), np.float32)
    base[7] = 1
    ids, _ = exact_neighbours(saved(tmp_path, base), np.zeros((1, 4), np.float32), "l2", 5)
    assert len(set(ids[0])) == 5
    assert 7 not in ids[0]


def test_far_from_the_origin_float32_sums_are_not_believed(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    base = (1000 + rng.normal(size=(500, 32))).astype(np.float32)
    queries = (1000 + rng.normal(size=(5, 32))).astype(np.float32)
    ids, _ = exact_neighbours(saved(tmp_path, base), queries, "l2", 1)
    assert (ids[:, 0] == slow(base, queries, "l2").argmin(axis=1)).all()


def test_progress_ends_at_the_last_vector(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    exact_neighbours(
        saved(tmp_path, np.eye(4, dtype=np.float32)), np.eye(4, dtype=np.float32), "l2", 1, lambda *at: steps.append(at)
    )
    assert steps[-1] == (4, 4)


def test_close_vectors_far_from_the_origin_keep_their_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    base = np.concatenate([1e-3 * rng.normal(size=(400, 8)) + 50, rng.normal(size=(100, 8))]).astype(np.float32)
    queries = base[:5] + np.float32(1e-4)
    ids, _ = exact_neighbours(saved(tmp_path, base), queries, "l2", 10)
    assert (ids == np.argsort(slow(base, queries, "l2"), axis=1, kind="stable")[:, :10]).all()
