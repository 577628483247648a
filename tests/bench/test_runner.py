"""Runs of plans with systems that misbehave on demand."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec.bench.datasets import LocalFiles, remember_files
from tiervec.bench.plan import parse_plan
from tiervec.bench.result_files import load_advice, load_profiles, load_results
from tiervec.bench.results import Result
from tiervec.bench.runner import RunOptions, RunSummary, run_plan
from tiervec.bench.systems.process import SystemFailedError, SystemProcess
from tiervec.bench.systems.registry import SystemSpec
from tiervec.errors import (
    DiskFullError,
    InvalidArgumentError,
    NotFoundError,
    TiervecError,
    UnavailableError,
)

Run = Callable[..., RunSummary]
RNG = np.random.default_rng(6)

HEAD = """
repeats = 2
[limits]
build_s = 300
search_s = 300
[[experiment]]
name = "e"
datasets = "mine"
threads = 1
k = 5
"""
GOOD = '[[experiment.system]]\nsystem = "good"\n'


@pytest.fixture(autouse=True)
def data(tmp_path: Path, own_cache: Path) -> None:
    np.save(tmp_path / "base.npy", RNG.normal(size=(200, 4)).astype(np.float32))
    np.save(tmp_path / "queries.npy", RNG.normal(size=(20, 4)).astype(np.float32))
    files = LocalFiles(base=str(tmp_path / "base.npy"), queries=str(tmp_path / "queries.npy"))
    remember_files("mine", files)


@pytest.fixture
def run(tmp_path: Path, own_cache: Path, find_fake: Callable[[str], SystemSpec]) -> Run:
    def run(text: str, name: str = "r", find: Any = find_fake, progress: Any = None, **options: Any) -> RunSummary:
        chosen = RunOptions(folder=tmp_path / "results" / name, cache=own_cache, **options)
        return run_plan(parse_plan(text, "p"), chosen, progress=progress, find=find)

    return run


@pytest.fixture
def impatient_with_what_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that hangs has a second; all others have the limits of the plan, however busy the machine is."""
    ask = SystemProcess.ask

    def limited(self: SystemProcess, request: Any, limit_s: float) -> dict[str, Any]:
        hangs = request["do"] in ("build", "search") and '"hang"' in json.dumps(request)
        return ask(self, request, 1.0 if hangs else limit_s)

    monkeypatch.setattr(SystemProcess, "ask", limited)


def by_label(summary: RunSummary) -> dict[str, Result]:
    return {result.cell.label: result for result in summary.results}


def builds(cache: Path) -> int:
    return sum(len(path.read_text().splitlines()) for path in (cache / "indexes").glob("*/builds"))


def test_a_cell_is_measured_in_rounds_with_its_control(run: Run, own_cache: Path) -> None:
    summary = run(HEAD + GOOD + "search = { good = [5, 3] }\n")
    assert summary.measured == 2
    assert [path.name for path in summary.folder.iterdir() if path.is_file()] == ["run.json"]
    full = next(result for result in summary.results if result.cell.search == {"good": 5})
    half = next(result for result in summary.results if result.cell.search == {"good": 3})
    assert [repeat.round for repeat in full.repeats] == [repeat.round for repeat in full.control] == [0, 1]
    assert full.median("recall") == 1.0
    assert half.median("recall") == pytest.approx(0.6)
    assert full.group == half.group != ""
    assert full.rounds("reads_per_query") == {0: 3.0, 1: 3.0}
    assert full.rounds("device_bound_qps") == {0: 1000.0, 1: 1000.0}
    assert full.repeats[0].fraction_of_limit == pytest.approx(full.repeats[0].qps / 1000)
    assert full.repeats[0].qps == pytest.approx(20 / full.repeats[0].seconds)
    assert full.notes == ("opened on None",)
    assert (full.provenance, full.status, full.reason) == ("memory", "ok", None)
    assert (full.cell.threads, full.cell.affinity) == (1, tuple(sorted(os.sched_getaffinity(0))))
    assert full.environment["cpu"] is not None
    build = full.build
    assert build.seconds is not None
    assert build.disk_bytes is not None
    assert build.disk_bytes > 200 * 16
    assert build.peak_bytes is not None
    assert (build.tier_bytes, build.amplification, build.version) == (500, 500 / 3200, "7")
    assert builds(own_cache) == 1  # two cells, one index


