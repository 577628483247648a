from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tiervec import _core
from tiervec.engine.calibration import (
    CalibrationGrid,
    CalibrationQueries,
    ChosenSearch,
    Measured,
    calibrate,
    reached,
    recall_by_distance,
)
from tiervec.engine.calibration import choose as choose_from_grid
from tiervec.errors import DataLossError, InvalidArgumentError
from tiervec.graph_index.opened import CALIBRATION_GRID


def choose(calibration: Any, k: int, target: Any, vectors: int) -> ChosenSearch:
    return choose_from_grid(CALIBRATION_GRID, calibration, k, target, vectors)


def row(search_list: int, stop_margin: float, recall: float, reads: float) -> dict[str, float]:
    return {"search_list": search_list, "stop_margin": stop_margin, "recall": recall, "reads": reads}


def table(**tables: list[dict[str, float]]) -> dict[str, Any]:
    """``table(k10=[...])``."""
    return {"source": "given", "queries": math.inf, "tables": {key[1:]: rows for key, rows in tables.items()}}


def queries_of(count: int) -> CalibrationQueries:
    return CalibrationQueries.given(np.zeros((count, 2), np.float32))


# Lists of 10 and 20, margins growing, the whole list last.
TEN = [
    row(10, 0.02, 0.70, 8),
    row(10, 0.10, 0.80, 9),
    row(10, 0.0, 0.85, 10),
    row(20, 0.02, 0.75, 8.5),
    row(20, 0.10, 0.95, 14),
    row(20, 0.0, 0.97, 20),
]


def test_the_cheapest_row_that_reaches_the_target() -> None:
    chosen = choose(table(k10=TEN), 10, 0.7, 1000)
    assert (chosen.params["search_list"], chosen.params["stop_margin"], chosen.note) == (10, 0.02, None)
    assert chosen.recall == pytest.approx(0.70)


def test_between_two_margins_it_interpolates() -> None:
    chosen = choose(table(k10=TEN), 10, 0.90, 1000)
    assert chosen.params["search_list"] == 20
    assert chosen.params["stop_margin"] == pytest.approx(0.02 + 0.75 * 0.08)
    assert chosen.recall == pytest.approx(0.90)


def test_the_whole_list_is_not_interpolated() -> None:
    chosen = choose(table(k10=TEN), 10, 0.96, 1000)
    assert (chosen.params["search_list"], chosen.params["stop_margin"]) == (20, 0.0)


def test_fewer_reads_decide_between_lists() -> None:
    # 0.78: list 10 between 8 and 9 reads, list 20 between 8.5 and 14.
    chosen = choose(table(k10=TEN), 10, 0.78, 1000)
    assert chosen.params["search_list"] == 10
    assert chosen.params["stop_margin"] == pytest.approx(0.02 + 0.8 * 0.08)


def test_a_higher_target_never_costs_less() -> None:
    costs = [choose(table(k10=TEN), 10, target, 1000) for target in (0.5, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.97)]
    thoroughness = [(chosen.params["search_list"], chosen.params["stop_margin"] or 1.0) for chosen in costs]
    assert thoroughness == sorted(thoroughness)


def test_beyond_what_was_reached_a_note_says_so() -> None:
    chosen = choose(table(k10=TEN), 10, 0.99, 1000)
    assert (chosen.params["search_list"], chosen.params["stop_margin"], chosen.recall) == (40, 0.0, 0.97)
    assert chosen.note is not None
    assert "target_recall=0.99" in chosen.note
    assert "0.970" in chosen.note


def test_a_k_beyond_the_tables_gets_a_longer_list_and_a_note() -> None:
    chosen = choose(table(k10=TEN), 50, 0.5, 1000)
    assert chosen.params["search_list"] == 200
    assert chosen.params["stop_margin"] == 0
    assert chosen.note is not None
    assert "k=50" in chosen.note


def test_a_k_between_two_takes_the_more_thorough_of_both() -> None:
    one = [row(10, 0.3, 0.9, 6), row(10, 0.0, 0.95, 10)]
    chosen = choose(table(k1=one, k10=TEN), 5, 0.8, 1000)
    assert (chosen.params["search_list"], chosen.params["stop_margin"]) == (10, 0.3)
    assert chosen.note is None


