"""Results as rows: one for each measured cell, with the names and units of the CSV files."""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiervec.bench.machines import environment_label, machine_letters, machine_of
from tiervec.bench.result_files import load_advice, load_profiles, load_results, read_run_info
from tiervec.bench.results import AdviceResult, Cell, DatasetKey, ProfileResult, Result, cell_id
from tiervec.errors import InvalidArgumentError

__all__ = ["Row", "RunData", "dataset_text", "load", "ordered", "series_text", "tier_text"]

Row = dict[str, Any]
_Measured = Result | ProfileResult | AdviceResult

_TIERS = (
    "ssd:",
    "emulated:ssd",
    "mmap:",
    "tcp:",
    "rdma:",
    "emulated:rdma",
    "numa:",
    "dax:",
    "emulated:nvm",
    "emulated:cxl",
)
_BELOW_TARGET = 0.01  # so much less recall than asked for is another setting, not noise


@dataclass(frozen=True, kw_only=True)
class RunData:
    """What one or several runs measured.

    Attributes:
        names: Names of the runs.
        results: Every cell, measured or not.
        profiles: Profiles of tiers.
        advice: Predictions of the advisor, beside what was measured.
        machines: Machine to its letter; one machine: no letter is shown.
    """

    names: tuple[str, ...]
    results: tuple[Result, ...]
    profiles: tuple[ProfileResult, ...]
    advice: tuple[AdviceResult, ...]
    machines: Mapping[tuple[Any, ...], str]

    @property
    def is_mixed(self) -> bool:
        """True when they are of unlike machines."""
        return len(self.machines) > 1

    def environments(self) -> list[str]:
        """Each machine in a few words, with its letter when there are several."""
        every: list[_Measured] = [*self.results, *self.profiles, *self.advice]
        found = []
        for machine, letter in self.machines.items():
            here = [each for each in every if machine_of(each.environment) == machine]
            commits = ordered(each.commit[:12] for each in here if each.commit is not None)
            text = environment_label(here[0].environment) + (f", commit {', '.join(commits)}" if commits else "")
            found.append(f"[{letter}] {text}" if self.is_mixed else text)
        return found

    def rows(self, accepts: Callable[[Result], bool] = lambda _: True) -> list[Row]:
        """The measured cells that a figure wants; those that missed their recall are left out."""
        return [row for row, _ in self.measured(accepts)]

    def measured(self, accepts: Callable[[Result], bool]) -> list[tuple[Row, Result]]:
        """The same with the results that they are of."""
        found = (each for each in self.results if each.status == "ok" and each.repeats and accepts(each))
        pairs = [(self.row(each), each) for each in found if not missed_recall(each)]
        return sorted(pairs, key=lambda pair: _place(pair[0]))

    def of(self, *experiments: str) -> list[Row]:
        """The cells of experiments whose names begin so."""
        return self.rows(lambda result: result.experiment.startswith(experiments))

    def notes(self) -> list[tuple[str, str]]:
        """(note, cells that it is about): what was not done as asked."""
        found: dict[str, list[str]] = {}
        for each in self.results:
            for note in each.notes:
                found.setdefault(note, []).append(f"{each.experiment}: {_cell_text(each.cell)}")
        return [(note, "; ".join(ordered(cells))) for note, cells in found.items()]

    def out_of_turn(self) -> list[str]:
        """Experiments of which not all cells that share data set, k and threads took turns."""
        groups: dict[tuple[Any, ...], set[str]] = {}
        for each in self.results:
            if each.status == "ok" and each.repeats:
                cell = each.cell
                key = (each.experiment, cell.dataset, cell.k, cell.threads, cell.batch, machine_of(each.environment))
                groups.setdefault(key, set()).add(each.group)
        return ordered(key[0] for key, found in groups.items() if len(found) > 1)

    def absent(self) -> list[tuple[str, str, str]]:
        """(experiment, cell, why) of all that is not in the figures."""
        listed = []
        for each in self.results:
            what = _cell_text(each.cell)
            if each.status != "ok":
                listed.append((each.experiment, what, f"{each.status}: {each.reason or 'no reason was given'}"))
            elif not each.repeats:
                listed.append((each.experiment, what, "no repeat was measured"))
            elif missed_recall(each):
                recall = each.median("recall")
                listed.append(
                    (each.experiment, what, f"recall {recall:.3f}, below the {each.cell.target_recall:g} asked for")
                )
        for tier in self.profiles:
            if tier.status != "ok" or tier.profile is None:
                listed.append((tier.experiment, tier.tier, f"{tier.status}: {tier.reason or 'no reason was given'}"))
        for advice in self.advice:
            if advice.status != "ok" or advice.check is None:
                why = f"{advice.status}: {advice.reason or 'no reason was given'}"
                listed.append((advice.experiment, _cell_text(advice.cell), why))
        return listed

    def row(self, result: Result) -> Row:
        """One cell; figures of speed are medians of the repeats, with the lowest and highest."""
        cell, build = result.cell, result.build
        qps = list(result.rounds("qps").values())
        control = [one.qps / two.qps for one, two in zip(result.control, result.repeats, strict=False) if two.qps]
        peak = max((one.peak_bytes for one in (*result.repeats, *result.control) if one.peak_bytes), default=None)
        machine = self.machines[machine_of(result.environment)] if self.is_mixed else ""
        also = self._also(result)
        letter = f" [{machine}]" if machine else ""
        return {
            "experiment": result.experiment,
            "label": cell.label + also + letter,
            "system": cell.system,
            "dataset": dataset_text(cell.dataset),
            "vectors": cell.dataset.n,
            "k": cell.k,
            "threads": cell.threads,
            "batch": cell.batch,
            "also": also,
            "mode": cell.mode,
            "arrival_qps": cell.arrival_qps,
            "tier": cell.tier or "",
            "provenance": result.provenance,
            "build": _settings(cell.build),
            "search": _settings(cell.search),
            **{f"build_{key}": value for key, value in cell.build.items()},
            "recall": result.median("recall"),
            "qps": statistics.median(qps),
            "qps_low": min(qps),
            "qps_high": max(qps),
            "repeats": len(qps),
            "aa_ratio": statistics.median(control) if control else None,
            "aa_low": min(control, default=None),
            "aa_high": max(control, default=None),
            **{f"latency_us_{name}": result.median(f"latency_us.{name}") for name in ("p50", "p95", "p99")},
            "cpu_us_per_query": result.median("cpu_us_per_query"),
            "reads_per_query": result.median("reads_per_query"),
            "bytes_per_query": result.median("bytes_per_query"),
            "rounds_per_query": result.median("rounds_per_query"),
            "device_bound_qps": result.median("device_bound_qps"),
            "fraction_of_limit": result.median("fraction_of_limit"),
            "amplification": build.amplification,
            "fast_bytes_per_vector": build.fast_bytes_per_vector,
            "memory_bytes": build.memory_bytes,
            "search_peak_mib": None if peak is None else peak / 2**20,
            "build_seconds": build.seconds,
            "peak_mib": None if build.peak_bytes is None else build.peak_bytes / 2**20,
            "disk_mib": None if build.disk_bytes is None else build.disk_bytes / 2**20,
            "version": build.version,
            "unanswered": sum(each.unanswered for each in result.repeats) or None,
            "run": result.run,
            "machine": machine,
            "group": result.group,
            "notes": "; ".join(result.notes),
        }

    def _also(self, result: Result) -> str:
        """Neighbours, threads and batch of a cell where its experiment has several: no line joins unlike ones."""
        every = self._setups[result.experiment]
        own = (result.cell.k, result.cell.threads, result.cell.batch)
        words = (f", k={own[0]}", f", {own[1]} thread{'' if own[1] == 1 else 's'}", f", batch {own[2] or 'of all'}")
        return "".join(word for at, word in enumerate(words) if len({setup[at] for setup in every}) > 1)

    @functools.cached_property
    def _setups(self) -> dict[str, set[tuple[int, int, int]]]:
        found: dict[str, set[tuple[int, int, int]]] = {}
        for each in self.results:
            found.setdefault(each.experiment, set()).add((each.cell.k, each.cell.threads, each.cell.batch))
        return found


