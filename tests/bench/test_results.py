from __future__ import annotations

from collections.abc import Callable

from tiervec.bench.results import Result, cell_id

Make = Callable[..., Result]


def test_figures_by_round(make_result: Make) -> None:
    result = make_result(qps=(100.0, 300.0, 200.0))
    assert result.rounds("qps") == {0: 100.0, 1: 300.0, 2: 200.0}
    assert result.median("qps") == 200.0
    assert result.median("latency_us.p99") == 5000.0
    assert result.median("reads_per_query") is None


def test_cells_have_names_of_their_own(make_result: Make) -> None:
    cells = [make_result(search={"ef": ef}).cell for ef in (1, 2)] + [make_result(threads=1).cell]
    names = {cell_id(experiment, cell) for cell in cells for experiment in ("one", "two")}
    assert len(names) == 6
    assert cell_id("one", cells[0]) == cell_id("one", make_result(search={"ef": 1}).cell)
