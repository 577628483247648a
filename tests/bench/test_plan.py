from __future__ import annotations

from pathlib import Path

import pytest

from tiervec.bench.plan import STUDIES, load_plan, parse_plan
from tiervec.bench.systems.registry import find_system
from tiervec.errors import InvalidArgumentError, NotFoundError

PLAN = """
title = "T"
repeats = 7
queries = 50

[limits]
search_s = 3

[[experiment]]
name = "recall"
datasets = ["sample", "sift1m:100k"]
k = [1, 10]
threads = [1, 2]
target_recall = 0.9
warmups = 0

[[experiment.system]]
system = "tiervec-graph"
label = "graph"
tiers = ["dram:", "mmap:"]
build = { graph_degree = [16, 32], code_bits = 4 }
search = { beam_width = [1, 4] }
tune = { search_list = [10, 20] }

[[experiment.system]]
system = "hnswlib"

[[experiment]]
name = "devices"
kind = "profile"
tiers = "dram:"

[[experiment]]
name = "advice"
kind = "advice"
datasets = ["sample", "sift1m:100k"]
tiers = "mmap:"
systems = ["tiervec-cluster"]
"""


def test_a_plan_is_every_combination() -> None:
    plan = parse_plan(PLAN, "p")
    recall, devices, advice = plan.experiments
    groups = recall.groups()
    assert [(group.dataset, group.k, group.threads) for group in groups][:3] == [
        ("sample", 1, 1),
        ("sample", 1, 2),
        ("sample", 10, 1),
    ]
    assert len(groups) == 8
    graph = [setting for setting in groups[0].settings if setting.label == "graph"]
    assert len(graph) == 8
    assert graph[0].build == {"graph_degree": 16, "code_bits": 4}
    assert graph[0].tune == ("search_list", (10, 20))
    hnsw = groups[0].settings[-1]
    assert (hnsw.label, hnsw.tier, hnsw.build, hnsw.tune) == ("hnswlib", None, {}, None)
    assert (recall.repeats, recall.warmups, recall.control, recall.queries) == (7, 0, True, 50)
    assert (plan.limits.search_s, plan.limits.build_s, plan.text, plan.seed) == (3.0, 7200.0, PLAN, 1)
    assert devices.tiers == ("dram:",)
    assert devices.groups() == []
    assert (advice.target_recall, advice.queries) == (0.95, 50)
    assert [(group.dataset, group.k) for group in advice.groups()] == [("sample", 10), ("sift1m:100k", 10)]
    assert [(each.system, each.tier) for each in advice.groups()[0].settings] == [("tiervec-cluster", "mmap:")]


def test_advice_is_for_both_kinds_of_index() -> None:
    text = edited('systems = ["tiervec-cluster"]\n', "k = [1, 10]\ntarget_recall = 0.9\n")
    advice = parse_plan(text, "p").experiments[-1]
    assert (advice.k, advice.target_recall) == ((1, 10), 0.9)
    assert [each.label for each in advice.groups()[0].settings] == ["tiervec-graph", "tiervec-cluster"]


def test_arrival_rates_are_a_grid_too() -> None:
    text = """
[[experiment]]
name = "a"
datasets = "sample"
mode = "open"
arrival_qps = [10, 20.5]
[[experiment.system]]
system = "hnswlib"
"""
    group = parse_plan(text, "p").experiments[0].groups()[0]
    assert [setting.arrival_qps for setting in group.settings] == [10.0, 20.5]
    assert group.batch == 1


