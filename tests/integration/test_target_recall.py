"""target_recall is kept on queries that the calibration has not seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec.sample import load_sample

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def passages() -> dict[str, Array]:
    """Passages of the sample in random order, cut into base vectors, queries to calibrate with, queries to measure."""
    rows = np.random.default_rng(1).permutation(len(load_sample().vectors))
    vectors = load_sample().vectors[rows].astype(np.float32)
    return {"base": vectors[:1200], "calibration": vectors[1200:1600], "test": vectors[1600:2400]}


def recall(base: Array, queries: Array, ids: Array) -> float:
    """Of unit vectors by cosine, which l2 and ip agree with."""
    dots = queries @ base.T
    k = ids.shape[1]
    kth = -np.partition(-dots, k - 1, axis=1)[:, k - 1 : k]
    return float((np.take_along_axis(dots, ids, axis=1) >= kth - 1e-6).mean())


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_it_is_reached_for_every_k(metric: str, passages: dict[str, Array], tmp_path: Path) -> None:
    # Two bits and few neighbours: a target is then not reached by chance.
    tiervec.build(
        passages["base"],
        tmp_path / "index",
        metric=metric,
        params={"code_bits": 2, "graph_degree": 12, "build_list": 32},
        calibration_queries=passages["calibration"][:200],
    )
    with tiervec.open(tmp_path / "index") as index:
        assert index.info.calibration is not None
        assert index.info.calibration["source"] == "given"
        for k in (1, 3, 10, 50, 100):
            reads = []
            for target in (0.8, 0.9, 0.95):
                found = index.search(passages["test"], k=k, target_recall=target)
                reached = recall(passages["base"], passages["test"], found.ids)
                assert reached >= target - 0.025, (k, target, found.receipt.params)
                reads.append(found.receipt.reads)
            if k in (1, 10, 100):  # between two calibrated ks, values of two tables are combined: nothing is promised
                assert reads[0] <= reads[-1], k
            # Between two calibrated ks the more careful choice is taken, but never one that costs out of proportion.
            assert reads[0] <= 2.2 * max(k, 5) * len(passages["test"]), k


def test_without_queries_base_vectors_are_held_out(passages: dict[str, Array], tmp_path: Path) -> None:
    tiervec.build(passages["base"][:500], tmp_path / "index", params={"code_bits": 3, "graph_degree": 16})
    with tiervec.open(tmp_path / "index") as index:
        assert index.info.calibration is not None
        assert index.info.calibration["source"] == "held-out base vectors"
        assert index.info.calibration["queries"] == 50 + 100
        found = index.search(passages["test"], k=10, target_recall=0.95)
    assert 0.92 <= recall(passages["base"][:500], passages["test"], found.ids) <= 0.995


def test_a_target_beyond_the_calibration_is_noted(built: Callable[..., Path], corpus: Callable[..., Any]) -> None:
    with tiervec.open(built()) as index:
        found = index.search(corpus("float32").queries, k=500, target_recall=0.9)
        assert "beyond the calibration" in " ".join(found.receipt.notes)
        assert found.receipt.params["search_list"] >= 500
        assert index.search(corpus("float32").queries, k=10, target_recall=0.9).receipt.notes == ()


@pytest.mark.parametrize(("kind", "layout"), [("graph", "packed"), ("cluster", "coded"), ("cluster", "grouped")])
@pytest.mark.parametrize("count", [30, 60, 99])
def test_few_vectors_need_no_calibration(count: int, kind: str, layout: str, tmp_path: Path) -> None:
    base = np.random.default_rng(1).normal(size=(count, 16)).astype(np.float32)
    queries = np.random.default_rng(2).normal(size=(100, 16)).astype(np.float32)
    info = tiervec.build(base, tmp_path / "index", kind=kind, params={"layout": layout})
    assert info.calibration is None
    nearest = np.argsort(((queries[:, None].astype(np.float64) - base) ** 2).sum(axis=2), axis=1)
    with tiervec.open(tmp_path / "index") as index:
        found = index.search(queries, k=10)
        assert found.receipt.expected_recall == 1.0
        assert found.ids.tolist() == nearest[:, :10].tolist()
        every = index.search(base, k=count, target_recall=1.0)
    assert np.sort(every.ids, axis=1).tolist() == [list(range(count))] * count


def test_duplicates_do_not_count_as_errors(tmp_path: Path) -> None:
    base = np.repeat(np.random.default_rng(2).normal(size=(100, 8)), 6, axis=0).astype(np.float32)
    info = tiervec.build(base, tmp_path / "index", params={"graph_degree": 16, "build_list": 32})
    assert info.calibration is not None
    for rows in info.calibration["tables"].values():
        assert max(row["recall"] for row in rows) >= 0.99
