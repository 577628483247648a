"""Runs a plan: opens its data sets, measures group by group, and goes on where an earlier run was interrupted."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tiervec.bench.datasets import Dataset, open_dataset
from tiervec.bench.datasets.preparing import Progress
from tiervec.bench.group_run import GroupRun, PlannedCell, planned_cells, provenance_of
from tiervec.bench.indexes import Workshop, build_seconds, imported_folder, index_folder, make_index
from tiervec.bench.machines import machine_of
from tiervec.bench.plan import Experiment, Group, Plan
from tiervec.bench.result_files import (
    read_advice,
    read_profile,
    read_result,
    read_run_info,
    write_advice,
    write_profile,
    write_result,
    write_run_info,
)
from tiervec.bench.results import AdviceResult, ProfileResult, Result, RunInfo
from tiervec.bench.systems.process import SystemFailedError
from tiervec.bench.systems.registry import SystemSpec, find_system
from tiervec.errors import DiskFullError, InvalidArgumentError, NotFoundError, TiervecError
from tiervec.machine.environment import environment

if TYPE_CHECKING:
    from tiervec.advisor import Advice, Check

__all__ = ["RunOptions", "RunSummary", "run_plan"]

_READERS: Final[dict[str, Callable[[Path], Result | ProfileResult | AdviceResult]]] = {
    "cells": read_result,
    "profiles": read_profile,
    "advice": read_advice,
}
"""Folder to reader of its files."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where a run goes and what it may do.

    Attributes:
        folder: Folder of the run; its name is the run's name.
        cache: Folder of data sets, indexes and environments.
        setup: Make environments that are missing.
        retry_failed: Measure again what is not ``ok``; the old files are removed.
        reuse_indexes: Take indexes that another version built.
        datasets: Instead of those of the plan.
        experiments: Names of the only ones to run; none: all. The run is still one of the whole plan, so that the same
            folder may take the others later.
    """

    folder: Path
    cache: Path
    setup: bool = False
    retry_failed: bool = False
    reuse_indexes: bool = False
    datasets: tuple[str, ...] = ()
    experiments: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """What a run left.

    Attributes:
        folder: Folder of the run.
        results: All its cells, those of earlier, interrupted runs included.
        profiles: All its profiles.
        advice: All its predictions, beside what was measured.
        measured: How many of them this call measured.
    """

    folder: Path
    results: tuple[Result, ...]
    profiles: tuple[ProfileResult, ...]
    advice: tuple[AdviceResult, ...]
    measured: int


def run_plan(
    plan: Plan,
    options: RunOptions,
    *,
    progress: Progress | None = None,
    find: Callable[[str], SystemSpec] = find_system,
) -> RunSummary:
    """Measures what of a plan has no result yet.

    Args:
        plan: What to measure.
        options: Where.
        progress: Called with (stage, runs done, runs in all, seconds left or None).
        find: Name to system.

    Raises:
        NotFoundError: An unknown system, experiment or data set, or a data set that is not at hand.
        InvalidArgumentError: The folder holds a run of another plan, machine or version.
        DiskFullError: The disk is full; what was finished is kept.
    """
    folder = options.folder
    _check_continues(plan, folder)
    chosen = _chosen(plan, options.experiments)
    work = _Work(chosen, options, progress or (lambda *_: None), find)
    work.look_ahead()  # mistakes are found before anything is measured
    _begin(plan, folder)
    for experiment in chosen.experiments:
        if experiment.kind == "profile":
            work.profile(experiment)
    work.search()
    return RunSummary(
        folder=folder,
        results=tuple(read_result(path) for path in sorted((folder / "cells").glob("*.json"))),
        profiles=tuple(read_profile(path) for path in sorted((folder / "profiles").glob("*.json"))),
        advice=tuple(read_advice(path) for path in sorted((folder / "advice").glob("*.json"))),
        measured=work.measured,
    )


class _Work:
    """One call of `run_plan`."""

    def __init__(self, plan: Plan, options: RunOptions, progress: Progress, find: Callable[[str], SystemSpec]) -> None:
        self._plan, self._options, self._progress, self._find = plan, options, progress, find
        self.measured = 0
        self._todo: list[tuple[Group, Dataset, list[PlannedCell]]] = []
        self._done_runs, self._all_runs, self._stage = 0, 0, ""
        self._left = _Left()
        self._last_run_at: float | None = None
        self._experiment = plan.experiments[0]
        self._workshop = Workshop(
            cache=options.cache,
            logs=options.folder / "logs",
            limits=plan.limits,
            seed=plan.seed,
            setup=options.setup,
            reuse=options.reuse_indexes,
            say=lambda text: progress(text, 1, 1, None),
            built=self._left.finish_build,
        )

    def profile(self, experiment: Experiment) -> None:
        """The tiers of a ``profile`` experiment."""
        for tier in experiment.tiers:
            name = f"{experiment.name}-{_file_name_of(tier)}"
            if self._has("profiles", name):
                continue
            described = environment()
            measured, reason = None, None
            try:
                measured = self._profile(tier)
            except TiervecError as error:
                _go_on_unless_full(error)
                reason = str(error)
            result = ProfileResult(
                run=self._options.folder.name,
                experiment=experiment.name,
                tier=tier,
                provenance=provenance_of(tier),
                status="ok" if reason is None else "failed",
                reason=reason,
                profile=measured,
                environment=described,
                commit=described["commit"],
            )
            write_profile(self._options.folder, name, result)
            self.measured += 1

    def _profile(self, tier: str) -> dict[str, Any]:
        from tiervec.bench.loopback import bytes_on_loopback, is_loopback  # gRPC is only imported where it is needed
        from tiervec.rdma.profile import profile

        def progress(done: int, total: int) -> None:
            self._progress(f"measuring {tier}", done, total, None)

        with bytes_on_loopback(tier) if is_loopback(tier) else contextlib.nullcontext(tier) as url:
            return profile(url, progress=progress).as_dict()

    def look_ahead(self) -> None:
        """Opens all data sets and plans all cells that have no result yet; what is asked for twice is one cell."""
        seen: set[str] = set()
        for experiment in self._plan.experiments:
            for group in _with_datasets(experiment, self._options.datasets).groups():
                dataset = open_dataset(
                    group.dataset, queries=experiment.queries, cache=self._options.cache, progress=self._progress
                )
                planned = planned_cells(group, dataset, _affinity(experiment), self._find)
                kind = "advice" if experiment.kind == "advice" else "cells"
                cells = list({cell.name: cell for cell in planned if cell.name not in seen}.values())
                seen.update(cell.name for cell in cells)
                cells = [cell for cell in cells if not self._has(kind, cell.name)]
                if cells:
                    self._todo.append((group, dataset, cells))
                    runs = len(cells) * _runs_of_a_cell(experiment)
                    self._all_runs += runs
                    self._left.add(experiment, runs)
                    for folder in self._folders(dataset, cells):
                        self._left.add_build(folder, build_seconds(folder))

    def _folders(self, dataset: Dataset, cells: Sequence[PlannedCell]) -> set[Path]:
        """Settings of the indexes of cells, and of those that they import."""
        own = {index_folder(self._workshop, each.spec, each.cell.build, dataset, each.cell.affinity) for each in cells}
        imported = (imported_folder(self._workshop, each.spec, dataset, each.cell.affinity) for each in cells)
        return own | {folder for folder in imported if folder is not None}

    def search(self) -> None:
        """Measures what `look_ahead` found."""
        for group, dataset, cells in self._todo:
            if group.experiment.kind == "advice":
                self._advise(group, dataset, cells)
                self._left.drop_builds(self._folders(dataset, cells))
                continue
            self._stage = f"{group.experiment.name} on {group.dataset}"
            runs, before, left = len(cells) * _runs_of_a_cell(group.experiment), self._done_runs, cells
            self._experiment = group.experiment
            while left:
                self._last_run_at = None
                with GroupRun(
                    self._options.folder.name,
                    group,
                    left,
                    dataset,
                    self._workshop,
                    self._finished,
                    self._stepped,
                    is_rest=left is not cells,
                ) as run:
                    left = run.measure()
            self._left.add(group.experiment, self._done_runs - before - runs)  # of cells that failed
            self._left.drop_builds(self._folders(dataset, cells))  # that failed, too
            self._done_runs = before + runs

    def _advise(self, group: Group, dataset: Dataset, cells: Sequence[PlannedCell]) -> None:
        """What the advisor predicts for the indexes of a group, beside what they do; they share its samples."""
        with tempfile.TemporaryDirectory(prefix="tiervec-advice-") as samples:
            for planned in cells:
                result = self._advice(group, dataset, planned, Path(samples))
                write_advice(self._options.folder, planned.name, result)
                self.measured += 1

    def _advice(self, group: Group, dataset: Dataset, planned: PlannedCell, samples: Path) -> AdviceResult:
        what = f"{group.experiment.name}: {planned.cell.label} on {group.dataset}, {planned.cell.tier}"

        def step(text: str) -> None:
            self._workshop.say(f"{what}: {text}")

        described = environment()
        result = AdviceResult(
            run=self._options.folder.name,
            experiment=group.experiment.name,
            cell=planned.cell,
            provenance=provenance_of(planned.cell.tier, planned.spec.on_disk),
            status="ok",
            environment=described,
            commit=described["commit"],
        )
        try:
            advice, checked = self._checked_advice(planned, dataset, samples, step)
        except SystemFailedError as failure:
            if failure.status == "full":
                raise DiskFullError(f"{what}: {failure.reason}; finished cells are kept") from None
            step(f"{failure.status}: {failure.reason}")
            return dataclasses.replace(result, status=failure.status, reason=failure.reason)
        except TiervecError as error:
            _go_on_unless_full(error)
            step(f"failed: {error}")
            return dataclasses.replace(result, status="failed", reason=str(error))
        return dataclasses.replace(
            result,
            check=checked.as_dict(),
            provenance="emulated" if advice.emulated else result.provenance,
            recommended=advice.best.design.name,
            samples=advice.samples,
            notes=advice.notes,
        )

    def _checked_advice(
        self, planned: PlannedCell, dataset: Dataset, samples: Path, step: Callable[[str], None]
    ) -> tuple[Advice, Check]:
        from tiervec.advisor import Request, advise, check  # the advisor is only imported where it is needed
        from tiervec.advisor.device import Device

        cell = planned.cell
        assert cell.tier is not None
        assert cell.target_recall is not None
        make_index(planned.spec, cell.build, dataset, self._workshop, cell.affinity)
        step("asking the advisor")
        request = Request(
            data=dataset.vectors_path,
            device=Device.of_tier(cell.tier),
            k=cell.k,
            target_recall=cell.target_recall,
            threads=cell.threads,
            metric=dataset.metric,
            work=samples,
            check=index_folder(self._workshop, planned.spec, cell.build, dataset, cell.affinity) / "index",
            check_queries=dataset.queries,
        )
        advice = advise(request, step)
        return advice, check(advice, dataset.ground_truth)

    def _finished(self, name: str, result: Result) -> None:
        write_result(self._options.folder, name, result)
        self.measured += 1
        if result.status != "ok":
            self._workshop.say(f"{result.cell.label}: {result.status}: {result.reason}")

    def _stepped(self) -> None:
        """One run more."""
        now = time.monotonic()
        self._left.finish(self._experiment, None if self._last_run_at is None else now - self._last_run_at)
        self._done_runs, self._last_run_at = self._done_runs + 1, now
        self._progress(self._stage, self._done_runs, self._all_runs, self._left.seconds())

    def _has(self, kind: str, name: str) -> bool:
        path = self._options.folder / kind / f"{name}.json"
        if not path.exists():
            return False
        if self._options.retry_failed and _READERS[kind](path).status != "ok":
            path.unlink()
            return False
        return True


class _Left:
    """The time that the runs and builds to come will take.

    Runs of open experiments have a length, others that of a mean one. A build takes as long as a mean one of those that
    are known: of this run, and of the needed indexes that the cache has.
    """

    def __init__(self) -> None:
        self._closed_runs, self._open_s = 0, 0.0
        self._timed_runs, self._timed_s = 0, 0.0
        self._builds: set[Path] = set()
        self._build_s: dict[Path, float] = {}

    def add_build(self, folder: Path, seconds: float | None) -> None:
        """An index that is needed; it took so long, or is still to be built."""
        if seconds is None:
            self._builds.add(folder)
        else:
            self._build_s[folder] = seconds

    def finish_build(self, folder: Path, seconds: float) -> None:
        """An index was built."""
        self._builds.discard(folder)
        self._build_s[folder] = seconds

    def drop_builds(self, folders: set[Path]) -> None:
        """Nobody waits for these any more."""
        self._builds -= folders

    def add(self, experiment: Experiment, runs: int) -> None:
        """More runs to come, or fewer."""
        if experiment.mode == "open":
            self._open_s += runs * experiment.seconds
        else:
            self._closed_runs += runs

    def finish(self, experiment: Experiment, seconds: float | None) -> None:
        """One run was done, and took so long if that is known."""
        self.add(experiment, -1)
        if experiment.mode == "closed" and seconds is not None:
            self._timed_runs += 1
            self._timed_s += seconds

    def seconds(self) -> float | None:
        """None while nothing is known."""
        if (self._closed_runs and not self._timed_runs) or (self._builds and not self._build_s):
            return None
        mean = self._timed_s / self._timed_runs if self._timed_runs else 0.0
        mean_build = sum(self._build_s.values()) / len(self._build_s) if self._build_s else 0.0
        return max(self._closed_runs * mean + self._open_s, 0.0) + len(self._builds) * mean_build


def _go_on_unless_full(error: TiervecError) -> None:
    """A full disk, which no other measurement survives either, ends the run."""
    if isinstance(error, DiskFullError):
        raise error


def _file_name_of(tier: str) -> str:
    """A file name for a URL."""
    plain = "".join(letter if letter.isalnum() else "-" for letter in tier)[:40]
    return f"{plain}-{hashlib.sha256(tier.encode()).hexdigest()[:8]}"


def _check_continues(plan: Plan, folder: Path) -> None:
    """A folder that holds a run goes on only with the same plan, on the same machine, with the same version."""
    if not (folder / "run.json").exists():
        return
    info, described = read_run_info(folder), environment()
    other = None
    if info.plan != plan.text:
        other = "another plan"
    elif machine_of(info.environment) != machine_of(described):
        other = "another machine"
    elif any(info.environment.get(key) != described[key] for key in ("tiervec", "commit")):
        other = f"another version ({info.environment.get('commit')})"
    if other is not None:
        raise InvalidArgumentError(f"{folder} holds a run of {other}; give this one another name (--name)")


def _begin(plan: Plan, folder: Path) -> None:
    if not (folder / "run.json").exists():
        began = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        write_run_info(folder, RunInfo(run=folder.name, plan=plan.text, began=began, environment=environment()))


def _chosen(plan: Plan, names: Sequence[str]) -> Plan:
    known = [experiment.name for experiment in plan.experiments]
    for name in names:
        if name not in known:
            raise NotFoundError(f"plan {plan.name} has no experiment {name!r}; it has {', '.join(known)}")
    wanted = tuple(each for each in plan.experiments if not names or each.name in names)
    return dataclasses.replace(plan, experiments=wanted)


def _with_datasets(experiment: Experiment, datasets: Sequence[str]) -> Experiment:
    if experiment.kind == "profile":
        return dataclasses.replace(experiment, datasets=())
    return dataclasses.replace(experiment, datasets=tuple(datasets)) if datasets else experiment


def _affinity(experiment: Experiment) -> tuple[int, ...]:
    allowed = os.sched_getaffinity(0)
    if experiment.affinity is None:
        return tuple(sorted(allowed))
    for cpu in experiment.affinity:
        if cpu not in allowed:
            raise InvalidArgumentError(
                f"experiment {experiment.name!r}: affinity names CPU {cpu}; this process may use "
                f"{', '.join(map(str, sorted(allowed)))}"
            )
    return tuple(sorted(set(experiment.affinity)))


def _runs_of_a_cell(experiment: Experiment) -> int:
    if experiment.kind == "advice":
        return 0  # it has no rounds of ours
    return experiment.warmups + experiment.repeats * (2 if experiment.control else 1)