def edited(old: str, new: str) -> str:
    assert old in PLAN
    return PLAN.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", r"has no \[\[experiment\]\]"),
        ("x = ", "is not TOML"),
        (edited("repeats = 7", "repeat = 7"), "unknown key 'repeat'; known: repeats"),
        (edited("repeats = 7", "repeats = 0"), "'recall': repeats is 0; it must be at least 1"),
        (edited("repeats = 7", "repeats = 7.5"), "repeats is 7.5; it must be an integer"),
        (edited("repeats = 7", "repeats = true"), "repeats is True; it must be an integer"),
        (edited("search_s = 3", "search_s = 0"), "search_s is 0.0; it must be above 0"),
        (edited("search_s = 3", "serch_s = 3"), "unknown key 'serch_s'"),
        (edited('name = "recall"\n', ""), "has no name"),
        (edited('datasets = ["sample", "sift1m:100k"]\n', ""), "has no datasets"),
        (edited('["sample", "sift1m:100k"]', "[]"), "needs datasets"),
        (edited('["sample", "sift1m:100k"]', "[3]"), "datasets is 3; it must be a string"),
        (edited("k = [1, 10]", "k = 0"), "k is 0; it must be at least 1"),
        (edited("k = [1, 10]", "k = []"), r"k is \[\]; it must have at least one value"),
        (edited("search_s = 3", "search_s = inf"), "search_s is inf; it must be finite"),
        (edited("target_recall = 0.9", "target_recall = nan"), "target_recall is nan; it must be finite"),
        (edited("code_bits = 4", "code_bits = nan"), "code_bits must be finite"),
        (edited("beam_width = [1, 4]", "target_recall = '0.9'"), "target_recall is '0.9'; it must be a number"),
        (edited("target_recall = 0.9", "target_recall = 1.5"), "target_recall is 1.5"),
        (edited("target_recall = 0.9", ""), "tune needs a target_recall"),
        (edited("search_list = [10, 20] }", "search_list = [10], nprobe = 3 }"), "tune has 2 parameters"),
        (edited("code_bits = 4", "code_bits = []"), "code_bits must be"),
        (edited("code_bits = 4", "code_bits = {a = 1}"), "code_bits must be"),
        (edited("warmups = 0", 'mode = "ajar"'), "mode is 'ajar'; it must be closed or open"),
        (edited("warmups = 0", 'mode = "open"'), "need each other"),
        (edited("warmups = 0", "arrival_qps = 3"), "need each other"),
        (edited("warmups = 0", 'mode = "open"\narrival_qps = 3\nbatch = 0'), "batch is 0"),
        (edited('name = "devices"', 'name = "recall"'), "two experiments 'recall'"),
        (edited('tiers = "dram:"', ""), "has no tiers"),
        (edited('tiers = "mmap:"', ""), "'advice' has no tiers"),
        (edited('tiers = "mmap:"', "tiers = []"), "'advice' needs tiers"),
        (edited('"tiervec-cluster"]', '"hnswlib"]'), "systems has 'hnswlib'; the advisor knows tiervec-graph and"),
        (edited('["tiervec-cluster"]', "[]"), r"'advice': systems is \[\]; it must have at least one value"),
        (edited('tiers = "mmap:"', 'tiers = "mmap:"\ntarget_recall = 0'), "target_recall is 0"),
        (edited('tiers = "mmap:"', 'tiers = "mmap:"\nthreads = 1'), "unknown key 'threads'; known: name, kind"),
        (edited('label = "graph"', "label = 3"), r"\(tiervec-graph\): label is 3; it must be a string"),
        (edited("[limits]", "[[limits]]"), "limits is .* it must be a table"),
    ],
)
def test_a_wrong_plan_is_one_sentence(text: str, says: str) -> None:
    with pytest.raises(InvalidArgumentError, match=says) as raised:
        parse_plan(text, "p", "my.toml")
    assert "my.toml" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_plans_are_found_by_name_or_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(PLAN)
    assert load_plan(path).name == "mine"
    with pytest.raises(NotFoundError, match=r"there is no plan 'mine'; use .*smoke"):
        load_plan("mine")
    with pytest.raises(NotFoundError, match="reading the plan"):
        load_plan(tmp_path / "other.toml")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidArgumentError, match="not UTF-8"):
        load_plan(path)


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_plans_of_the_package_are_right(path: Path) -> None:
    settings = [
        setting
        for experiment in load_plan(path).experiments
        for group in experiment.groups()
        for setting in group.settings
    ]
    assert settings
    for setting in settings:
        assert find_system(setting.system).name == setting.system