def test_a_k_between_two_does_not_expand_a_long_list_for_a_short_ones_sake() -> None:
    # For k=10 the whole of ten is cheapest; for k=100 a margin within a list of 128 is. The whole of 128 is neither.
    ten = [row(10, 0.0, 0.9, 10), row(16, 0.05, 0.92, 12), row(16, 0.0, 0.99, 16)]
    hundred = [row(128, 0.02, 0.95, 110), row(128, 0.0, 0.99, 128)]
    chosen = choose(table(k10=ten, k100=hundred), 20, 0.9, 1000)
    assert (chosen.params["search_list"], chosen.params["stop_margin"]) == (128, 0.05)


def test_a_k_between_two_expands_whole_lists_when_both_ask_for_it_as_long_as_k_needs() -> None:
    chosen = choose(table(k1=[row(10, 0.0, 0.9, 10)], k10=[row(24, 0.0, 0.95, 24)]), 5, 0.9, 1000)
    assert (chosen.params["search_list"], chosen.params["stop_margin"]) == (17, 0.0)


def test_a_k_below_the_tables_takes_the_smallest() -> None:
    assert choose(table(k10=TEN), 3, 0.7, 1000).params["search_list"] == 10


@pytest.mark.parametrize("target", [0, -1, 1.01, float("nan"), float("inf"), "0.9", None, True])
def test_a_target_is_above_0_and_at_most_1(target: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="target_recall"):
        choose(table(k10=TEN), 10, target, 1000)


def test_without_a_calibration_few_vectors_are_searched_whole() -> None:
    chosen = choose(None, 10, 0.99, 30)
    assert (chosen.params["search_list"], chosen.params["stop_margin"], chosen.recall) == (30, 0.0, 1.0)
    with pytest.raises(InvalidArgumentError, match="calibrated"):
        choose(None, 10, 0.99, 1000)


def test_few_vectors_are_searched_whole_whatever_a_calibration_says() -> None:
    chosen = choose(table(k10=TEN), 10, 0.7, 99)
    assert (chosen.params["search_list"], chosen.params["stop_margin"], chosen.recall) == (99, 0.0, 1.0)
    assert choose(table(k10=TEN), 10, 0.7, 100).params["search_list"] == 10


def test_between_two_ks_a_higher_target_may_come_with_fewer_reads() -> None:
    # The lower target takes a long list from one table and a wide margin from the other; the higher one, one list.
    one = [row(16, 0.3, 0.8, 10), row(32, 0.0, 0.95, 32)]
    ten = [row(64, 0.05, 0.8, 20), row(32, 0.0, 0.95, 32)]
    tables = table(k1=one, k10=ten)
    lower, higher = (choose(tables, 3, target, 1000).params for target in (0.8, 0.95))
    assert (lower["search_list"], lower["stop_margin"]) == (64, 0.3)
    assert (higher["search_list"], higher["stop_margin"]) == (32, 0.0)


@pytest.mark.parametrize(
    "calibration",
    [
        {},
        {"tables": None},
        {"tables": {}},
        {"tables": {"a": TEN}},
        {"tables": {"10": [{"recall": 1}]}},
        {"tables": {"10": 3}},
    ],
    ids=str,
)
def test_what_is_no_calibration_is_data_loss(calibration: Any) -> None:
    with pytest.raises(DataLossError, match="calibration"):
        choose(calibration, 10, 0.5, 1000)


def test_recall_counts_who_is_no_farther_than_the_kth() -> None:
    exact = np.array([[1, 2, 2, 3], [0, 0, 0, 9]], np.float32)
    assert recall_by_distance(np.array([[1, 2], [0, 0]], np.float32), exact, 2) == 1.0
    assert recall_by_distance(np.array([[2, 2], [0, 9]], np.float32), exact, 2) == 0.5
    assert recall_by_distance(np.array([[np.inf, np.inf], [9, 9]], np.float32), exact, 2) == 0.0
    rounded = exact * np.float32(1 + 1e-7)
    assert recall_by_distance(rounded[:, :3], exact, 3) == 1.0
    assert recall_by_distance(-exact[:, ::-1][:, :2], -exact[:, ::-1], 2) == 1.0  # inner products are negative


def measured(reached: dict[tuple[int, float], float], calls: list[tuple[int, int, float]] | None = None) -> Any:
    """A search whose recall is `reached` (or 1 - 1 / search_list) and whose reads grow with the margin."""

    def search(k: int, params: dict[str, float]) -> Measured:
        search_list, stop_margin = int(params["search_list"]), params["stop_margin"]
        if calls is not None:
            calls.append((k, search_list, stop_margin))
        found = np.ones((100, k), np.float32)
        wrong = round(100 * (1 - reached.get((search_list, stop_margin), 1 - 1 / search_list)))
        found[:wrong] = 2
        reads = search_list * (1 - 0.5 * (0.6 - stop_margin)) if stop_margin else float(search_list)
        return Measured(distances=found, reads=reads)

    return search


