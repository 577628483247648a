"""What one run of the harness measured; `result_files` keeps it.

A cell is one setting of one system on one data set. Its repeats were measured in turn with those of the other cells of
its experiment, round by round, so the figures of one round may be divided (`Result.rounds`). `control` holds as many
more repeats of the same cell in the same rounds: the ratio of the two is what no difference looks like (A/A). What a
system cannot tell is None.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

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
]

FORMAT: Final = 1

Provenance = Literal["real", "emulated", "guest", "memory"]
"""Where the big part of the index was: a real device, a model of one, a device of a virtual machine that we booted, or
this process's memory alone."""

Status = Literal["ok", "crashed", "hung", "missing", "failed"]


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
        environment: Of `tiervec.machine.environment`.
        commit: Commit of the source tree, also in the environment.
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
        check: ``Check.as_dict()`` of `tiervec.advisor`: the figures, each predicted and measured; or None.
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
        environment: Of `tiervec.machine.environment`.
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


def _figure(repeat: Repeat, figure: str) -> float | None:
    value: Any = repeat
    for name in figure.split("."):
        if value is None:
            return None
        value = getattr(value, name)
    return None if value is None else float(value)
