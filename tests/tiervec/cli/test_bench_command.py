from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIERVEC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_list_says_what_is_at_hand(command: Any) -> None:
    document = command("bench", "list", "--json").document
    datasets = {entry["name"]: entry for entry in document["datasets"]}
    assert datasets["sample"]["at_hand"]
    assert not datasets["bigann"]["at_hand"]
    systems = {entry["name"]: entry["state"] for entry in document["systems"]}
    assert systems["tiervec-graph"] == "here"
    assert systems["diskannpy-disk"] == "`setup`"
    assert systems["tiervec-diskann"] == "`setup`"  # of what it imports
    assert "smoke" in [entry["name"] for entry in document["plans"]]
    text = command("bench", "list").out
    assert "1,000,000,000 x 128 uint8" in text
    assert "`fetch`" in text


def test_what_is_at_hand_is_not_fetched(command: Any) -> None:
    outcome = command("bench", "fetch", "sample")
    assert (outcome.status, outcome.out) == (0, "sample is at hand: nothing to fetch\n")


def test_files_of_ones_own_get_a_name(command: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "base.npy", np.eye(50, 8, dtype=np.float32))
    outcome = command("bench", "fetch", "mine", "--path", tmp_path / "base.npy", "--metric", "ip")
    assert (outcome.status, outcome.out) == (0, f"mine is {tmp_path / 'base.npy'}\n")
    from tiervec.bench.datasets import open_dataset

    assert open_dataset("mine").metric == "ip"


@pytest.mark.parametrize(
    ("name", "asked", "metric"),
    [("msmarco", [], "ip"), ("msmarco", ["--metric", "cosine"], "cosine"), ("own", [], "l2")],
)
def test_files_of_a_registered_set_have_its_metric(
    command: Any, tmp_path: Path, name: str, asked: list[str], metric: str
) -> None:
    from tiervec.bench.datasets import open_dataset

    np.save(tmp_path / "base.npy", np.eye(50, 8, dtype=np.float32))
    assert command("bench", "fetch", name, "--path", tmp_path / "base.npy", *asked).status == 0
    assert open_dataset(name).metric == metric


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["fetch", "nothing"], 1, "there is no data set 'nothing'"),
        (["fetch", "msmarco"], 1, "cannot be downloaded by itself"),
        (["fetch", "sample", "--queries", "q.npy"], 2, "need --path"),
        (["fetch", "mine", "--path", "/nowhere.npy"], 1, "/nowhere.npy"),
        (["setup", "diskann"], 1, "there is no system 'diskann'"),
        (["setup", "scalable-vs"], 1, "then give --accept-licence"),
        (["run", "nothing"], 1, "there is no plan 'nothing'"),
        (["run", "smoke", "--experiment", "x"], 1, "plan smoke has no experiment 'x'; it has recall, target, arrivals"),
        (["run", "smoke", "--quick"], 1, "--quick is the shorter form of the plan study"),
        (["compare", "/nowhere", "--a", "x", "--b", "y"], 1, "run.json does not exist"),
        (["compare", "/nowhere", "--a", "x"], 2, "--b"),
        (["compare", "/nowhere", "--a", "x", "--b", "y", "--recall", "2"], 2, "at most 1"),
        ([], 2, "COMMAND"),
    ],
)
def test_a_mistake_is_one_line(command: Any, arguments: list[str], status: int, says: str) -> None:
    outcome = command("bench", *arguments)
    assert outcome.status == status
    assert says in outcome.err
    if status == 1:
        assert len(outcome.err.splitlines()) == 1


def test_a_system_that_runs_here_needs_no_setup(command: Any) -> None:
    assert "(this environment)" in command("bench", "setup", "hnswlib").out


@pytest.mark.parametrize("name", ["list", "fetch", "setup", "run", "compare", "report"])
def test_every_subcommand_explains_itself(command: Any, name: str) -> None:
    outcome = command("bench", name, "--help")
    assert outcome.status == 0
    assert f"tiervec bench {name}" in outcome.out
