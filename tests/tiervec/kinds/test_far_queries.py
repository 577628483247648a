"""Queries farther from the vectors than usual: drawn for the calibration, recognised, searched again, and noted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec.kinds import far_queries as far_module
from tiervec.kinds.far_queries import FarSearches, SearchDrift, choose_far, far_queries, farness
from tiervec.kinds.index_kind import NativeResult

RANDOM = np.random.default_rng(4)
BASE = RANDOM.normal(size=(2000, 24)).astype(np.float32)


def nearest(base: Any, queries: Any) -> Any:
    squared = ((queries[:, None].astype(np.float64) - base[None].astype(np.float64)) ** 2).sum(axis=2)
    return np.sort(squared, axis=1)[:, 1]


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "int8"])
def test_they_are_of_the_query_dtype_and_lie_farther_the_more_they_are_spread(dtype: str) -> None:
    base = (BASE * 20 + 100).astype(dtype) if dtype != "int8" else (BASE * 20).astype(dtype)
    drawn = [far_queries(base, "l2", 1, spread, None).vectors for spread in (0.0, 1.0, 3.0)]
    assert {each.dtype for each in drawn} == {np.dtype("float32" if dtype == "float16" else dtype)}
    medians = [np.median(nearest(base, each)) for each in drawn]
    assert medians[1] < medians[2]
    again = far_queries(base, "l2", 1, 1.0, None).vectors
    assert (again == drawn[1]).all()


def test_a_vector_far_away_does_not_spread_them() -> None:
    base = BASE.copy()
    base[7] = 1e30
    assert np.abs(far_queries(base, "l2", 1, 3.0, None).vectors).max() < 100


def test_an_inner_product_is_as_far_whatever_the_length_of_the_query() -> None:
    queries, distances = BASE[:3], np.array([-1, -2, -3], np.float32)
    assert farness(2 * distances, 2 * queries, "ip") == pytest.approx(farness(distances, queries, "ip"))
    assert farness(distances, queries, "l2") is distances


def answer(distances: Any, reads: int, ids: int) -> NativeResult:
    distances = np.array(distances, np.float32)
    zeros = dict.fromkeys(("threads_refused", "waiting_us", "rounds", "code_distances", "bytes_read", "hot_records"), 0)
    return NativeResult(
        ids=np.full(distances.shape, ids, np.int64),
        distances=distances,
        latency_us=np.ones(len(distances), np.float32),
        threads=1,
        cpu_us=10.0,
        reads=reads,
        rereads=0,
        rescans=0,
        **zeros,  # type: ignore[arg-type]
    )


CALIBRATION = {
    "queries": 500,
    "up_to": {"1": 1.0, "10": 5.0},
    "tables": {"1": [{"nprobe": 4, "recall": 1.0, "reads": 4}], "10": [{"nprobe": 8, "recall": 1.0, "reads": 8}]},
    "farther": [
        {
            "queries": 128,
            "up_to": {"1": 3.0, "10": 9.0},
            "tables": {
                "1": [{"nprobe": 2, "recall": 1.0, "reads": 2}],
                "10": [{"nprobe": 16, "recall": 1.0, "reads": 9}],
            },
        },
        {
            "queries": 128,
            "up_to": {"1": 9.0, "10": 20.0},
            "tables": {
                "1": [{"nprobe": 64, "recall": 1.0, "reads": 64}],
                "10": [{"nprobe": 4, "recall": 1.0, "reads": 4}],
            },
        },
    ],
}


def chosen(calibration: Any, k: int) -> FarSearches | None:
    from tiervec.engine.calibration import CalibrationGrid, choose

    grid = CalibrationGrid(fine="nprobe", fine_values=(2, 4, 8, 16, 64), whole_numbers=True)
    usual = choose(grid, calibration, k, 0.9, 1000)
    return choose_far(grid, calibration, k, 0.9, 1000, usual=usual, resolve=lambda params: params["nprobe"])


def test_only_far_queries_are_searched_again_each_with_what_its_distance_needs() -> None:
    far = chosen(CALIBRATION, 1)
    assert far is not None
    assert (far.depth, [level.params for level in far.levels]) == (1, [4, 64])  # no level is less thorough than usual
    seen: dict[int, list[int]] = {}

    def search(queries: Any, params: int) -> NativeResult:
        seen[params] = queries[:, 0].tolist()
        return answer(np.full((len(queries), 1), 0.5), 100, 2)

    queries = np.arange(5, dtype=np.float32)[:, None]
    found, count = far.search_again(answer([[0.5], [2.0], [1.0], [4.0], [np.inf]], 7, 1), queries, "l2", search)
    assert seen == {4: [1], 64: [3, 4]}
    assert (count, found.ids[:, 0].tolist(), found.reads, found.cpu_us) == (3, [1, 2, 1, 2, 2], 207, 30.0)
    assert found.latency_us.tolist() == [1, 2, 1, 2, 2]


def test_nothing_is_searched_again_when_nothing_is_far() -> None:
    far = chosen(CALIBRATION, 1)
    assert far is not None
    found = answer([[0.5], [1.0]], 7, 1)
    assert far.search_again(found, BASE[:2], "l2", lambda *_: pytest.fail("searched"))[0] is found


@pytest.mark.parametrize("metric", ["l2", "ip"])
def test_a_call_knows_whether_any_of_its_queries_is_far(metric: str) -> None:
    far = chosen(CALIBRATION, 1)
    assert far is not None
    queries = np.ones((2, 1), np.float32)
    assert far.has_far(answer([[0.5], [2.0]], 7, 1), queries, metric)
    assert not far.has_far(answer([[0.5], [1.0]], 7, 1), queries, metric)
    assert far.has_far(answer([[2.0]], 7, 1), queries[:1], metric)
    assert not far.has_far(answer([[1.0]], 7, 1), queries[:1], metric)


def test_the_deepest_calibrated_neighbour_that_was_asked_for_tells() -> None:
    assert [(far := chosen(CALIBRATION, k)) and far.depth for k in (1, 5, 10)] == [1, 1, 10]


def test_an_index_without_far_queries_searches_once() -> None:
    assert chosen({key: CALIBRATION[key] for key in ("queries", "tables")}, 10) is None
    easy = {**CALIBRATION, "farther": [CALIBRATION["farther"][0]]}  # type: ignore[index]
    assert chosen(easy, 1) is None


@pytest.mark.parametrize("broken", [{"up_to": 3}, {"farther": [{}]}, {"up_to": {"10": None}}])
def test_a_damaged_calibration_is_data_loss(broken: Any) -> None:
    with pytest.raises(tiervec.DataLossError, match="the calibration of the index is not what was written"):
        chosen({**CALIBRATION, **broken}, 10)


def test_a_drift_is_noted_once_chance_does_not_explain_it() -> None:
    drift = SearchDrift()
    assert drift.note(1000, 12, 0.011) is None
    assert drift.note(1, 1, 0.011) is None
    note = drift.note(1000, 300, 0.011)
    assert note is not None
    assert note.startswith("313 of the latest 2,001 queries are farther from the vectors than 99.5 % of those")
    for _ in range(100):  # a drift that has ended is forgotten
        note = drift.note(1000, 10, 0.011)
    assert note is None


@pytest.mark.parametrize("kind", ["graph", "cluster"])
def test_a_search_says_that_its_queries_are_not_like_those_of_the_calibration(kind: str, tmp_path: Path) -> None:
    tiervec.build(BASE, tmp_path / "index", kind=kind, threads=1)
    with tiervec.open(tmp_path / "index") as index:
        usual = index.search(RANDOM.normal(size=(200, 24)).astype(np.float32))
        assert usual.receipt.notes == ()
        far = index.search(4 * RANDOM.normal(size=(200, 24)).astype(np.float32))
        (note,) = far.receipt.notes
        assert "queries are farther from the vectors" in note
        assert far.receipt.reads > usual.receipt.reads
        params = {key: value for key, value in far.receipt.params.items() if key in ("search_list", "nprobe", "rerank")}
        assert index.search(BASE[:5] * 4, params=params).receipt.notes == ()  # given parameters are taken as they are


@pytest.mark.parametrize(("kind", "layout"), [("graph", "packed"), ("cluster", "replicated"), ("cluster", "coded")])
def test_what_far_queries_compare_is_limited(
    kind: str, layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    base = BASE[:400]
    params: dict[str, object] = {"layout": layout}
    if kind == "cluster":
        params["clusters"] = 8

    def tables(name: str) -> list[Any]:
        caplog.clear()
        with caplog.at_level("INFO", "tiervec.engine.calibration"):
            calibration = tiervec.build(base, tmp_path / name, kind=kind, params=params, threads=1).calibration
        assert calibration is not None
        usual.append(calibration["tables"])
        return [each["tables"] for each in calibration["farther"]]

    usual: list[Any] = []
    whole = tables("whole")
    assert not caplog.messages
    monkeypatch.setattr(far_module, "_budget", lambda queries, vectors: queries * vectors // 50)
    limited = tables("limited")
    assert usual[0] == usual[1]
    assert any("far queries: k=" in message for message in caplog.messages)
    lengths = [(len(short[k]), len(long[k])) for short, long in zip(limited, whole, strict=True) for k in long]
    assert all(1 <= short <= long for short, long in lengths)
    assert any(short < long for short, long in lengths)
    with tiervec.open(tmp_path / "limited") as index:
        assert index.search(BASE[:5] * 3, k=10).ids.shape == (5, 10)