def test_the_grid_ends_where_lists_reach_enough_and_is_json() -> None:
    calls: list[tuple[int, int, float]] = []
    steps: list[tuple[str, int, int]] = []
    reached = {(length, 0.0): 1.0 for length in (16, 128)}
    result = calibrate(
        CALIBRATION_GRID,
        measured(reached, calls),
        np.ones((100, 100), np.float32),
        queries_of(100),
        lambda *step: steps.append(step[:3]),
    )
    assert result["source"] == "given"
    assert result["queries"] == 100
    assert list(result["tables"]) == ["1", "10", "100"]
    assert {entry["search_list"] for entry in result["tables"]["10"]} == {10, 16}
    assert {entry["search_list"] for entry in result["tables"]["100"]} == {128}
    assert steps == [("calibration", step, 3) for step in (1, 2, 3)]
    assert all(length >= k for k, length, _ in calls)
    for rows in result["tables"].values():
        for length in {entry["search_list"] for entry in rows}:
            margins = [entry["stop_margin"] for entry in rows if entry["search_list"] == length]
            assert margins[-1] == 0
            assert margins[:-1] == sorted(margins[:-1])


def test_few_exact_neighbours_make_one_table() -> None:
    result = calibrate(CALIBRATION_GRID, measured({}), np.ones((100, 4), np.float32), queries_of(100), None)
    assert list(result["tables"]) == ["1"]
    result = calibrate(CALIBRATION_GRID, measured({}), np.ones((100, 30), np.float32), queries_of(100), None)
    assert list(result["tables"]) == ["1", "10"]


def test_held_out_queries_are_base_vectors_that_are_hidden() -> None:
    base = np.random.default_rng(1).normal(size=(200, 4)).astype(np.float16)
    queries = CalibrationQueries.held_out(base, seed=3)
    assert queries.vectors.dtype == np.float32
    assert queries.rows is not None
    hidden, themselves = queries.groups
    assert len(set(queries.hidden_rows.tolist())) == len(queries.vectors[hidden]) == 25
    np.testing.assert_array_equal(queries.vectors[hidden], base[queries.hidden_rows].astype(np.float32))
    assert queries.rows[themselves].tolist() == [-1] * 100
    distances = queries.exact_distances(base, "l2", 1, _core.WorkMonitor())
    assert distances.shape == (125, 100)
    assert float(distances[hidden, 0].min()) > 0
    assert float(distances[themselves, 0].max()) == 0
    again = CalibrationQueries.held_out(base, seed=3)
    np.testing.assert_array_equal(again.rows, queries.rows)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_held_out_queries_of_integers_stay_integers(dtype: str) -> None:
    base = np.random.default_rng(1).integers(0, 100, size=(160, 4)).astype(dtype)
    assert CalibrationQueries.held_out(base, seed=0).vectors.dtype == base.dtype


def test_few_vectors_are_not_held_out_and_many_queries_not_all_used() -> None:
    base = np.zeros((99, 4), np.float32)
    assert len(CalibrationQueries.held_out(base, seed=0).vectors) == 0
    assert len(CalibrationQueries.given(np.zeros((5000, 4), np.float32)).vectors) <= 1000


CODED = CalibrationGrid(
    coarse="nprobe", coarse_values=(4, 8), fine="rerank", fine_values=(16, 32, 64), at_least_k="rerank", most=128,
    whole_numbers=True, code_weight=0.1,
)  # fmt: skip
PROBES = CalibrationGrid(fine="nprobe", fine_values=(1, 2, 4), whole_numbers=True)


def coded_row(nprobe: int, rerank: int, recall: float, code_distances: float) -> dict[str, float]:
    return {"nprobe": nprobe, "rerank": rerank, "recall": recall, "reads": rerank, "code_distances": code_distances}


def test_codes_cost_too_and_whole_numbers_are_rounded_up() -> None:
    rows = [
        coded_row(4, 16, 0.8, 100),
        coded_row(4, 64, 0.9, 100),
        coded_row(8, 16, 0.9, 900),
        coded_row(8, 64, 1, 900),
    ]
    chosen = choose_from_grid(CODED, table(k10=rows), 10, 0.9, 1000)
    assert chosen.params == {"nprobe": 4, "rerank": 64}
    chosen = choose_from_grid(CODED, table(k10=rows), 10, 0.845, 1000)
    assert chosen.params == {"nprobe": 4, "rerank": 38}
    chosen = choose_from_grid(CODED, table(k10=rows), 10, 0.95, 1000)
    assert chosen.params == {"nprobe": 8, "rerank": 40}


