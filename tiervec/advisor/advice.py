"""What the advisor says: a prediction for each design, the best of them, and how it is built."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tiervec.advisor.design import Design
from tiervec.advisor.measurement import Run, Work
from tiervec.arguments.sizes import format_size

__all__ = ["Advice", "Prediction"]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What to expect of one design with all vectors.

    Attributes:
        design: What to build.
        beam_width: Search parameter, or None.
        qps: Queries per second of all threads.
        latency_us: Median time of a query that is alone.
        work: What a query costs, in counts.
        busy_us: Time of one thread that a query takes.
        device_bound_qps: What the device can serve at most; None: it sets no limit.
        fast_bytes: Fast memory.
        tier_bytes: Bytes on the tier.
        amplification: tier_bytes / bytes of the raw vectors.
        binds: What limits the throughput: ``CPU``, ``device reads/s`` or ``device bytes/s``.
        fits: True when fast_bytes is within the limit.
    """

    design: Design
    beam_width: int | None
    qps: float
    latency_us: float
    work: Work
    busy_us: float
    device_bound_qps: float | None
    fast_bytes: int
    tier_bytes: int
    amplification: float
    binds: str
    fits: bool

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "kind": self.design.kind,
            "params": dict(self.design.params),
            "beam_width": self.beam_width,
            "qps": self.qps,
            "latency_us": self.latency_us,
            "reads_per_query": self.work.reads,
            "bytes_per_query": self.work.read_bytes,
            "rounds_per_query": self.work.rounds,
            "code_distances_per_query": self.work.codes,
            "cpu_us_per_query": self.busy_us,
            "device_bound_qps": self.device_bound_qps,
            "fraction_of_limit": None if self.device_bound_qps is None else self.qps / self.device_bound_qps,
            "fast_bytes": self.fast_bytes,
            "tier_bytes": self.tier_bytes,
            "amplification": self.amplification,
            "binds": self.binds,
            "fits": self.fits,
        }


@dataclass(frozen=True, kw_only=True)
class Advice:
    """The answer.

    Attributes:
        data: The file.
        vectors: Its vectors.
        tier: The device as it was named.
        is_tier: True when that is the URL of a tier; False: a profile.
        emulated: True when a model of the device was measured: throughput and latency are then emulated figures.
        k: Neighbours.
        target_recall: Recall.
        threads: Worker threads.
        prefer: ``throughput`` or ``latency``.
        metric: ``l2``, ``ip`` or ``cosine``.
        fast_memory: The limit, or None.
        best: What to build.
        predictions: All that were compared, best first.
        samples: Sizes of the samples.
        costs: Kind of search to microseconds of its parts.
        notes: Sentences.
        environment: Of `tiervec.machine.environment`.
        checked: What the index to check did, or None.
    """

    data: str
    vectors: int
    tier: str
    is_tier: bool
    emulated: bool
    k: int
    target_recall: float
    threads: int
    prefer: str
    metric: str
    fast_memory: int | None
    best: Prediction
    predictions: tuple[Prediction, ...]
    samples: tuple[int, ...]
    costs: Mapping[str, Mapping[str, float]]
    notes: tuple[str, ...]
    environment: Mapping[str, Any]
    checked: Run | None = None

    @property
    def commands(self) -> tuple[str, str]:
        """How the best one is built and searched."""
        sets = [
            f"--set {key}={value:g}" if isinstance(value, float) else f"--set {key}={value}"
            for key, value in self.best.design.params.items()
        ]
        data = shlex.quote(self.data)
        metric = "" if self.metric == "l2" else f" --metric {self.metric}"
        build = f"tiervec build --data {data} --out DIR --kind {self.best.design.kind}{metric} {' '.join(sets)}"
        width = self.best.beam_width
        search = f"tiervec search DIR --queries FILE --k {self.k} --target-recall {self.target_recall:g}"
        if self.is_tier:
            search += f" --tier {shlex.quote(self.tier)}"
        if width is not None and width > 1:
            search += f"  # beam_width={width}: params of the API and of the service"
        return build, search

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "data": self.data,
            "vectors": self.vectors,
            "tier": self.tier,
            "emulated": self.emulated,
            "k": self.k,
            "target_recall": self.target_recall,
            "threads": self.threads,
            "prefer": self.prefer,
            "metric": self.metric,
            "fast_memory": self.fast_memory,
            "best": self.best.as_dict(),
            "commands": list(self.commands),
            "predictions": [each.as_dict() for each in self.predictions],
            "samples": list(self.samples),
            "costs": {kind: dict(cost) for kind, cost in self.costs.items()},
            "notes": list(self.notes),
            "environment": dict(self.environment),
        }

    def __str__(self) -> str:
        """For people."""
        best, emulated = self.best, " (emulated)" if self.emulated else ""
        device = (
            "" if best.device_bound_qps is None else f", {best.qps / best.device_bound_qps:.1%} of the device's limit"
        )
        lines = [
            f"{self.data}: {self.vectors:,} vectors, k={self.k}, recall {self.target_recall:g}, on {self.tier}"
            f"{emulated}, {self.threads} threads",
            f"best for {self.prefer}: {best.design.name}" + _width(best),
            f"  {self.commands[0]}",
            f"  {self.commands[1]}",
            f"predicted{emulated}, from samples of {' and '.join(f'{size:,}' for size in self.samples)} vectors",
            f"  throughput     {best.qps:,.0f} queries per second; what binds: {best.binds}{device}",
            f"  latency        {best.latency_us:,.0f} us for a query alone, in {best.work.rounds:.1f} dependent rounds",
            f"  a query costs  {best.work.reads:.1f} reads, {best.work.read_bytes:,.0f} bytes, "
            f"{best.work.codes:,.0f} code distances, {best.busy_us:.1f} us of CPU time",
            f"  on the tier    {format_size(best.tier_bytes)}, amplification {best.amplification:.2f}",
            f"  fast memory    {format_size(best.fast_bytes)}, {best.fast_bytes / self.vectors:.1f} bytes per vector",
            "",
            f"  {'design':<52} {'QPS':>8} {'alone us':>9} {'reads':>7} {'amplif.':>7} {'fast B/v':>8}  binds",
        ]
        for each in self.predictions:
            lines.append(
                f"  {each.design.name + _width(each):<52} {each.qps:>8,.0f} {each.latency_us:>9,.0f} "
                f"{each.work.reads:>7.1f} {each.amplification:>7.2f} {each.fast_bytes / self.vectors:>8.1f}  "
                + (each.binds if each.fits else "does not fit")
            )
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def _width(prediction: Prediction) -> str:
    return f", beam_width={prediction.beam_width}" if (prediction.beam_width or 1) > 1 else ""
