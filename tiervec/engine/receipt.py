"""The read receipt: what a batch of queries cost, counted where it happened.

Counters come from the search engine; everything derived from them is computed here, so that the command line, the
service and the benchmarks print the same figures for the same run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Receipt"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Receipt:
    """What one call of ``Index.search`` cost. Totals are over all its queries; receipts compare by identity.

    Attributes:
        queries: Number of queries answered.
        k: Neighbours asked for per query.
        threads: Threads that worked: no more than there were queries, but two for one query that both can work on.
        params: Search parameters as used, after ``target_recall`` and defaults were resolved.
        tier: URL of the tier that was read.
        emulated: True when the tier is a model of a device; every time and rate below is then an emulated figure.
        reads: Reads issued to the tier.
        bytes_read: Bytes asked of the tier by those reads.
        rounds: Dependent round trips; reads issued together count as one.
        code_distances: Distances computed from codes in fast memory.
        hot_records: Records found in fast memory, so that they were not read from the tier.
        rereads: Those of the reads that repeated others on another replica, because a record was not what was written.
        cpu_us: CPU time in microseconds, summed over the workers. A worker that waits for reads polls the tier, so that
            its waiting is CPU time, too; on ``ssd:`` with io_uring it sleeps.
        waiting_us: Elapsed time in microseconds, summed over the workers, in which none of a worker's queries could go
            on: it waited for reads, and took them in. Where it polls, part of ``cpu_us`` as far as no other thread
            wanted the processor meanwhile. 0 on tiers that are loaded from, such as ``dram:``, but for what a second
            thread, which helps with a query, polled since the last search that it helped with.
        wall_us: Elapsed time in microseconds, from the first query's start to the last one's end.
        latency_us: Time from start to end of each query in microseconds, float32 of shape (queries,).
        device: The device's profile as ``Tier.profile`` of the extension gives it (``latency_us``, ``reads_per_s``,
            ``bytes_per_s``, ``block_bytes``, ``service``, ``source``, ...), or None when the tier has none.
        expected_recall: Recall that these parameters reached when the index was calibrated; None when they were given.
        matching: Vectors that the filter admits; None without one.
        plan: How the search found them: ``empty`` (nothing matches), ``rows`` (it looked at each), ``clusters`` (at
            those of the nearest clusters) or ``search`` (a longer walk, of which it kept what matches).
        notes: Sentences about anything that was not done as asked (fallbacks, caps).

    Example:
        >>> import numpy as np
        >>> receipt = Receipt(queries=2, k=10, threads=1, params={"search_list": 32}, tier="dram:", emulated=False,
        ...                   reads=90, bytes_read=23040, rounds=30, code_distances=3000, cpu_us=80.0, wall_us=100.0,
        ...                   latency_us=np.array([48.0, 50.0], dtype=np.float32))
        >>> receipt.reads_per_query, receipt.rounds_per_query, receipt.qps
        (45.0, 15.0, 20000.0)
    """

    queries: int
    k: int
    threads: int
    params: Mapping[str, Any]
    tier: str
    emulated: bool
    reads: int
    bytes_read: int
    rounds: int
    code_distances: int
    cpu_us: float
    wall_us: float
    latency_us: NDArray[np.float32]
    waiting_us: float = 0.0
    hot_records: int = 0
    rereads: int = 0
    device: Mapping[str, Any] | None = None
    expected_recall: float | None = None
    matching: int | None = None
    plan: str | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of_fields(cls, **fields: Any) -> Receipt:
        """A receipt of fields that are all given: a frozen dataclass sets them one by one, a tenth of a short call."""
        receipt = object.__new__(cls)
        vars(receipt).update(fields)
        return receipt

    @property
    def reads_per_query(self) -> float:
        """Mean reads per query."""
        return self._per_query(self.reads)

    @property
    def bytes_per_query(self) -> float:
        """Mean bytes read per query."""
        return self._per_query(self.bytes_read)

    @property
    def rounds_per_query(self) -> float:
        """Mean dependent round trips per query."""
        return self._per_query(self.rounds)

    @property
    def code_distances_per_query(self) -> float:
        """Mean distances computed from codes per query."""
        return self._per_query(self.code_distances)

    @property
    def hot_records_per_query(self) -> float:
        """Mean records per query that were found in fast memory."""
        return self._per_query(self.hot_records)

    @property
    def cpu_us_per_query(self) -> float:
        """Mean CPU time per query in microseconds, with what the workers polled."""
        return self._per_query(self.cpu_us)

    @property
    def waiting_us_per_query(self) -> float:
        """Mean time per query in microseconds in which a worker only waited for its tier."""
        return self._per_query(self.waiting_us)

    @property
    def qps(self) -> float:
        """Queries per second of elapsed time; 0 when no time was measured."""
        return self.queries * 1e6 / self.wall_us if self.wall_us > 0 else 0.0

    @property
    def latency_us_p50(self) -> float | None:
        """Median latency in microseconds; None without queries."""
        return self._latency_percentile(50)

    @property
    def latency_us_p95(self) -> float | None:
        """95th percentile of the latency in microseconds; None without queries."""
        return self._latency_percentile(95)

    @property
    def latency_us_p99(self) -> float | None:
        """99th percentile of the latency in microseconds; None without queries."""
        return self._latency_percentile(99)

    @property
    def device_bound_qps(self) -> float | None:
        """Queries per second at which the device is busy all the time, modelled from its profile.

        Reads count as whole blocks and as well aligned. None without reads, without a profile, and with one that
        measured nothing or is nominal, which describes no particular device.
        """
        if self.device is None or self.device.get("source") == "nominal" or not self.reads or not self.queries:
            return None
        if not self.device["reads_per_s"] or not self.device["bytes_per_s"]:
            return None  # the measurement saw no read come back
        block_bytes = int(self.device["block_bytes"])
        read_bytes = self.bytes_read / self.reads
        moved_bytes = read_bytes if read_bytes <= block_bytes else math.ceil(read_bytes / block_bytes) * block_bytes
        return 1e9 / (self.reads_per_query * _service_ns(self.device, moved_bytes))

    @property
    def fraction_of_limit(self) -> float | None:
        """``qps`` over ``device_bound_qps``: how much of the device this run used. None when the bound is unknown."""
        bound = self.device_bound_qps
        return self.qps / bound if bound else None

    def as_dict(self) -> dict[str, Any]:
        """The receipt as plain numbers, strings, lists and dicts, ready for JSON; latencies as percentiles."""
        return {
            "queries": self.queries,
            "k": self.k,
            "threads": self.threads,
            "params": dict(self.params),
            "tier": self.tier,
            "emulated": self.emulated,
            "reads": self.reads,
            "bytes_read": self.bytes_read,
            "rounds": self.rounds,
            "code_distances": self.code_distances,
            "hot_records": self.hot_records,
            "rereads": self.rereads,
            "cpu_us": self.cpu_us,
            "waiting_us": self.waiting_us,
            "wall_us": self.wall_us,
            "qps": self.qps,
            "latency_us": {"p50": self.latency_us_p50, "p95": self.latency_us_p95, "p99": self.latency_us_p99},
            "reads_per_query": self.reads_per_query,
            "bytes_per_query": self.bytes_per_query,
            "rounds_per_query": self.rounds_per_query,
            "code_distances_per_query": self.code_distances_per_query,
            "hot_records_per_query": self.hot_records_per_query,
            "cpu_us_per_query": self.cpu_us_per_query,
            "waiting_us_per_query": self.waiting_us_per_query,
            "device": None if self.device is None else dict(self.device),
            "device_bound_qps": self.device_bound_qps,
            "fraction_of_limit": self.fraction_of_limit,
            "expected_recall": self.expected_recall,
            **({} if self.plan is None else {"matching": self.matching, "plan": self.plan}),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        """A few lines for people; says so when the device is emulated."""
        device = f"{self.tier} (emulated device)" if self.emulated else self.tier
        settings = " ".join(f"{name}={_setting_text(value)}" for name, value in self.params.items())
        lines = [
            f"{self.queries:,} {'query' if self.queries == 1 else 'queries'}, k={self.k}, "
            f"{self.threads} {'thread' if self.threads == 1 else 'threads'}, on {device}",
        ]
        if settings:
            expected = "" if self.expected_recall is None else f" (expected recall {self.expected_recall:.3f})"
            lines.append(f"  searched with  {settings}{expected}")
        lines.append(
            f"  reads          {self.reads_per_query:.1f} per query, {self.bytes_per_query:,.0f} bytes per query, "
            f"in {self.rounds_per_query:.1f} dependent rounds"
        )
        if self.matching is not None:
            lines.append(f"  filter         {self.matching:,} vectors match; plan {self.plan}")
        if self.hot_records:
            lines.append(f"  hot records    {self.hot_records_per_query:.1f} per query, found in fast memory")
        waiting = f"; waited {self.waiting_us_per_query:,.1f} us for reads" if self.waiting_us else ""
        lines.append(f"  CPU time       {self.cpu_us_per_query:,.1f} us per query{waiting}")
        if self.queries:
            lines.append(
                f"  latency        p50 {self.latency_us_p50:,.0f} us, p95 {self.latency_us_p95:,.0f} us, "
                f"p99 {self.latency_us_p99:,.0f} us"
            )
        lines.append(f"  throughput     {self.qps:,.0f} queries per second{self._limit_text()}")
        lines.extend(f"  note           {note}" for note in self.notes)
        return "\n".join(lines)

    def _limit_text(self) -> str:
        if self.device_bound_qps is None or self.fraction_of_limit is None:
            return ""
        whose = "the emulated device's" if self.emulated else "the device's"
        return f", {self.fraction_of_limit:.1%} of {whose} limit of {self.device_bound_qps:,.0f}"

    def _per_query(self, total: float) -> float:
        return total / self.queries if self.queries else 0.0

    def _latency_percentile(self, percent: float) -> float | None:
        return float(np.percentile(self.latency_us, percent)) if self.latency_us.size else None


def _service_ns(device: Mapping[str, Any], read_bytes: float) -> float:
    """How long one read occupies the device; the same model as ``service_ns`` in ``rdma/src/device_profile.cc``."""
    ns_per_byte = 1e9 / float(device["bytes_per_s"])
    points = device.get("service") or ()
    if not points:
        return max(1e9 / float(device["reads_per_s"]), read_bytes * ns_per_byte)
    if read_bytes >= points[-1][0]:
        return float(points[-1][1] + (read_bytes - points[-1][0]) * ns_per_byte)
    return float(np.interp(read_bytes, [point[0] for point in points], [point[1] for point in points]))


def _setting_text(value: Any) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)
