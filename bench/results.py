"""Result files: what one run of the harness measured, and how such files are put together again.

A run is a folder, and nothing in it is ever rewritten:

    RESULTS/<run>/run.json               the plan as text, the environment, when it began
    RESULTS/<run>/cells/<cell id>.json   one measured cell, written once, by rename, when its last repeat is done
    RESULTS/<run>/profiles/<id>.json     what one tier can do by read size (experiments of kind "profile")
    RESULTS/<run>/advice/<cell id>.json  what the advisor predicted for one cell, and what it did (kind "advice")

A cell is one setting of one system on one data set. Its repeats were measured in turn with those of the other cells of
its experiment, round by round, so the figures of one round may be divided (`Result.rounds`). `control` holds as many
more repeats of the same cell in the same rounds: the ratio of the two is what no difference looks like (A/A).

Files are JSON. Fields of `Result`, `Cell` and so on are the keys; what a system cannot tell is null. A reader that
meets another `format` refuses it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from tiervec.durable_files import replacing_file, storage_errors
from tiervec.errors import AlreadyExistsError, DataLossError, InvalidArgumentError, NotFoundError, UnsupportedError

__all__ = [
    "FORMAT",
    "AdviceResult",
    "BuildFigures",
    "Cell",
    "DatasetKey",
    "Latency",
    "ProfileResult",
    "Provenance",
    "Repeat",
    "Result",
    "RunInfo",
    "Status",
    "cell_id",
    "environment_label",
    "load_advice",
    "load_profiles",
    "load_results",
    "machine_letters",
    "machine_of",
    "read_advice",
    "read_profile",
    "read_result",
    "read_run_info",
    "write_advice",
    "write_profile",
    "write_result",
    "write_run_info",
]

FORMAT: Final = 1

Provenance = Literal["real", "emulated", "guest", "memory"]
"""Where the big part of the index was: a real device, a model of one, a device of a virtual machine that we booted, or
this process's memory alone."""

Status = Literal["ok", "crashed", "hung", "missing", "failed"]

_MACHINE_KEYS: Final = ("cpu", "cores", "allowed_cpus", "simd", "memory_bytes", "os", "kernel")