def test_the_cells_of_a_group_take_turns(run: Run) -> None:
    summary = run(HEAD.replace("repeats = 2", "repeats = 3") + GOOD + "search = { good = [1, 2, 3] }\n")
    order = sorted(
        (repeat.started, repeat.round, result.cell.search["good"], part)
        for result in summary.results
        for part, repeats in (("a", result.repeats), ("aa", result.control))
        for repeat in repeats
    )
    assert [(number, good, part) for _, number, good, part in order] == [
        (number, good, part)
        for number in range(3)
        for part in ("a", "aa")
        for good in ((1, 2, 3) if number % 2 == 0 else (3, 2, 1))
    ]


def test_indexes_that_do_not_fit_together_are_measured_after_each_other(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiervec.bench.group_run._available_bytes", lambda: 1 << 20)
    text = HEAD + "".join(f'[[experiment.system]]\nsystem = "{name}"\n' for name in "abc")
    results = run(text).results
    assert [result.status for result in results] == ["ok"] * 3
    assert len({result.group for result in results}) == 3
    assert all("memory did not suffice" in result.notes[-1] for result in results)


def test_a_module_that_was_edited_builds_anew(run: Run, fake_file: Path, own_cache: Path) -> None:
    from tiervec.bench.systems.registry import find_system

    text = HEAD + f'[[experiment.system]]\nsystem = "{fake_file}"\n'
    for name, expected in (("first", 1), ("same", 1), ("edited", 2)):
        if name == "edited":
            fake_file.write_text(fake_file.read_text() + "\n# as its author likes it better\n")
        assert [result.status for result in run(text, name, find=find_system).results] == ["ok"]
        assert builds(own_cache) == expected


def test_an_index_that_is_taken_has_no_build_figures(
    run: Run, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tiervec.bench.systems.registry import find_system

    text = HEAD + '[[experiment.system]]\nsystem = "tiervec-graph"\nbuild = { index = "mine" }\n'
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        monkeypatch.chdir(folder)
        tiervec.build(np.load(tmp_path / "base.npy"), "mine", params={"graph_degree": 8, "build_list": 16})
        (result,) = run(text, folder.name, find=find_system).results
        assert (result.status, result.build.seconds, result.build.peak_bytes) == ("ok", None, None)
    assert len(list((own_cache / "indexes").glob("tiervec-graph-*"))) == 2  # one name, two indexes


def test_callers_do_not_take_more_threads_than_their_peers(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3})
    text = HEAD.replace("threads = 1", "threads = 2\nbatch = 8") + '[[experiment.system]]\nsystem = "tiered"\n'
    with pytest.raises(InvalidArgumentError, match=r"2 callers with batch 8 would use all 4 CPUs.* set affinity to 2"):
        run(text)


def test_without_a_control(run: Run) -> None:
    summary = run(HEAD + "control = false\nwarmups = 0\n" + GOOD)
    assert summary.results[0].control == ()
    assert len(summary.results[0].repeats) == 2


@pytest.mark.parametrize(
    ("how", "status", "says"),
    [
        ("crash", "crashed", "ended by SIGSEGV; its last words: my last words"),
        ("fail", "failed", "ValueError: no such thing"),
        ("missing", "missing", "No module named"),
        ("hang", "hung", r"search took longer than 1 s and was ended"),
    ],
)
@pytest.mark.usefixtures("impatient_with_what_hangs")
@pytest.mark.realtime
def test_a_system_that_misbehaves_is_recorded_and_the_run_goes_on(run: Run, how: str, status: str, says: str) -> None:
    text = HEAD + GOOD
    bad = f'[[experiment.system]]\nsystem = "good"\nlabel = "bad"\nsearch = {{ do = "{how}" }}\n'
    found = by_label(run(text + bad))
    assert found["bad"].status == status
    assert says.replace("\\", "") in str(found["bad"].reason)
    assert found["bad"].repeats == ()
    # The same process served both: it was started again.
    assert found["good"].status == "ok"
    assert len(found["good"].repeats) == len(found["good"].control) == 2


@pytest.mark.parametrize(
    ("how", "status"), [("crash", "crashed"), ("fail", "failed"), ("missing", "missing"), ("hang", "hung")]
)
@pytest.mark.usefixtures("impatient_with_what_hangs")
@pytest.mark.realtime
def test_a_build_that_misbehaves_is_recorded_too(run: Run, own_cache: Path, how: str, status: str) -> None:
    bad = f'[[experiment.system]]\nsystem = "bad"\nbuild = {{ at_build = "{how}" }}\nsearch = {{ good = [1, 2] }}\n'
    summary = run(HEAD + bad + GOOD)
    assert [result.status for result in summary.results] == [status, status, "ok"]
    assert not list((own_cache / "indexes").glob("bad*"))


def test_a_system_without_its_environment_is_missing(run: Run) -> None:
    found = by_label(run(HEAD + GOOD + '[[experiment.system]]\nsystem = "walled"\n'))
    assert found["walled"].status == "missing"
    assert "`tiervec bench setup walled` makes it" in str(found["walled"].reason)
    assert found["good"].status == "ok"


def test_a_full_disk_ends_the_run_with_one_sentence(run: Run) -> None:
    bad = '[[experiment.system]]\nsystem = "bad"\nbuild = { at_build = "full" }\n'
    with pytest.raises(DiskFullError, match=r"bad: OSError: .*No space left on device; finished cells are kept"):
        run(HEAD + bad)


def test_a_disk_that_a_library_filled_ends_the_run(run: Run) -> None:
    bad = '[[experiment.system]]\nsystem = "bad"\nbuild = { at_build = "full in C++" }\n'
    with pytest.raises(DiskFullError, match=r"bad: the disk is full: RuntimeError: .*No space left"):
        run(HEAD + bad)


def test_a_build_that_fails_on_a_full_disk_ends_the_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = '[[experiment.system]]\nsystem = "bad"\nbuild = { at_build = "fail" }\n'
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=(16 << 20) - 1))
    with pytest.raises(DiskFullError, match="bad: the disk is full: ValueError: no such thing"):
        run(HEAD + bad)