def load(folders: Iterable[Path], *, allow_mixed: bool = False) -> RunData:
    """Reads the folders of runs.

    Raises:
        NotFoundError: A folder is no run.
        InvalidArgumentError: Unlike machines without `allow_mixed`; the same measured in two runs of one machine; or
            nothing was measured yet.
    """
    paths = list(folders)
    results = load_results(paths, allow_mixed=allow_mixed)
    profiles, advice = load_profiles(paths), load_advice(paths)
    if not results and not profiles and not advice:
        raise InvalidArgumentError(f"{', '.join(map(str, paths))}: nothing is measured yet; `tiervec bench run` does")
    every: list[_Measured] = [*results, *profiles, *advice]
    machines = machine_letters(each.environment for each in every)
    _refuse_two_of_a_kind(results, profiles, advice)
    if len(machines) > 1 and not allow_mixed:  # of profiles and advice; results are checked where they are loaded
        raise InvalidArgumentError(
            "profiles, advice and results are of unlike machines; report runs of one machine, or allow mixed ones "
            "(--allow-mixed)"
        )
    return RunData(
        names=tuple(read_run_info(path).run for path in paths),
        results=tuple(results),
        profiles=tuple(profiles),
        advice=tuple(advice),
        machines=machines,
    )


def _refuse_two_of_a_kind(
    results: Sequence[Result], profiles: Sequence[ProfileResult], advice: Sequence[AdviceResult]
) -> None:
    """Figures would join what two runs on one machine measured of one cell, one curve or one tier."""
    cells: list[tuple[_Measured, str, str]] = [
        *((each, _cell_text(each.cell), cell_id(each.experiment, each.cell)) for each in results),
        *((each, _cell_text(each.cell), cell_id(each.experiment, each.cell)) for each in advice),
        *((each, each.tier, each.tier) for each in profiles),
    ]
    curves: list[tuple[_Measured, str, str]] = [
        (each, _cell_text(each.cell), cell_id(each.experiment, dataclasses.replace(each.cell, search={})))
        for each in results
    ]
    for measured, shared_by_one_run in ((cells, False), (curves, True)):
        known: dict[tuple[Any, ...], _Measured] = {}
        for each, what, name in measured:
            first = known.setdefault((type(each), each.experiment, name, machine_of(each.environment)), each)
            if first is not each and not (shared_by_one_run and first.run == each.run):
                raise InvalidArgumentError(
                    f"{what} of experiment {each.experiment!r} was measured twice on one machine, in run {first.run} "
                    f"and in run {each.run}; report the two apart"
                )


