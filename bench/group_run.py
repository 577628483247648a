"""Measures one group: all its cells take turns, round by round.

    build and open every index            one process each; they stay
    tune                                  runs that do not count
    warm-up rounds                        runs that do not count
    round 0: A B C | A B C (control)      round 1: C B A | C B A      and so on

What fails is taken out with its reason, and the others go on. When memory does not hold all indexes at once, the rest
is left for a group of its own, and its results say so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tiervec import _core
from tiervec.bench.datasets import Dataset
from tiervec.bench.datasets.ties import recall_with_ties
from tiervec.bench.indexes import IndexKey, OpenedSystem, Workshop
from tiervec.bench.plan import Group, Setting
from tiervec.bench.results import BuildFigures, Cell, Latency, Provenance, Repeat, Result, Status, cell_id
from tiervec.bench.systems.process import SystemFailedError
from tiervec.bench.systems.registry import SystemSpec
from tiervec.errors import DiskFullError, InvalidArgumentError
from tiervec.machine.durable_files import storage_errors
from tiervec.machine.environment import environment

__all__ = ["GroupRun", "PlannedCell", "planned_cells", "provenance_of"]

_KERNEL_COMMAND: Final = Path("/proc/cmdline")  # tests/guest/run.sh says in it what it boots
_LOCAL_MEMORY: Final = ("dram:", "mmap:")


@dataclass(frozen=True, kw_only=True, eq=False)
class PlannedCell:
    """A cell before it is measured.

    Attributes:
        name: Name of its result file; the same whenever the same plan runs.
        cell: A parameter that is still to be tuned is not in ``search``.
        setting: The plan's setting.
        spec: The system.
    """

    name: str
    cell: Cell
    setting: Setting
    spec: SystemSpec


@dataclass(kw_only=True, eq=False)
class _Measured:
    """What is known of a cell so far."""

    planned: PlannedCell
    cell: Cell
    status: Status = "ok"
    reason: str | None = None
    build: BuildFigures = field(default_factory=BuildFigures)
    repeats: list[Repeat] = field(default_factory=list)
    control: list[Repeat] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def fail(self, failure: SystemFailedError) -> None:
        if failure.status == "full":
            raise DiskFullError(f"{self.cell.label}: {failure.reason}; finished cells are kept")
        self.status, self.reason = failure.status, failure.reason


def planned_cells(
    group: Group, dataset: Dataset, affinity: tuple[int, ...], find: Callable[[str], SystemSpec]
) -> list[PlannedCell]:
    """The cells of a group.

    Raises:
        NotFoundError: An unknown system.
        InvalidArgumentError: A tier for a system that has none, more neighbours than are known, a tuned parameter
            that is fixed when an index is opened, or more threads than a comparison is about.
    """
    experiment = group.experiment
    if group.k > dataset.ground_truth.shape[1]:
        raise InvalidArgumentError(
            f"experiment {experiment.name!r}: k is {group.k}, but {dataset.key.name} has "
            f"{dataset.ground_truth.shape[1]} true neighbours of each query"
        )
    found = []
    for setting in group.settings:
        is_aimed = setting.tune is not None or experiment.kind == "advice"
        target = experiment.target_recall if is_aimed else setting.search.get("target_recall")
        spec = find(setting.system)
        if setting.tier is not None and not spec.has_tiers:
            raise InvalidArgumentError(
                f"experiment {experiment.name!r}: {spec.name} has no tiers; leave out {setting.tier!r}"
            )
        if setting.tune is not None and setting.tune[0] in spec.opening_keys:
            raise InvalidArgumentError(
                f"experiment {experiment.name!r}: {setting.tune[0]} of {spec.name} is fixed when an index is opened, "
                "so tune cannot choose it; list its values in search"
            )
        threads = group.threads or len(affinity)
        if spec.has_tiers and group.batch > 1 and 1 < threads < len(affinity):
            raise InvalidArgumentError(
                f"experiment {experiment.name!r}: {threads} callers with batch {group.batch} would use all "
                f"{len(affinity)} CPUs, as each call of {spec.name} takes as many threads; "
                f"set affinity to {threads} CPUs"
            )
        cell = Cell(
            system=setting.system,
            label=setting.label,
            dataset=dataset.key,
            k=group.k,
            threads=threads,
            affinity=affinity,
            mode=experiment.mode,
            batch=group.batch,
            arrival_qps=setting.arrival_qps,
            arrivals=experiment.arrivals if experiment.mode == "open" else None,
            tier=(setting.tier or "dram:") if spec.has_tiers else None,
            build=setting.build,
            search=setting.search,
            target_recall=target,
        )
        to_tune = {} if setting.tune is None else {setting.tune[0]: list(setting.tune[1])}
        named = dataclasses.replace(cell, search={**cell.search, **to_tune})
        found.append(PlannedCell(name=cell_id(experiment.name, named), cell=cell, setting=setting, spec=spec))
    return found


def provenance_of(tier: str | None, on_disk: bool = False) -> Provenance:
    """What stands behind a tier; see `tiervec.bench.results.Provenance`."""
    if (tier or "").startswith("emulated:"):
        return "emulated"
    in_memory = not on_disk if tier is None else tier.startswith(_LOCAL_MEMORY)
    if in_memory:
        return "memory"
    try:
        is_guest = "tiervec_guest=1" in _KERNEL_COMMAND.read_text(errors="replace")
    except OSError:
        is_guest = False
    return "guest" if is_guest else "real"


class GroupRun:
    """One group, measured once; a context manager that ends all processes.

    Args:
        run: Name of the run.
        group: What to measure.
        cells: Those of its cells that have no result yet.
        dataset: On what.
        workshop: Where indexes are.
        finished: Called with each cell's name and result, once.
        stepped: Called after every run over the queries.
        is_rest: These are what an earlier one returned.
    """

    def __init__(
        self,
        run: str,
        group: Group,
        cells: Sequence[PlannedCell],
        dataset: Dataset,
        workshop: Workshop,
        finished: Callable[[str, Result], None],
        stepped: Callable[[], None] = lambda: None,
        is_rest: bool = False,
    ) -> None:
        self._run, self._group, self._experiment = run, group, group.experiment
        self._dataset, self._workshop = dataset, workshop
        self._finished, self._stepped, self._is_rest = finished, stepped, is_rest
        self._cells = [_Measured(planned=planned, cell=planned.cell) for planned in cells]
        self._opened: dict[str, OpenedSystem] = {}
        self._session = uuid.uuid4().hex
        self._scratch = tempfile.TemporaryDirectory(prefix="tiervec-bench-")

    def __enter__(self) -> GroupRun:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.ExitStack() as stack:  # whatever interrupts one, the others end too
            stack.callback(self._scratch.cleanup)
            for system in self._opened.values():
                stack.callback(system.close)

    def measure(self) -> list[PlannedCell]:
        """Everything, from builds to results; returns the cells whose indexes did not fit into memory beside these."""
        experiment = self._experiment
        deferred = self._open_all()
        for cell in self._alive():
            self._tune(cell)
        for _ in range(experiment.warmups):
            for cell in self._alive():
                self._repeat(cell, 0)
                self._stepped()
        for number in range(experiment.repeats):
            for control in (False, True) if experiment.control else (False,):
                for cell in self._alive() if number % 2 == 0 else reversed(self._alive()):
                    repeat = self._repeat(cell, number)
                    if repeat is not None:
                        (cell.control if control else cell.repeats).append(repeat)
                    self._stepped()
        for cell in self._alive():
            self._finish(cell)
        return deferred

    def _alive(self) -> list[_Measured]:
        return [cell for cell in self._cells if cell.status == "ok"]

    def _open_all(self) -> list[PlannedCell]:
        failures: dict[str, SystemFailedError] = {}
        deferred: list[_Measured] = []
        for cell in self._cells:
            key = self._key(cell)
            if key.text not in self._opened and key.text not in failures:
                if self._opened and _available_bytes() < self._reserve_bytes():
                    deferred.append(cell)
                    continue
                try:
                    self._opened[key.text] = OpenedSystem(
                        key, self._dataset, self._workshop, cell.cell.threads, cell.cell.affinity
                    )
                except SystemFailedError as failure:
                    failures[key.text] = failure
            if (failed := failures.get(key.text)) is not None:
                cell.fail(failed)
                self._finish(cell)
            else:
                cell.build = self._opened[key.text].figures
                cell.notes += self._opened[key.text].notes
        self._cells = [cell for cell in self._cells if cell not in deferred]
        if deferred or self._is_rest:
            for cell in self._cells:
                cell.notes.append("memory did not suffice to measure the whole experiment in turn")
        return [cell.planned for cell in deferred]

    def _reserve_bytes(self) -> int:
        """What one more build may take, roughly."""
        return (1 << 30) + 8 * self._dataset.key.raw_bytes

    def _tune(self, cell: _Measured) -> None:
        """Finds the first value that reaches the target; recall grows with the values."""
        tune, target = cell.planned.setting.tune, cell.cell.target_recall
        if tune is None or target is None:
            return
        name, values = tune
        below, reached, best = -1, len(values), 0.0
        while reached - below > 1:
            middle = (below + reached) // 2
            cell.cell = dataclasses.replace(cell.cell, search={**cell.planned.cell.search, name: values[middle]})
            repeat = self._repeat(cell, 0, closed=True)
            if repeat is None:
                return
            recall = repeat.recall or 0.0
            best = max(best, recall)
            below, reached = (below, middle) if recall >= target else (middle, reached)
        if reached == len(values):
            self._fail(
                cell,
                SystemFailedError("failed", f"recall {best:.4f} at most, with {name}={values[-1]}; {target} was asked"),
            )
            return
        cell.cell = dataclasses.replace(cell.cell, search={**cell.planned.cell.search, name: values[reached]})

    def _repeat(self, cell: _Measured, number: int, *, closed: bool = False) -> Repeat | None:
        """One run over the queries; None when the cell failed with it."""
        arrivals = None if closed or cell.cell.mode == "closed" else self._arrivals(cell.cell, number)
        ids_path = Path(self._scratch.name) / "ids.npy"
        key, spec = self._key(cell), cell.planned.spec
        request = {
            "k": cell.cell.k,
            "params": {name: value for name, value in cell.cell.search.items() if name not in spec.opening_keys},
            "batch": 0 if closed else cell.cell.batch,
            "threads": cell.cell.threads,
            "most_queries": len(self._dataset.queries),
            "arrivals": None if arrivals is None else str(arrivals),
            "ids": str(ids_path),
        }
        try:
            asked_s = 0.0 if arrivals is None else 2 * self._experiment.seconds
            answer = self._opened[key.text].search(request, asked_s)
            return self._figures(cell, answer, np.load(ids_path), number)
        except SystemFailedError as failure:
            self._fail(cell, failure)
            return None

    def _figures(self, cell: _Measured, answer: Mapping[str, Any], ids: NDArray[np.int64], number: int) -> Repeat:
        answered, sums = int(answer["answered"]), answer["sums"]
        if not answered:
            raise SystemFailedError("hung", "not one query was answered in time")
        truth = self._dataset.ground_truth[np.arange(len(ids)) % len(self._dataset.queries)]
        qps = answered / answer["seconds"]
        bound = answered / sums["device_s"] if sums.get("device_s") else None
        cell.notes += [note for note in answer["notes"] if note not in cell.notes]

        def per_query(name: str) -> float | None:
            return sums[name] / answered if name in sums else None

        return Repeat(
            round=number,
            started=answer["started"],
            seconds=answer["seconds"],
            queries=answered,
            qps=qps,
            recall=recall_with_ties(self._dataset, ids, truth, cell.cell.k) if answered == len(ids) else None,
            latency_us=None if answer["latency_us"] is None else Latency(**answer["latency_us"]),
            cpu_us_per_query=answer["cpu_s"] * 1e6 / answered,
            reads_per_query=per_query("reads"),
            bytes_per_query=per_query("bytes_read"),
            rounds_per_query=per_query("rounds"),
            code_distances_per_query=per_query("code_distances"),
            device_bound_qps=bound,
            fraction_of_limit=None if bound is None else qps / bound,
            unanswered=int(answer["unanswered"]),
            peak_bytes=int(answer["peak_bytes"]) or None,
        )

    def _arrivals(self, cell: Cell, number: int) -> Path:
        """When queries are due: the same for every system in the same round."""
        assert cell.arrival_qps is not None
        count = max(1, round(cell.arrival_qps * self._experiment.seconds))
        if cell.arrivals == "fixed":
            due = np.arange(1, count + 1) / cell.arrival_qps
        else:
            rng = np.random.default_rng([self._workshop.seed, number])
            due = np.cumsum(rng.exponential(1 / cell.arrival_qps, count))
        path = Path(self._scratch.name) / "arrivals.npy"
        with storage_errors(f"writing {path}", path.parent):
            np.save(path, due)
        return path

    def _key(self, cell: _Measured) -> IndexKey:
        spec, search = cell.planned.spec, cell.cell.search
        opening = {name: search[name] for name in spec.opening_keys if name in search}
        return IndexKey(spec=spec, build=cell.cell.build, tier=cell.cell.tier, opening=opening)

    def _fail(self, cell: _Measured, failure: SystemFailedError) -> None:
        cell.fail(failure)
        self._finish(cell)

    def _finish(self, cell: _Measured) -> None:
        described = environment()
        result = Result(
            run=self._run,
            experiment=self._experiment.name,
            cell=cell.cell,
            provenance=provenance_of(cell.cell.tier, cell.planned.spec.on_disk),
            status=cell.status,
            reason=cell.reason,
            group=self._session,
            build=cell.build,
            repeats=tuple(cell.repeats),
            control=tuple(cell.control),
            notes=tuple(cell.notes),
            environment=described,
            commit=described["commit"],
        )
        self._finished(cell.planned.name, result)


def _available_bytes() -> int:
    """Memory that this machine can still give; without a limit where nothing says it."""
    return min(_core.available_memory_bytes(), 1 << 62)