def test_results_that_do_not_fit_end_the_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(DiskFullError, match=r"writing .* needs .* but only 100 are free"):
        run(HEAD + GOOD)


class Stopped(BaseException):
    pass


def test_an_interrupted_run_goes_on_where_it_was(run: Run, own_cache: Path) -> None:
    second = HEAD[HEAD.index("[[experiment]]") :].replace('name = "e"', 'name = "second"')
    text = HEAD + GOOD + second + GOOD

    def stop(stage: str, *_: Any) -> None:
        if stage.startswith("second"):
            raise Stopped

    with pytest.raises(Stopped):
        run(text, progress=stop)
    first = {path: path.read_bytes() for path in own_cache.parent.glob("results/r/cells/*")}
    assert len(first) == 1
    steps: list[tuple[int, int]] = []
    summary = run(text, progress=lambda stage, done, total, eta: steps.append((done, total)))
    assert summary.measured == 1
    assert [result.experiment for result in summary.results] == ["e", "second"]
    assert all(path.read_bytes() == content for path, content in first.items())
    assert builds(own_cache) == 1
    assert steps[-1] == (5, 5)  # one warm-up, two repeats, two of the control
    assert run(text).measured == 0


def test_only_the_experiments_that_were_asked_for(run: Run) -> None:
    rest = HEAD[HEAD.index("[[experiment]]") :]
    text = HEAD + GOOD + "".join(rest.replace('"e"', f'"{name}"') + GOOD for name in ("second", "third"))
    summary = run(text, experiments=("third", "e"))
    assert {result.experiment for result in summary.results} == {"e", "third"}
    summary = run(text)  # the rest, in the same folder
    assert (summary.measured, {result.experiment for result in summary.results}) == (1, {"e", "second", "third"})
    with pytest.raises(NotFoundError, match="plan p has no experiment 'fourth'; it has e, second, third"):
        run(text, experiments=("e", "fourth"))


def test_the_time_left_counts_builds_to_come(run: Run, fake_file: Path) -> None:
    slow = fake_file.read_text().replace(
        "    def build(self, vectors):", "    def build(self, vectors):\n        time.sleep(0.3)"
    )
    fake_file.write_text(slow)
    rest = HEAD[HEAD.index("[[experiment]]") :].replace('"e"', '"second"')
    left: dict[str, list[float]] = {}

    def progress(stage: str, _done: int, _total: int, eta_s: float | None) -> None:
        if eta_s is not None:
            left.setdefault(stage, []).append(eta_s)

    text = HEAD + GOOD + "build = { size = 1 }\n" + rest + GOOD + "build = { size = [1, 2, 3] }\n"
    run(text, progress=progress)
    assert min(left["e on mine"]) >= 0.6  # two of the three indexes of the second experiment are still to be built
    assert left["second on mine"][-1] == 0.0


def test_an_unfinished_index_is_built_again(run: Run, own_cache: Path) -> None:
    run(HEAD + GOOD)
    (built,) = (own_cache / "indexes").glob("*/built.json")
    built.unlink()
    assert run(HEAD + GOOD, name="again").results[0].status == "ok"
    document = json.loads(built.read_bytes())
    assert builds(own_cache) == 1  # the folder was emptied first
    built.write_text(json.dumps({**document, "version": "6"}))
    found = run(HEAD + GOOD, name="reusing", reuse_indexes=True).results[0]
    assert "the index was built by version 6" in found.notes
    assert json.loads(built.read_bytes())["version"] == "6"
    run(HEAD + GOOD, name="new")
    assert json.loads(built.read_bytes())["version"] == "7"