def test_beyond_a_calibration_without_limits_there_is_no_more_than_the_most() -> None:
    rows = [coded_row(4, 16, 0.8, 100), coded_row(8, 64, 0.9, 900)]
    chosen = choose_from_grid(CODED, table(k10=rows), 10, 0.99, 1000)
    assert chosen.params == {"nprobe": 8, "rerank": 64}
    assert "nprobe=8 and rerank=64" in str(chosen.note)
    assert choose_from_grid(CODED, table(k10=rows), 100, 0.5, 1000).params == {"nprobe": 8, "rerank": 128}
    assert choose_from_grid(CODED, None, 500, 0.5, 20).params == {"nprobe": 500, "rerank": 128}


def test_one_parameter_makes_one_group() -> None:
    calls: list[float] = []

    def search(k: int, params: dict[str, float]) -> Measured:
        calls.append(params["nprobe"])
        found = np.ones((10, k), np.float32)
        found[: 10 - 5 * int(params["nprobe"])] = 2
        return Measured(distances=found, reads=10 * params["nprobe"])

    result = calibrate(PROBES, search, np.ones((10, 1), np.float32), queries_of(10), None)
    assert calls == [1, 2]
    assert result["tables"] == {
        "1": [{"nprobe": 1, "recall": 0.5, "reads": 10.0}, {"nprobe": 2, "recall": 1.0, "reads": 20.0}]
    }
    assert choose_from_grid(PROBES, result, 1, 0.6, 1000).params == {"nprobe": 2}
    with pytest.raises(InvalidArgumentError, match="give nprobe"):
        choose_from_grid(PROBES, None, 1, 0.6, 1000)


def test_neighbours_as_far_as_the_last_one_do_not_make_up_for_a_nearer_one() -> None:
    exact = np.array([[0, 2, 2, 2]], np.float32)
    assert recall_by_distance(np.array([[2, 2, 2]], np.float32), exact, 3) == pytest.approx(2 / 3)
    assert recall_by_distance(np.array([[0, 2, 2]], np.float32), exact, 3) == 1
    assert recall_by_distance(np.array([[0, 0, 0]], np.float32), exact, 3) == pytest.approx(1 / 3)


def test_of_hidden_queries_and_those_that_find_themselves_the_lower_recall_counts() -> None:
    # Everything is at distance 2 from everything else, as between one-hot rows.
    queries = CalibrationQueries(
        vectors=np.zeros((20, 2), np.float32), source="given", rows=np.array([*range(10), *[-1] * 10])
    )
    expected = np.full((20, 10), 2, np.float32)
    expected[10:, 0] = 0

    def search(k: int, params: dict[str, float]) -> Measured:
        found = np.full((20, k), 2, np.float32)
        found[10 : 10 + int(params["nprobe"]), 0] = 0
        return Measured(distances=found, reads=params["nprobe"])

    table = calibrate(PROBES, search, expected, queries, None)["tables"]
    assert [row["recall"] for row in table["1"]] == [0.1, 0.2, 0.4]
    assert [row["recall"] for row in table["10"]] == [0.91, 0.92, 0.94]


def test_the_grid_grows_until_a_high_recall_or_its_limits() -> None:
    grid = CalibrationGrid(
        coarse="nprobe", coarse_values=(4,), fine="rerank", fine_values=(10,), whole_numbers=True,
        limits={"nprobe": 20, "rerank": 15},
    )  # fmt: skip

    def search(k: int, params: dict[str, float]) -> Measured:
        found = np.full((100, k), 2, np.float32)
        found[: int(params["nprobe"] * params["rerank"] / 3)] = 1
        return Measured(distances=found, reads=1)

    expected = np.ones((100, 1), np.float32)
    rows = calibrate(grid, search, expected, queries_of(100), None)["tables"]["1"]
    assert [(row["nprobe"], row["rerank"]) for row in rows] == [(4, 10), (6, 15), (9, 15), (14, 15), (20, 15)]
    rows = calibrate(grid, lambda k, params: search(k, {**params, "rerank": 0}), expected, queries_of(100), None)
    assert [row["nprobe"] for row in rows["tables"]["1"]] == [4, 6, 9, 14, 20]
    assert reached(rows) == {1: 0}


