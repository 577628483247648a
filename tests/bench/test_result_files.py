"""Files of runs: written once, read back, put together."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiervec.bench.result_files import (
    load_advice,
    load_profiles,
    load_results,
    read_result,
    read_run_info,
    write_advice,
    write_profile,
    write_result,
    write_run_info,
)
from tiervec.bench.results import AdviceResult, ProfileResult, Result, RunInfo
from tiervec.errors import (
    AlreadyExistsError,
    DataLossError,
    InvalidArgumentError,
    NotFoundError,
    TiervecError,
    UnsupportedError,
)

Make = Callable[..., Result]


def write_run(folder: Path, *results: Result) -> Path:
    write_run_info(folder, RunInfo(run=folder.name, plan="", began="2026-01-01", environment={}))
    for number, result in enumerate(results):
        write_result(folder, f"cell-{number}", result)
    return folder


def test_a_result_comes_back_as_it_was(tmp_path: Path, make_result: Make) -> None:
    result = make_result(notes=("said",), search={"ef": 3})
    assert read_result(write_result(tmp_path, "x", result)) == result


def test_results_are_not_rewritten(tmp_path: Path, make_result: Make) -> None:
    path = write_result(tmp_path, "x", make_result())
    before = path.read_bytes()
    with pytest.raises(AlreadyExistsError, match="not rewritten"):
        write_result(tmp_path, "x", make_result(qps=(1.0,)))
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["x.json"]


@pytest.mark.parametrize("format", [0, 2, "1", None])
def test_another_format_is_refused(tmp_path: Path, make_result: Make, format: Any) -> None:
    path = write_result(tmp_path, "x", make_result())
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": format}))
    with pytest.raises(UnsupportedError, match=f"format {format!r}; this version reads 1"):
        read_result(path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"status": "fine"}, "'fine' is none of ok, crashed"),
        ({"repeats": 3}, "3 is no list"),
        ({"repeats": [{"round": "0"}]}, "'0' is no int"),
        ({"cell": []}, "is no object"),
        ({"extra": 1}, "unknown key extra"),
        ({"run": None}, "None is no str"),
    ],
)
def test_a_damaged_result_is_named(tmp_path: Path, make_result: Make, change: dict[str, Any], says: str) -> None:
    path = write_result(tmp_path, "x", make_result())
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataLossError, match=says) as raised:
        read_result(path)
    assert str(path) in str(raised.value)


def test_a_missing_key_is_data_loss(tmp_path: Path, make_result: Make) -> None:
    path = write_result(tmp_path, "x", make_result())
    document = json.loads(path.read_text())
    del document["cell"]
    path.write_text(json.dumps(document))
    with pytest.raises(DataLossError, match="cell"):
        read_result(path)


@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5).map(
        lambda value: json.dumps({"format": 1, "cell": value, "repeats": value}).encode()
    )
)
def test_no_file_brings_the_reader_down(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "x.json"
    path.write_bytes(content)
    with pytest.raises(TiervecError):
        read_result(path)


def test_a_folder_without_a_run_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"run\.json does not exist"):
        load_results([tmp_path])


def test_runs_are_put_together(tmp_path: Path, make_result: Make) -> None:
    first = write_run(tmp_path / "a", make_result("x"), make_result("y"))
    second = write_run(tmp_path / "b", make_result("z"))
    assert [result.cell.label for result in load_results([first, second])] == ["x", "y", "z"]
    assert read_run_info(first).run == "a"


@pytest.mark.parametrize("key", ["cpu", "allowed_cpus", "kernel", "memory_bytes"])
def test_unlike_machines_are_refused_unless_allowed(tmp_path: Path, make_result: Make, key: str) -> None:
    here = make_result()
    there = dataclasses.replace(here, run="r2", environment={**here.environment, key: "other"})
    runs = [write_run(tmp_path / "a", here), write_run(tmp_path / "b", there)]
    with pytest.raises(InvalidArgumentError, match=f"unlike machines: {key} is .* in run r and 'other' in run r2"):
        load_results(runs)
    assert len(load_results(runs, allow_mixed=True)) == 2


def test_another_ground_truth_is_refused_even_when_machines_may_mix(tmp_path: Path, make_result: Make) -> None:
    other = make_result()
    dataset = dataclasses.replace(other.cell.dataset, ground_truth_checksum="dd")
    other = dataclasses.replace(other, cell=dataclasses.replace(other.cell, dataset=dataset))
    runs = [write_run(tmp_path / "a", make_result()), write_run(tmp_path / "b", other)]
    with pytest.raises(InvalidArgumentError, match=r"small of 1,000 vectors has other .* recalls cannot be compared"):
        load_results(runs, allow_mixed=True)


def test_other_slices_are_other_data(tmp_path: Path, make_result: Make) -> None:
    other = make_result()
    dataset = dataclasses.replace(other.cell.dataset, slice=10, n=10, checksum="ee", ground_truth_checksum="dd")
    other = dataclasses.replace(other, cell=dataclasses.replace(other.cell, dataset=dataset))
    assert len(load_results([write_run(tmp_path / "a", make_result(), other)])) == 2


def test_profiles_come_back(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a")
    profile = ProfileResult(
        run="a", experiment="devices", tier="dram:", provenance="memory", status="ok", profile={"rows": [1]}
    )
    write_profile(run, "dram", profile)
    assert load_profiles([run]) == [profile]


def test_advice_comes_back(tmp_path: Path, make_result: Make) -> None:
    run, cell = write_run(tmp_path / "a"), make_result(target_recall=0.9).cell
    advice = AdviceResult(
        run="a",
        experiment="advice",
        cell=cell,
        provenance="memory",
        status="ok",
        check={"figures": {"QPS": {"predicted": 2.0, "measured": 1.0, "error": 1.0}}},
        recommended="graph graph_degree=32",
        samples=(1000, 4000),
        notes=("a sentence",),
    )
    failed = AdviceResult(
        run="a", experiment="advice", cell=cell, provenance="memory", status="failed", reason="no such tier"
    )
    write_advice(run, "a", advice)
    write_advice(run, "b", failed)
    assert load_advice([run]) == [advice, failed]
    with pytest.raises(AlreadyExistsError, match="results are not rewritten"):
        write_advice(run, "a", failed)