@dataclass(frozen=True, kw_only=True)
class DatasetKey:
    """Which vectors, queries and true neighbours. Equal keys: comparable recall.

    Attributes:
        name: As in the registry.
        slice: The first so many vectors; None: all.
        n: Vectors.
        dim: Dimension.
        dtype: float32, float16, int8 or uint8.
        metric: ``l2``, ``ip`` or ``cosine``.
        queries: Number of queries.
        checksum: XXH3 of the file of the vectors.
        queries_checksum: XXH3 of the queries.
        ground_truth_checksum: XXH3 of the true neighbours.
    """

    name: str
    slice: int | None
    n: int
    dim: int
    dtype: str
    metric: str
    queries: int
    checksum: str
    queries_checksum: str
    ground_truth_checksum: str

    @property
    def raw_bytes(self) -> int:
        """Bytes of the raw vectors."""
        return self.n * self.dim * {"float32": 4, "float16": 2, "int8": 1, "uint8": 1}[self.dtype]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One setting of one system on one data set.

    Attributes:
        system: Name in the registry of systems, for example ``tiervec-graph``.
        label: How figures and comparisons call it; the system's name unless the plan says otherwise.
        dataset: The data set.
        k: Neighbours asked for.
        threads: Threads that search.
        affinity: CPUs that the process may use.
        mode: ``closed``: the next call begins when one ends; ``open``: queries arrive at times that were fixed before,
            and latency counts from the arrival.
        batch: Queries of one call; 0: all of them in one call, and systems that do not time their queries then have no
            latency. With another number each of `threads` callers has one call running.
        arrival_qps: Rate of arrivals of the open mode.
        arrivals: ``poisson`` or ``fixed``, of the open mode.
        tier: URL, for systems that have tiers.
        build: Build parameters.
        search: Search parameters.
        target_recall: Set when a parameter was chosen so that this recall is just reached.
    """

    system: str
    label: str
    dataset: DatasetKey
    k: int
    threads: int
    affinity: tuple[int, ...]
    mode: Literal["closed", "open"] = "closed"
    batch: int = 0
    arrival_qps: float | None = None
    arrivals: Literal["poisson", "fixed"] | None = None
    tier: str | None = None
    build: Mapping[str, Any] = field(default_factory=dict)
    search: Mapping[str, Any] = field(default_factory=dict)
    target_recall: float | None = None


@dataclass(frozen=True, kw_only=True)
class BuildFigures:
    """What the index cost.

    Attributes:
        seconds: Build time, without reading a cached index; None when it was built on another machine.
        peak_bytes: Largest resident memory of the process that built it.
        disk_bytes: Bytes of the index on disk.
        memory_bytes: Resident memory that opening it added, measured.
        fast_bytes: Bytes in fast memory: what the index says where it has a tier, otherwise `memory_bytes`.
        tier_bytes: Bytes on the tier or on the SSD; 0 for an index that is in memory alone.
        amplification: tier_bytes / raw bytes of the vectors; None without a tier.
        fast_bytes_per_vector: fast_bytes / vectors.
        version: Version of the system.
    """

    seconds: float | None = None
    peak_bytes: int | None = None
    disk_bytes: int | None = None
    memory_bytes: int | None = None
    fast_bytes: int | None = None
    tier_bytes: int | None = None
    amplification: float | None = None
    fast_bytes_per_vector: float | None = None
    version: str | None = None


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Percentiles of the time of one query in microseconds; in the open mode from its intended arrival."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """One run over all queries.

    Attributes:
        round: 0, 1, ...; repeats of the same round were measured one after the other.
        started: Seconds since the epoch.
        seconds: Elapsed.
        queries: Queries answered.
        qps: Queries per second.
        recall: Mean recall at k; None in the open mode when queries were left unanswered.
        latency_us: None when the system did not time single queries.
        cpu_us_per_query: CPU time of the whole process.
        reads_per_query: None, like the next three, for systems that do not count it.
        bytes_per_query: Bytes read from the tier.
        rounds_per_query: Dependent round trips.
        code_distances_per_query: Distances computed from codes.
        device_bound_qps: Queries per second that the device could serve at most, modelled from its profile.
        fraction_of_limit: qps / device_bound_qps.
        unanswered: Queries of the open mode that were still waiting when the run was stopped.
        peak_bytes: Largest resident memory of the process so far, which has opened the index and searched it.
    """

    round: int
    started: float
    seconds: float
    queries: int
    qps: float
    recall: float | None
    latency_us: Latency | None = None
    cpu_us_per_query: float | None = None
    reads_per_query: float | None = None
    bytes_per_query: float | None = None
    rounds_per_query: float | None = None
    code_distances_per_query: float | None = None
    device_bound_qps: float | None = None
    fraction_of_limit: float | None = None
    unanswered: int = 0
    peak_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """One result file.

    Attributes:
        format: `FORMAT`.
        run: Name of the run.
        experiment: Name of the experiment in the plan.
        cell: What was measured.
        provenance: See `Provenance`.
        status: ``ok``; or ``crashed``, ``hung``, ``missing`` (not installed), ``failed`` (it said no).
        reason: One sentence when the status is not ``ok``.
        build: What the index cost.
        repeats: One per round.
        control: The A/A repeats: the same cell again in the same rounds; empty when the plan says so.
        notes: Sentences about what was not done as asked.
        group: Results with the same one were measured in turn: their rounds may be compared one by one.
        environment: Of `tiervec.environment`.
        commit: Of the source tree, also in the environment.
    """

    format: int = FORMAT
    run: str
    experiment: str
    cell: Cell
    provenance: Provenance
    status: Status
    reason: str | None = None
    group: str = ""
    build: BuildFigures = field(default_factory=BuildFigures)
    repeats: tuple[Repeat, ...] = ()
    control: tuple[Repeat, ...] = ()
    notes: tuple[str, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    commit: str | None = None

    def rounds(self, figure: str) -> dict[int, float]:
        """Round to one figure of its repeat, such as ``qps``, ``recall`` or ``latency_us.p99``; None is left out."""
        found = {repeat.round: _figure(repeat, figure) for repeat in self.repeats}
        return {number: value for number, value in found.items() if value is not None}

    def median(self, figure: str) -> float | None:
        """The median of a figure over the repeats; None when no repeat has it."""
        import statistics

        values = list(self.rounds(figure).values())
        return statistics.median(values) if values else None


@dataclass(frozen=True, kw_only=True)
class ProfileResult:
    """What one tier can do, by read size.

    Attributes:
        tier: URL.
        profile: ``ProfileReport.as_dict()`` of `tiervec.rdma.profile`, or None.
        status: As in `Result`.
    """

    format: int = FORMAT
    run: str
    experiment: str
    tier: str
    provenance: Provenance
    status: Status
    reason: str | None = None
    profile: Mapping[str, Any] | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    commit: str | None = None


@dataclass(frozen=True, kw_only=True)
class AdviceResult:
    """What the advisor predicted for an index, and what that index did.

    Attributes:
        cell: The index, built with its defaults, and what was asked of it.
        status: As in `Result`.
        check: ``Check.as_dict()`` of `tiervec.bench.advisor`: the figures, each predicted and measured; or None.
        recommended: The design that the advisor would build.
        samples: Vectors of the samples that it predicted from, ascending.
        notes: Its sentences.
    """

    format: int = FORMAT
    run: str
    experiment: str
    cell: Cell
    provenance: Provenance
    status: Status
    reason: str | None = None
    check: Mapping[str, Any] | None = None
    recommended: str | None = None
    samples: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    commit: str | None = None


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """run.json.

    Attributes:
        run: Name of the run.
        plan: The plan's TOML as it was.
        began: ISO 8601, UTC.
        environment: Of `tiervec.environment`.
    """

    format: int = FORMAT
    run: str
    plan: str
    began: str
    environment: Mapping[str, Any]


def cell_id(experiment: str, cell: Cell) -> str:
    """A name of a cell within its run: the same setting of the same experiment always has the same one."""
    text = json.dumps([experiment, dataclasses.asdict(cell)], sort_keys=True)
    name = "".join(letter if letter.isalnum() else "-" for letter in f"{experiment}-{cell.label}")
    return f"{name[:60]}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def write_result(folder: Path, name: str, result: Result) -> Path:
    """Writes ``cells/<name>.json`` of a run's folder, whole or not at all.

    Raises:
        AlreadyExistsError: It is there: results are not rewritten.
        ResourceExhaustedError: The disk is full.
    """
    return _write_once(folder / "cells" / f"{name}.json", result)


def read_result(path: Path) -> Result:
    """Reads one result file.

    Raises:
        NotFoundError: No such file.
        UnsupportedError: Another format than `FORMAT`.
        DataLossError: It is no result file, or damaged.
    """
    return _from_document(Result, _document(path), path)


def write_profile(folder: Path, name: str, result: ProfileResult) -> Path:
    """Writes ``profiles/<name>.json``; as `write_result`."""
    return _write_once(folder / "profiles" / f"{name}.json", result)


def read_profile(path: Path) -> ProfileResult:
    """Reads a file of `write_profile`; raises as `read_result`."""
    return _from_document(ProfileResult, _document(path), path)


def write_advice(folder: Path, name: str, result: AdviceResult) -> Path:
    """Writes ``advice/<name>.json``; as `write_result`."""
    return _write_once(folder / "advice" / f"{name}.json", result)


def read_advice(path: Path) -> AdviceResult:
    """Reads a file of `write_advice`; raises as `read_result`."""
    return _from_document(AdviceResult, _document(path), path)


def write_run_info(folder: Path, info: RunInfo) -> Path:
    """Writes ``run.json``; as `write_result`."""
    return _write_once(folder / "run.json", info)


def read_run_info(folder: Path) -> RunInfo:
    """Reads ``run.json``; raises as `read_result`."""
    return _from_document(RunInfo, _document(folder / "run.json"), folder / "run.json")


def load_results(folders: Iterable[Path], *, allow_mixed: bool = False) -> list[Result]:
    """All results of one or several runs, in the order of their names.

    Args:
        folders: Folders of runs.
        allow_mixed: Put results of unlike machines together; `environment_label` then tells them apart.

    Raises:
        NotFoundError: A folder is not a run.
        InvalidArgumentError: Unlike machines without `allow_mixed`, or one data set with two different sets of true
            neighbours, which no option allows.
    """
    results: list[Result] = []
    for folder in folders:
        read_run_info(folder)
        results += [read_result(path) for path in sorted((folder / "cells").glob("*.json"))]
    if not allow_mixed:
        _refuse_unlike_machines(results)
    _refuse_other_ground_truth(results)
    return results


def load_profiles(folders: Iterable[Path]) -> list[ProfileResult]:
    """The tiers that one or several runs have profiled."""
    return [read_profile(path) for folder in folders for path in sorted((folder / "profiles").glob("*.json"))]


def load_advice(folders: Iterable[Path]) -> list[AdviceResult]:
    """The predictions that one or several runs have checked."""
    return [read_advice(path) for folder in folders for path in sorted((folder / "advice").glob("*.json"))]


def machine_of(environment: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """What of an environment decides about speed; results of machines that differ in it do not mix."""
    return tuple((key, environment.get(key)) for key in _MACHINE_KEYS)


def machine_letters(environments: Iterable[Mapping[str, Any]]) -> dict[tuple[Any, ...], str]:
    """Machine to the letter that labels call it by, in the order in which they appear."""
    letters: dict[tuple[Any, ...], str] = {}
    for environment in environments:
        letters.setdefault(machine_of(environment), chr(ord("A") + len(letters) % 26))
    return letters


def environment_label(environment: Mapping[str, Any]) -> str:
    """A machine in a few words, for legends."""
    memory = environment.get("memory_bytes")
    size = "" if memory is None else f", {memory / 2**30:.0f} GiB"
    return (
        f"{environment.get('cpu') or 'unknown CPU'}, {environment.get('allowed_cpus')} CPUs{size}, "
        f"Linux {environment.get('kernel')}"
    )


def _refuse_unlike_machines(results: Sequence[Result]) -> None:
    for result in results[1:]:
        first, other = machine_of(results[0].environment), machine_of(result.environment)
        for (key, one), (_, two) in zip(first, other, strict=True):
            if one != two:
                raise InvalidArgumentError(
                    f"results of unlike machines: {key} is {one!r} in run {results[0].run} and {two!r} in run "
                    f"{result.run}; compare runs of one machine, or allow mixed ones (--allow-mixed)"
                )


def _refuse_other_ground_truth(results: Sequence[Result]) -> None:
    known: dict[tuple[Any, ...], tuple[str, Result]] = {}
    for result in results:
        dataset = result.cell.dataset
        name = (dataset.name, dataset.slice, dataset.queries, dataset.metric)
        checksums = f"{dataset.checksum} {dataset.queries_checksum} {dataset.ground_truth_checksum}"
        first, of = known.setdefault(name, (checksums, result))
        if first != checksums:
            raise InvalidArgumentError(
                f"{dataset.name} of {dataset.n:,} vectors has other vectors, queries or true neighbours in run "
                f"{result.run} ({checksums}) than in run {of.run} ({first}); their recalls cannot be compared"
            )


def _figure(repeat: Repeat, figure: str) -> float | None:
    value: Any = repeat
    for name in figure.split("."):
        if value is None:
            return None
        value = getattr(value, name)
    return None if value is None else float(value)


def _write_once(path: Path, document: Any) -> Path:
    text = json.dumps(dataclasses.asdict(document), indent=1, allow_nan=False)
    with storage_errors(f"writing {path}", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        raise AlreadyExistsError(f"{path} exists; results are not rewritten")
    with replacing_file(path, len(text)) as file:
        file.write(text.encode())
    return path


def _document(path: Path) -> dict[str, Any]:
    with storage_errors(f"reading {path}", path.parent):
        if not path.is_file():
            raise NotFoundError(f"{path} does not exist; a run of `tiervec bench run` has it")
        text = path.read_bytes()
    try:
        document = json.loads(text)
    except ValueError as error:
        raise DataLossError(f"{path} is not JSON: {error}") from None
    if not isinstance(document, dict) or "format" not in document:
        raise DataLossError(f"{path} is no result file: it has no format")
    if document["format"] != FORMAT:
        raise UnsupportedError(f"{path} has the format {document['format']!r}; this version reads {FORMAT}")
    return document


T = TypeVar("T")


def _from_document(kind: type[T], document: Any, path: Path) -> T:
    try:
        return typing.cast(T, _value(kind, document))
    except (TypeError, ValueError, KeyError) as error:
        raise DataLossError(f"{path} is no {kind.__name__}: {error}") from None


def _value(kind: Any, found: Any) -> Any:
    """`found` of JSON as the type that a field declares; TypeError when it is something else."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if found is None:
            return None
        return _value(next(option for option in arguments if option is not type(None)), found)
    if origin is Literal:
        if found not in arguments:
            raise ValueError(f"{found!r} is none of {', '.join(map(str, arguments))}")
        return found
    if origin is tuple:
        if not isinstance(found, list):
            raise TypeError(f"{found!r} is no list")
        return tuple(_value(arguments[0], item) for item in found)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _record(kind, found)
    if origin is not None:  # a mapping
        if not isinstance(found, dict):
            raise TypeError(f"{found!r} is no object")
        return found
    accepted = (int, float) if kind is float else (kind,)
    if not isinstance(found, accepted) or (isinstance(found, bool) and kind is not bool):
        raise TypeError(f"{found!r} is no {kind.__name__}")
    return kind(found)


def _record(kind: Any, found: Any) -> Any:
    if not isinstance(found, dict):
        raise TypeError(f"{found!r} is no object")
    hints = typing.get_type_hints(kind)
    unknown = found.keys() - hints.keys()
    if unknown:
        raise KeyError(f"unknown key {min(unknown)}")
    return kind(**{key: _value(hints[key], value) for key, value in found.items()})