def test_an_index_that_differs_in_its_form_is_converted(run: Run, own_cache: Path) -> None:
    systems = '[[experiment.system]]\nsystem = "convertible"\nbuild = { form = ["a", "b", "c"], size = [1, 2] }\n'
    results = run(HEAD + systems).results
    assert [result.status for result in results] == ["ok"] * 6
    assert builds(own_cache) == 2  # one of each size
    assert len(list((own_cache / "indexes").glob("*/conversions"))) == 4
    noted = [note for result in results for note in result.notes if "converted from another layout" in note]
    assert len(noted) == 4
    built = {path.parent: json.loads(path.read_bytes()) for path in (own_cache / "indexes").glob("*/built.json")}
    for shared in {each["shared"] for each in built.values()}:
        alike = [each for each in built.values() if each["shared"] == shared]
        (base,) = (each for each in alike if not each["converted"])
        assert len(alike) == 3
        assert all(each["seconds"] >= base["seconds"] for each in alike)
        assert all(each["peak_bytes"] >= base["peak_bytes"] for each in alike)


def test_a_default_that_a_plan_says_makes_no_other_index(run: Run, own_cache: Path) -> None:
    said = '[[experiment.system]]\nsystem = "convertible"\nbuild = { size = [1, 2] }\n'
    unsaid = '[[experiment.system]]\nsystem = "convertible"\n'
    assert [result.status for result in run(HEAD + said + unsaid).results] == ["ok"] * 3
    assert builds(own_cache) == 2


@pytest.mark.parametrize("other", [{"version": "6"}, {"machine": [["cpu", "Other"]]}])
def test_what_another_version_or_machine_built_is_not_converted(
    run: Run, own_cache: Path, other: dict[str, Any]
) -> None:
    systems = '[[experiment.system]]\nsystem = "convertible"\nbuild = { form = "a" }\n'
    run(HEAD + systems)
    (built,) = (own_cache / "indexes").glob("*/built.json")
    built.write_text(json.dumps({**json.loads(built.read_bytes()), **other}))
    assert run(HEAD + systems.replace('"a"', '"b"'), name="again").results[0].status == "ok"
    assert builds(own_cache) == 2


IMPORTED = '[[experiment.system]]\nsystem = "good-imported"\n'


def built_of(cache: Path, name: str) -> dict[str, Any]:
    paths = [path for path in (cache / "indexes").glob("*/built.json") if path.parent.name.rpartition("-")[0] == name]
    (found,) = (json.loads(path.read_bytes()) for path in paths)
    return dict(found)


def test_the_index_of_another_system_is_built_first_and_imported(run: Run, own_cache: Path) -> None:
    result = run(HEAD + IMPORTED + "build = { form = [1, 2] }\n").results[0]
    assert (result.status, result.median("recall")) == ("ok", 1.0)
    assert builds(own_cache) == 1
    assert len(list((own_cache / "indexes").glob("good-imported-*/conversions"))) == 2
    assert "the index was built by good 7 and imported; build figures are those of both steps" in result.notes
    source = built_of(own_cache, "good")
    assert result.build.seconds is not None
    assert result.build.seconds > source["seconds"]
    assert result.build.peak_bytes is not None
    assert result.build.peak_bytes >= source["peak_bytes"]
    run(HEAD + GOOD, name="beside")  # the system itself takes the same index
    assert builds(own_cache) == 1


def test_an_index_is_imported_again_when_its_source_was_built_again(run: Run, own_cache: Path) -> None:
    run(HEAD + IMPORTED)
    first = built_of(own_cache, "good-imported")
    run(HEAD + IMPORTED, name="again")
    assert built_of(own_cache, "good-imported") == first
    (source,) = (own_cache / "indexes").glob("good-[0-9a-f]*/built.json")
    source.write_text(json.dumps({**json.loads(source.read_bytes()), "version": "6"}))
    run(HEAD + IMPORTED, name="reusing", reuse_indexes=True)
    assert built_of(own_cache, "good-imported")["imported"]["version"] == "6"
    result = run(HEAD + IMPORTED, name="new").results[0]
    assert "the index was built by good 7 and imported; build figures are those of both steps" in result.notes
    assert built_of(own_cache, "good-imported")["imported"] == {"system": "good", **built_of(own_cache, "good")}


