from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest

from tiervec.bench.compare import compare
from tiervec.bench.results import Result
from tiervec.errors import InvalidArgumentError, NotFoundError

Make = Callable[..., Result]


def test_the_ratio_is_of_each_round(make_result: Make) -> None:
    results = [make_result("a", (200.0, 100.0, 300.0), 0.95), make_result("b", (100.0, 50.0, 100.0), 0.95)]
    (found,) = compare(results, "a", "b", recalls=[0.95])
    assert (found.ratio.median, found.ratio.low, found.ratio.high) == (2.0, 2.0, 3.0)
    assert (found.a.median, found.b.median) == (200.0, 100.0)
    assert found.control is not None
    assert found.control.median == pytest.approx(1.01)
    assert found.interleaved
    assert (found.difference, found.note) == ("higher", "")


def test_between_two_cells_the_figure_is_read_off(make_result: Make) -> None:
    results = [
        make_result("a", (400.0,), 0.90, search={"ef": 1}),
        make_result("a", (100.0,), 0.98, search={"ef": 2}),
        make_result("b", (100.0,), 0.94),
    ]
    (found,) = compare(results, "a", "b", recalls=[0.94])
    assert found.a.median == pytest.approx(math.sqrt(400 * 100))


def test_a_cell_that_another_beats_in_both_does_not_count(make_result: Make) -> None:
    results = [
        make_result("a", (50.0,), 0.91, search={"ef": 9}),
        make_result("a", (400.0,), 0.95, search={"ef": 1}),
        make_result("b", (100.0,), 0.91),
    ]
    (found,) = compare(results, "a", "b", recalls=[0.91])
    assert found.a.median == 400.0
    assert "read at recall 0.9500, the least that was measured" in found.note


def test_a_recall_that_is_not_reached_is_said(make_result: Make) -> None:
    results = [make_result("a", (400.0,), 0.90), make_result("b", (100.0,), 0.99)]
    (found,) = compare(results, "a", "b", recalls=[0.95])
    assert "a reaches only recall 0.9000" in found.note


def test_a_latency_is_better_when_it_is_lower(make_result: Make) -> None:
    results = [
        make_result("a", (400.0,), 0.95, search={"ef": 1}),
        make_result("a", (100.0,), 0.95, search={"ef": 2}),
        make_result("b", (100.0,), 0.95),
    ]
    (found,) = compare(results, "a", "b", figure="latency_us.p99", recalls=[0.95])
    assert found.ratio.median == pytest.approx(0.25)
    assert found.difference == "lower"


@pytest.mark.parametrize("qps", [(100.5, 101.0), (99.0, 102.0)])
def test_what_the_control_shows_too_is_no_difference(make_result: Make, qps: tuple[float, ...]) -> None:
    results = [make_result("a", qps, 0.95), make_result("b", (100.0, 100.0), 0.95)]
    (found,) = compare(results, "a", "b")
    assert found.difference == "none"


def test_what_was_not_measured_in_turn_is_said(make_result: Make) -> None:
    results = [make_result("a", (200.0, 100.0), 0.95), make_result("b", (100.0, 50.0), 0.95, group="other")]
    (found,) = compare(results, "a", "b")
    assert not found.interleaved
    assert "not measured in turn" in found.note
    assert found.ratio.low == pytest.approx(100 / 75)


def test_without_recalls_usual_ones_or_the_target(make_result: Make) -> None:
    def curve(label: str) -> list[Result]:
        return [make_result(label, (100.0 / recall,), recall, search={"r": recall}) for recall in (0.85, 0.96)]

    assert [each.recall for each in compare(curve("a") + curve("b"), "a", "b")] == [0.9, 0.95]
    tuned = [make_result(label, (1.0,), 0.93, target_recall=0.92) for label in "ab"]
    assert [each.recall for each in compare(tuned, "a", "b")] == [0.92]


def test_a_name_with_several_tiers_must_choose(make_result: Make) -> None:
    results = [make_result("a", tier=tier) for tier in ("dram:", "mmap:")] + [make_result("b")]
    with pytest.raises(InvalidArgumentError, match="'a' was measured on dram:, mmap:; choose one as a@dram:"):
        compare(results, "a", "b")
    assert len(compare(results, "a@mmap:", "b")) == 1
    with pytest.raises(InvalidArgumentError):
        compare(results, "tiervec-graph", "b")


def test_unlike_machines_are_curves_of_their_own(make_result: Make) -> None:
    other = {**make_result().environment, "cpu": "Slow 2"}
    results = [make_result("a", (400.0,), 0.95), make_result("b", (200.0,), 0.95)]
    assert compare(results, "a", "b")[0].machines == ()
    results.append(make_result("a", (100.0,), 0.95, environment=other, group="of the other machine"))
    found = {each.machines: each for each in compare(results, "a", "b")}
    assert {machines: each.ratio.median for machines, each in found.items()} == {("A", "A"): 2.0, ("B", "A"): 0.5}
    assert "unlike machines" not in found["A", "A"].note
    assert "unlike machines" in found["B", "A"].note
    of_itself = [each.machines for each in compare(results, "a", "a")]
    assert of_itself == [("A", "A"), ("A", "B"), ("B", "B")]


def test_what_cannot_be_compared(make_result: Make) -> None:
    crashed = dataclasses.replace(make_result("c"), status="crashed")
    results = [make_result("a"), make_result("b", experiment="other"), crashed]
    with pytest.raises(NotFoundError, match="no finished cell of 'c'; measured: a, b"):
        compare(results, "a", "c")
    with pytest.raises(NotFoundError, match="not measured on the same data"):
        compare(results, "a", "b")
    with pytest.raises(InvalidArgumentError, match="'speed' is no figure"):
        compare(results, "a", "a", figure="speed")
    with pytest.raises(InvalidArgumentError, match="has no figure 'reads_per_query'"):
        compare(results, "a", "a", figure="reads_per_query")


@pytest.mark.parametrize("figure", ["latency_us", "queries.x", "nonsense"])
def test_what_is_no_figure_is_named(make_result: Make, figure: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"'{figure}' is no figure; use qps"):
        compare([make_result("a"), make_result("b")], "a", "b", figure=figure)


def test_there_is_no_ratio_to_nothing(make_result: Make) -> None:
    with pytest.raises(InvalidArgumentError, match="unanswered of a is 0 in a round"):
        compare([make_result("a"), make_result("b")], "a", "b", figure="unanswered")