def test_few_queries_ask_for_more_than_the_target() -> None:
    rows = [row(10, 0.0, 0.90, 10), row(20, 0.0, 0.93, 20), row(40, 0.0, 1.0, 40)]
    lists = {}
    for queries in (10, 500, math.inf):
        calibration = {**table(k10=rows), "queries": queries}
        lists[queries] = choose(calibration, 10, 0.9, 1000).params["search_list"]
    assert lists == {10: 20, 500: 20, math.inf: 10}
    # What is out of reach with that is still taken when the target itself is not.
    assert choose({**table(k10=rows), "queries": 4}, 10, 1.0, 1000).note is None


def scanned(calls: list[tuple[int, dict[str, float]]], *, compared: float) -> Any:
    """Finds nothing, and compares so many vectors for a query in each cluster."""

    def search(k: int, params: dict[str, float]) -> Measured:
        calls.append((k, params))
        found = np.full((100, k), 2, np.float32)
        return Measured(distances=found, reads=params["nprobe"], compared=compared * params["nprobe"])

    return search


def test_a_search_that_does_not_depend_on_k_runs_once_for_all() -> None:
    grid = CalibrationGrid(fine="nprobe", fine_values=(1, 2, 4), whole_numbers=True)
    calls: list[tuple[int, dict[str, float]]] = []
    result = calibrate(grid, scanned(calls, compared=1), np.ones((100, 100), np.float32), queries_of(100), None)
    assert calls == [(100, {"nprobe": 1}), (100, {"nprobe": 2}), (100, {"nprobe": 4})]
    assert list(result["tables"]) == ["1", "10", "100"]
    assert [[row["nprobe"] for row in rows] for rows in result["tables"].values()] == [[1, 2, 4]] * 3


def test_a_budget_ends_the_tables_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    grid = CalibrationGrid(fine="nprobe", fine_values=(1, 2, 4, 8), whole_numbers=True, limits={"nprobe": 64})
    calls: list[tuple[int, dict[str, float]]] = []
    with caplog.at_level("INFO", "tiervec.engine.calibration"):
        result = calibrate(
            grid, scanned(calls, compared=10), np.ones((100, 10), np.float32), queries_of(100), None, budget=3000
        )
    assert [params["nprobe"] for _, params in calls] == [1, 2]  # 10 vectors in each of 3 clusters for 100 queries
    assert [[row["nprobe"] for row in rows] for rows in result["tables"].values()] == [[1, 2], [1, 2]]
    assert caplog.messages == [
        f"calibration: k={k} ends before nprobe=4, because 3,000 vectors were compared, of 3,000 that may be"
        for k in (1, 10)
    ]


def test_a_budget_leaves_each_k_its_part_and_counts_codes(caplog: pytest.LogCaptureFixture) -> None:
    grid = CalibrationGrid(
        coarse="nprobe", coarse_values=(1, 2, 4), fine="rerank", fine_values=(10, 20), at_least_k="rerank",
        whole_numbers=True, code_weight=0.1,
    )  # fmt: skip
    calls: list[int] = []

    def search(k: int, params: dict[str, float]) -> Measured:
        calls.append(k)
        return Measured(distances=np.full((100, k), 2, np.float32), reads=1, code_distances=100)

    expected = np.ones((100, 100), np.float32)
    with caplog.at_level("INFO", "tiervec.engine.calibration"):
        result = calibrate(grid, search, expected, queries_of(100), None, budget=6000)
        assert calls == [1] * 2 + [10] * 2 + [100] * 2
        assert len(caplog.messages) == 3
        calls.clear()
        result = calibrate(grid, search, expected, queries_of(100), None, budget=1)
    assert calls == [1, 10, 100]  # a table has one row in any case
    assert {k: len(rows) for k, rows in result["tables"].items()} == {"1": 1, "10": 1, "100": 1}


def test_a_graph_ends_at_a_budget_too() -> None:
    found = np.full((100, 1), 2, np.float32)
    calls: list[dict[str, float]] = []

    def search(k: int, params: dict[str, float]) -> Measured:
        calls.append(params)
        return Measured(distances=found, reads=len(calls), compared=1)

    for budget in (1, 200, 100 * 13):
        calls.clear()
        result = calibrate(
            CALIBRATION_GRID, search, np.ones((100, 1), np.float32), queries_of(100), None, budget=budget
        )
        assert len(calls) == -(-budget // 100)
        assert all(row in [{**row, **params} for params in calls] for row in result["tables"]["1"])
        assert choose(result, 1, 0.9, 1000).note is not None