def test_build_times_of_a_source_of_another_machine_are_not_ours(run: Run, own_cache: Path) -> None:
    run(HEAD + GOOD)
    (source,) = (own_cache / "indexes").glob("*/built.json")
    source.write_text(json.dumps({**json.loads(source.read_bytes()), "machine": [["cpu", "Other"]]}))
    assert run(HEAD + IMPORTED, name="again").results[0].build.seconds is None


def test_without_the_system_that_is_imported_a_cell_is_missing(run: Run) -> None:
    found = by_label(run(HEAD + GOOD + IMPORTED.replace("good", "walled")))
    assert found["walled-imported"].status == "missing"
    assert str(found["walled-imported"].reason).startswith("walled: it needs an environment of its own")
    assert found["good"].status == "ok"


def test_the_time_left_counts_the_index_that_is_imported(run: Run, fake_file: Path) -> None:
    slow = "    def build(self, vectors):\n        time.sleep(0.3)"
    fake_file.write_text(fake_file.read_text().replace("    def build(self, vectors):", slow))
    left: list[float] = []

    def progress(stage: str, _done: int, _total: int, eta_s: float | None) -> None:
        if stage == "e on mine" and eta_s is not None:
            left.append(eta_s)

    rest = HEAD[HEAD.index("[[experiment]]") :].replace('"e"', '"second"')
    run(HEAD + GOOD.replace("good", "other") + rest + IMPORTED, progress=progress)
    assert min(left) >= 0.6  # both steps of the second experiment are still to be done


def test_builds_use_all_cpus_however_many_threads_search(run: Run, own_cache: Path) -> None:
    run(HEAD + GOOD)
    (log,) = (own_cache / "indexes").glob("*/builds")
    assert log.read_text() == f"{len(os.sched_getaffinity(0))}\n"
    run(HEAD.replace("threads = 1", "threads = 2") + GOOD, name="again")
    assert builds(own_cache) == 1


def test_build_times_of_another_machine_are_not_ours(run: Run, own_cache: Path) -> None:
    run(HEAD + GOOD)
    (built,) = (own_cache / "indexes").glob("*/built.json")
    document = json.loads(built.read_bytes())
    built.write_text(json.dumps({**document, "machine": [["cpu", "Other"]]}))
    assert run(HEAD + GOOD, name="again").results[0].build.seconds is None


def test_what_failed_is_tried_again_only_when_asked(run: Run, fake_file: Path) -> None:
    text = HEAD + '[[experiment.system]]\nsystem = "good"\nsearch = { do = "fail" }\n'
    assert run(text).results[0].status == "failed"
    fake_file.write_text(fake_file.read_text().replace('how == "fail"', 'how == "never"'))
    assert (run(text).results[0].status, run(text).measured) == ("failed", 0)
    again = run(text, retry_failed=True)
    assert (again.results[0].status, again.measured) == ("ok", 1)


@pytest.mark.parametrize(
    ("key", "says"), [("kernel", "another machine"), ("commit", "another version"), ("plan", "another plan")]
)
def test_a_run_is_of_one_plan_machine_and_version(
    run: Run, monkeypatch: pytest.MonkeyPatch, key: str, says: str
) -> None:
    run(HEAD + GOOD)
    text = HEAD + GOOD
    if key == "plan":
        text += "\n"
    else:
        from tiervec.machine.environment import environment

        other = {**environment(), key: "other"}
        monkeypatch.setattr("tiervec.bench.runner.environment", lambda: other)
    with pytest.raises(InvalidArgumentError, match=f"holds a run of {says}.*--name"):
        run(text)


@pytest.mark.parametrize(("target", "good"), [(0.2, 1), (0.6, 3), (0.75, 4), (1.0, 5)])
def test_tuning_takes_the_first_value_that_reaches_the_target(run: Run, target: float, good: int) -> None:
    tuned = GOOD + "search = { sleep = 0.0 }\ntune = { good = [1, 2, 3, 4, 5] }\n"
    text = HEAD + f"target_recall = {target}\n" + tuned
    result = run(text).results[0]
    assert result.cell.search == {"sleep": 0.0, "good": good}
    assert result.cell.target_recall == target
    assert run(text).measured == 0


def test_a_target_that_is_not_reached_is_said(run: Run) -> None:
    text = HEAD + "target_recall = 0.9\n" + GOOD + "tune = { good = [1, 2, 3] }\n"
    result = run(text).results[0]
    assert (result.status, result.reason) == ("failed", "recall 0.6000 at most, with good=3; 0.9 was asked")