def missed_recall(result: Result) -> bool:
    """True when a cell was to reach a recall and did not."""
    target, recall = result.cell.target_recall, result.median("recall")
    return target is not None and recall is not None and recall < target - _BELOW_TARGET


def ordered(values: Iterable[Any]) -> list[Any]:
    """Distinct values in the order in which they appear."""
    return list(dict.fromkeys(values))


def tier_text(row: Mapping[str, Any]) -> str:
    """A tier as figures call it; what is not real says so."""
    provenance = row["provenance"]
    tier = str(row["tier"]) or ("memory" if provenance == "memory" else "disk")  # a system without tiers
    if provenance == "emulated":
        return tier.removeprefix("emulated:") + " (emulated)"
    if provenance == "guest":
        return f"{tier} (in a guest)"
    if "://loopback" in tier:  # a real network stack, but no network
        return f"{tier} (a node on this machine)"
    return f"{tier} (this machine's memory)" if tier == "numa:0" else tier


def series_text(row: Mapping[str, Any]) -> str:
    """A system on its tier, for the end of a line."""
    return f"{row['label']}, {tier_text(row)}" if row["tier"] else str(row["label"])


def dataset_text(dataset: DatasetKey) -> str:
    """A data set in a few words: the name of a generated one says all its parameters."""
    if dataset.name.startswith("synthetic"):
        return f"synthetic, {dataset.n:,} x {dataset.dim}"
    return dataset.name if dataset.slice is None else f"{dataset.name}, {dataset.n:,}"


def columns(rows: Sequence[Row]) -> list[str]:
    """Columns of which at least one row has a value."""
    known = ordered(key for row in rows for key in row)
    return [key for key in known if any(row.get(key) not in (None, "") for row in rows)]


def _place(row: Row) -> tuple[Any, ...]:
    """Slow devices first, so that panels and lines come in an order that says something."""
    scheme = str(row["tier"]).split(",")[0]
    tier = next((at for at, each in enumerate(_TIERS) if scheme.startswith(each)), len(_TIERS))
    return row["vectors"], tier, row["tier"], row["experiment"], row["label"]


def _cell_text(cell: Cell) -> str:
    what = f"{cell.label} on {cell.dataset.name}" + (f", {cell.tier}" if cell.tier else "")
    settings = _settings({**cell.build, **cell.search})
    return f"{what} ({settings})" if settings else what


def _settings(values: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in values.items())
