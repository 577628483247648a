"""The plans that come with the package are valid, and every experiment has a figure."""

from __future__ import annotations

import pytest

from tiervec.bench.plan import load_plan
from tiervec.bench.systems.registry import SYSTEMS
from tiervec.cluster_index.params import ClusterBuildParams
from tiervec.graph_index.params import GraphBuildParams, GraphSearchParams

FIGURES = ("devices", "dilemma", "same-graph", "ablation", "kinds", "recall", "latency", "memory", "growth", "advice")


@pytest.mark.parametrize("name", ["study", "quick"])
def test_every_experiment_has_a_figure(name: str) -> None:
    plan = load_plan(name)
    for experiment in plan.experiments:
        assert experiment.name.startswith(FIGURES), experiment.name
        assert experiment.repeats >= 5
    assert {figure for figure in FIGURES if any(each.name.startswith(figure) for each in plan.experiments)} == set(
        FIGURES
    )


@pytest.mark.parametrize("name", ["study", "quick"])
def test_every_experiment_has_its_control(name: str) -> None:
    assert [each.name for each in load_plan(name).experiments if not each.control] == []


def test_every_free_peer_is_in_the_study() -> None:
    (recall,) = (each for each in load_plan("study").experiments if each.name == "recall-peers")
    assert {entry.system for entry in recall.systems} == {name for name, spec in SYSTEMS.items() if not spec.imports}
    on_disk = {entry.label for entry in recall.systems if "ssd:" in entry.tiers}
    assert on_disk == {"graph, sectors", "cluster, replicated"}


def test_the_quick_study_needs_no_data_of_ones_own() -> None:
    datasets = {dataset for each in load_plan("quick").experiments for dataset in each.datasets}
    assert all(dataset.startswith("synthetic:") for dataset in datasets)


@pytest.mark.parametrize("name", ["study", "quick", "smoke", "growth-large", "battery"])
def test_parameters_of_our_indexes_are_possible(name: str) -> None:
    kinds = {
        "tiervec-graph": (GraphBuildParams, GraphSearchParams),
        "tiervec-diskann": (GraphBuildParams, GraphSearchParams),
        "tiervec-cluster": (ClusterBuildParams, None),
    }
    checked = 0
    for experiment in load_plan(name).experiments:
        for setting in (each for group in experiment.groups() for each in group.settings):
            if setting.system in kinds:
                checked += 1
                build, search = kinds[setting.system]
                build(**setting.build)
                if search is not None:
                    opening = SYSTEMS[setting.system].opening_keys
                    fixed = {key: value for key, value in setting.search.items() if key not in opening}
                    tuned = [{setting.tune[0]: value} for value in setting.tune[1]] if setting.tune else [{}]
                    for each in tuned:
                        search(**{**fixed, **each})
    assert checked > 0