def test_tiers_and_parameters_of_opening(run: Run, own_cache: Path) -> None:
    text = HEAD + (
        '[[experiment.system]]\nsystem = "tiered"\ntiers = ["dram:", "emulated:x", "ssd:"]\n'
        "search = { cached = [0, 1] }\n"
    )
    summary = run(text)
    found = {(result.cell.tier, result.provenance, result.notes) for result in summary.results}
    assert found == {
        ("dram:", "memory", ("opened on dram:",)),
        ("emulated:x", "emulated", ("opened on emulated:x",)),
        ("ssd:", "real", ("opened on ssd:",)),
    }
    assert len(summary.results) == 6
    assert builds(own_cache) == 1


@pytest.mark.parametrize("arrivals", ["poisson", "fixed"])
def test_open_runs_have_the_asked_rate(run: Run, arrivals: str) -> None:
    text = HEAD + f'mode = "open"\narrival_qps = 200\nseconds = 0.2\narrivals = "{arrivals}"\n' + GOOD
    result = run(text).results[0]
    assert (result.cell.mode, result.cell.arrival_qps, result.cell.batch) == ("open", 200.0, 1)
    assert [repeat.queries for repeat in result.repeats] == [40, 40]
    assert result.median("recall") == 1.0
    if arrivals == "fixed":
        assert all(repeat.seconds >= 0.2 for repeat in result.repeats)


