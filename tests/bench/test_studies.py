"""The plans that come with the package are valid, and every experiment has a figure."""

from __future__ import annotations

import pytest

from tiervec.bench.plan import load_plan

FIGURES = ("devices", "dilemma", "ablation", "kinds", "recall", "latency", "memory", "growth")


@pytest.mark.parametrize("name", ["study", "quick"])
def test_every_experiment_has_a_figure(name: str) -> None:
    plan = load_plan(name)
    for experiment in plan.experiments:
        assert experiment.name.startswith(FIGURES), experiment.name
        assert experiment.repeats >= 5
    assert {figure for figure in FIGURES if any(each.name.startswith(figure) for each in plan.experiments)} == set(
        FIGURES
    )


def test_the_quick_study_needs_no_data_of_ones_own() -> None:
    datasets = {dataset for each in load_plan("quick").experiments for dataset in each.datasets}
    assert all(dataset.startswith("synthetic:") for dataset in datasets)