def test_the_limit_of_a_run_comes_on_top_of_the_length_that_was_asked(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits_s = []
    ask = SystemProcess.ask

    def noted(self: SystemProcess, request: Any, limit_s: float) -> Any:
        if request["do"] == "search":
            limits_s.append(limit_s)
        return ask(self, request, limit_s)

    monkeypatch.setattr(SystemProcess, "ask", noted)
    text = HEAD.replace("repeats = 2", "repeats = 1")
    result = run(text + 'mode = "open"\narrival_qps = 100\nseconds = 0.25\narrivals = "fixed"\n' + GOOD).results[0]
    assert (result.status, result.repeats[0].queries) == ("ok", 25)
    assert limits_s[-1] == 300 + 2 * 0.25


def test_an_open_run_that_cannot_keep_up_has_no_recall(run: Run) -> None:
    text = HEAD.replace("repeats = 2", "repeats = 1") + 'mode = "open"\narrival_qps = 500\nseconds = 0.1\n' + GOOD
    result = run(text + "search = { sleep = 0.2 }\n").results[0]
    assert result.repeats[0].unanswered > 0
    assert result.repeats[0].recall is None
    assert result.repeats[0].latency_us is not None
    assert result.repeats[0].latency_us.p99 > 1e6


def test_profiles_of_tiers(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake_profile(url: str, *, progress: Any) -> Any:
        progress(1, 1)
        if url == "nowhere:":
            raise InvalidArgumentError("no such tier")
        return SimpleNamespace(as_dict=lambda: {"url": url})

    monkeypatch.setattr("tiervec.rdma.profile.profile", fake_profile)
    text = '[[experiment]]\nname = "d"\nkind = "profile"\ntiers = ["dram:", "nowhere:"]\n'
    summary = run(text)
    assert {(each.tier, each.status, each.reason) for each in summary.profiles} == {
        ("dram:", "ok", None),
        ("nowhere:", "failed", "no such tier"),
    }
    assert len(load_profiles([summary.folder])) == 2
    assert load_results([summary.folder]) == []
    assert run(text).measured == 0


def test_a_profile_of_a_memory_node_on_this_machine(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiervec.rdma.profile import profile

    monkeypatch.setattr("tiervec.bench.loopback._SCRATCH_BYTES", 2 << 20)
    monkeypatch.setattr("tiervec.rdma.profile.profile", functools.partial(profile, runs=1, run_seconds=0.02))
    text = '[[experiment]]\nname = "d"\nkind = "profile"\ntiers = ["tcp://loopback"]\n'
    (measured,) = run(text).profiles
    assert (measured.tier, measured.status, measured.provenance) == ("tcp://loopback", "ok", "real")
    assert measured.profile is not None
    assert measured.profile["url"].startswith("tcp://127.0.0.1:")
    assert measured.profile["region_bytes"] == 2 << 20
    assert [size["read_bytes"] for size in measured.profile["sizes"]][-1] == 65536

    def refuse(*_: Any, **__: Any) -> None:
        raise UnavailableError("the memory node did not start: no")

    monkeypatch.setattr("tiervec.bench.loopback.NodeProcess", refuse)
    (failed,) = run(text, name="again").profiles
    assert (failed.status, failed.reason) == ("failed", "the memory node did not start: no")


ADVICE = """
[[experiment]]
name = "a"
kind = "advice"
datasets = "mine"
tiers = ["emulated:cxl-x8", "nowhere:"]
"""


def fake_advice(monkeypatch: pytest.MonkeyPatch, asked: list[Any], error: TiervecError | None = None) -> None:
    def advise(request: Any, step: Callable[[str], None]) -> Any:
        step("thinking")
        asked.append(request)
        if error is not None:
            raise error
        return SimpleNamespace(
            best=SimpleNamespace(design=SimpleNamespace(name="the best")),
            samples=(50, 200),
            notes=("so it is",),
            emulated=True,
        )

    document = {"recall": 0.95, "figures": {"QPS": {"predicted": 2.0, "measured": 4.0, "error": -0.5}}}
    monkeypatch.setattr("tiervec.advisor.advise", advise)
    monkeypatch.setattr("tiervec.advisor.check", lambda *_: SimpleNamespace(as_dict=lambda: document))


def test_what_the_advisor_says_is_kept_beside_what_was_measured(
    run: Run, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    said: list[str] = []
    fake_advice(monkeypatch, asked)
    search = HEAD + GOOD.replace('"good"', '"tiervec-graph"')
    summary = run(search + ADVICE, progress=lambda stage, *_: said.append(stage))
    assert {(each.cell.label, each.cell.tier, each.status) for each in summary.advice} == {
        (f"tiervec-{kind}", tier, status)
        for kind in ("graph", "cluster")
        for tier, status in (("emulated:cxl-x8", "ok"), ("nowhere:", "failed"))
    }
    assert summary.measured == 5
    good = next(each for each in summary.advice if each.status == "ok" and each.cell.system == "tiervec-graph")
    assert good.check is not None
    assert good.check["figures"]["QPS"]["error"] == -0.5
    assert (good.recommended, good.samples, good.notes) == ("the best", (50, 200), ("so it is",))
    assert (good.provenance, good.cell.target_recall, good.cell.dataset.name) == ("emulated", 0.95, "mine")
    assert good.environment["cpu"] is not None
    bad = next(each for each in summary.advice if each.status == "failed")
    assert "unknown scheme 'nowhere'" in str(bad.reason)
    assert builds(own_cache) == 2  # that of the graph served the other experiment too
    assert len({request.work for request in asked}) == 1
    assert not asked[0].work.exists()
    assert asked[0].check.parent.parent == own_cache / "indexes"
    assert len(asked[0].check_queries) == 20
    assert "a: tiervec-graph on mine, emulated:cxl-x8: thinking" in said
    assert load_advice([summary.folder]) == list(summary.advice)


def test_advice_about_a_model_of_a_real_tier_is_emulated(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_advice(monkeypatch, [])
    found = run(ADVICE.replace('"emulated:cxl-x8", "nowhere:"', '"dram:"')).advice
    assert [each.provenance for each in found] == ["emulated", "emulated"]


def test_advice_is_resumed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    fake_advice(monkeypatch, asked, UnavailableError("not now"))
    text = ADVICE.replace(', "nowhere:"', "") + 'systems = "tiervec-graph"\n'
    (failed,) = run(text).advice
    assert (failed.status, failed.reason, failed.check) == ("failed", "not now", None)
    assert (run(text).measured, len(asked)) == (0, 1)
    fake_advice(monkeypatch, asked)
    (again,) = run(text, retry_failed=True).advice
    assert again.status == "ok"
    assert (run(text, retry_failed=True).measured, len(asked)) == (0, 2)


@pytest.mark.parametrize("status", ["crashed", "full"])
def test_advice_for_an_index_that_cannot_be_built(run: Run, monkeypatch: pytest.MonkeyPatch, status: Any) -> None:
    def fail(*_: Any) -> None:
        raise SystemFailedError(status, "no")

    monkeypatch.setattr("tiervec.bench.runner.make_index", fail)
    if status == "full":
        with pytest.raises(DiskFullError, match="emulated:cxl-x8: no; finished cells are kept"):
            run(ADVICE)
    else:
        assert {(each.status, each.reason) for each in run(ADVICE).advice} == {("crashed", "no")}


def test_a_full_disk_ends_the_run_wherever_it_is_met(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    full = DiskFullError("writing base failed: no space left; 0 bytes are free")
    fake_advice(monkeypatch, [], full)
    with pytest.raises(DiskFullError, match="no space left"):
        run(ADVICE)
    monkeypatch.setattr("tiervec.bench.runner._Work._profile", lambda *_: (_ for _ in ()).throw(full))
    with pytest.raises(DiskFullError, match="no space left"):
        run('[[experiment]]\nname = "d"\nkind = "profile"\ntiers = "dram:"\n', name="profile")


def test_real_advice(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiervec.advisor import advising
    from tiervec.advisor.cost_model import MemoryGrowth
    from tiervec.advisor.design import Design
    from tiervec.bench.systems.registry import find_system

    monkeypatch.setattr(advising, "designs", lambda *_: [Design(kind="graph", params={"code_bits": 4.0})])
    monkeypatch.setattr(MemoryGrowth, "more_us", lambda self, sizes: [0.0] * len(sizes))  # it takes seconds
    np.save(tmp_path / "base.npy", RNG.normal(size=(1500, 8)).astype(np.float16))
    np.save(tmp_path / "queries.npy", RNG.normal(size=(20, 8)).astype(np.float16))
    text = ADVICE.replace(', "nowhere:"', "") + 'systems = "tiervec-graph"\n'
    (found,) = run(text, find=find_system).advice
    assert (found.status, found.reason) == ("ok", None)
    assert found.check is not None
    assert found.check["recall"] > 0.8
    assert found.check["figures"]["reads per query"]["measured"] > 0
    assert str(found.recommended).startswith("graph")


def test_mistakes_of_a_plan_are_found_before_anything_is_built(run: Run, own_cache: Path) -> None:
    from tiervec.bench.systems.registry import find_system

    tiers = '[[experiment.system]]\nsystem = "hnswlib"\ntiers = "dram:"\n'
    graph = '[[experiment.system]]\nsystem = "tiervec-graph"\ntune = { fast_memory = ["1MiB", "2MiB"] }\n'
    for text, error, says in (  # all under one name: a mistake leaves nothing behind that would be in the way
        (HEAD.replace('"mine"', '"yours"') + GOOD, NotFoundError, "there is no data set 'yours'; known: .*mine"),
        (HEAD + '[[experiment.system]]\nsystem = "x"\n', NotFoundError, "there is no system 'x'"),
        (HEAD + tiers, InvalidArgumentError, "hnswlib has no tiers; leave out 'dram:'"),
        (
            HEAD + "target_recall = 0.9\n" + graph,
            InvalidArgumentError,
            "fast_memory of tiervec-graph is fixed when an index is opened, so tune cannot choose it",
        ),
        (HEAD + "affinity = [4095]\n" + tiers, InvalidArgumentError, "affinity names CPU 4095"),
        (ADVICE + "k = 101\n", InvalidArgumentError, "k is 101, but mine has 100 true neighbours"),
        (HEAD.replace("k = 5", "k = 101") + tiers, InvalidArgumentError, "k is 101, but mine has 100 true neighbours"),
    ):
        with pytest.raises(error, match=says):
            run(text, find=find_system)
    assert not (own_cache / "indexes").exists()


def test_other_data_sets_than_those_of_the_plan(run: Run) -> None:
    result = run(HEAD + GOOD, datasets=("mine:150",)).results[0]
    assert (result.cell.dataset.n, result.cell.dataset.slice) == (150, 150)


def test_what_is_asked_for_twice_is_measured_once(run: Run) -> None:
    cpus = len(os.sched_getaffinity(0))
    text = HEAD.replace("threads = 1", f"threads = [0, {cpus}]").replace('"mine"', '["mine", "mine"]')
    summary = run(text + GOOD + "search = { good = [5, 5] }\n")
    assert (summary.measured, len(summary.results)) == (1, 1)


def test_a_recall_that_a_system_aims_at_itself_is_the_cells(run: Run) -> None:
    summary = run(HEAD + GOOD + "search = { target_recall = 0.9, good = 3 }\n")
    (result,) = summary.results
    assert result.cell.target_recall == 0.9
    from tiervec.bench.figures.run_data import load

    data = load([summary.folder])
    assert data.rows() == []
    ((_, _, why),) = data.absent()
    assert why == "recall 0.600, below the 0.9 asked for"


def test_an_environment_that_cannot_be_made_is_recorded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiervec.bench import indexes

    def fails(*_: Any, **__: Any) -> None:
        raise UnavailableError("pip has no wheel")

    monkeypatch.setattr(indexes, "make_environment", fails)
    found = by_label(run(HEAD + GOOD + '[[experiment.system]]\nsystem = "walled"\n', setup=True))
    assert (found["walled"].status, found["walled"].reason) == ("missing", "pip has no wheel")
    assert found["good"].status == "ok"


def test_a_source_that_changes_during_a_run_is_noticed(run: Run, fake_file: Path) -> None:
    def ours(name: str) -> SystemSpec:
        return SystemSpec(name=name, title="fake", file=fake_file, module="tiervec")

    (result,) = run(HEAD + GOOD, find=ours).results  # its version is "7"
    assert result.status == "failed"
    assert "it is TierVec 7 by now, and the run began with" in str(result.reason)
