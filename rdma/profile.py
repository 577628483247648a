"""Measures what a tier can do: latency, reads/s and GB/s over read sizes.

The loops run in C++ on the tier's own queue, without the search engine, and load every cache line they read. What an
``emulated:`` tier gives is the model as far as this machine can drive it; every table and document says so.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tiervec import _core
from tiervec.arguments.parameter_checks import (
    check_callback,
    check_number,
    check_path,
    check_text,
    check_threads,
    check_whole,
    shown,
)
from tiervec.arguments.sizes import format_size, parse_size
from tiervec.errors import InvalidArgumentError, ResourceExhaustedError, UnavailableError
from tiervec.machine.environment import environment
from tiervec.rdma.remote_url import RemoteUrl, is_remote

__all__ = ["READ_SIZES", "Measured", "SizeProfile", "TierProfile", "profile"]

#: 64 B to 64 KiB, powers of two.
READ_SIZES: tuple[int, ...] = tuple(1 << power for power in range(6, 17))

_DEFAULT_REGION_BYTES = 256 << 20
_LATENCY_READ_BYTES = 64
_LATENCY_READS = 2000
_UNSTABLE_SPREAD = 0.25
_FEWEST_READS_IN_FLIGHT = 64
_MOST_READS_IN_FLIGHT = 1024
_PATIENCE_S = 1.0  # a run without a read back goes on for so long at most
_WARM_UP_S = 0.2  # also brings the whole region of mmap: into the page cache and the page table
_CHUNK_BYTES = 4 << 20
_MAX_RUNS = 10_000
_MIN_RUN_SECONDS, _MAX_RUN_SECONDS = 1e-6, 60


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A figure of several runs.

    Attributes:
        median: Median of the runs.
        spread: (largest - smallest) / median.
    """

    median: float
    spread: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Measured:
        """The figure of these runs; at least one."""
        median = statistics.median(values)
        return cls(median=median, spread=(max(values) - min(values)) / median if median else 0.0)

    def as_dict(self) -> dict[str, float]:
        """JSON values."""
        return {"median": self.median, "spread": self.spread}


@dataclass(frozen=True, kw_only=True)
class SizeProfile:
    """What the tier gives at one read size.

    Attributes:
        read_bytes: Size of every read.
        reads_per_s: Reads per second of all threads together.
        device_reads_per_s: What the device's own profile says for this size; for ``emulated:`` the model's limit. None
            for a nominal profile, which says nothing about this machine.
    """

    read_bytes: int
    reads_per_s: Measured
    device_reads_per_s: float | None

    @property
    def bytes_per_s(self) -> float:
        """Bytes per second, from the median."""
        return self.reads_per_s.median * self.read_bytes

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "read_bytes": self.read_bytes,
            "reads_per_s": self.reads_per_s.as_dict(),
            "bytes_per_s": self.bytes_per_s,
            "device_reads_per_s": self.device_reads_per_s,
        }


@dataclass(frozen=True, kw_only=True)
class TierProfile:
    """A measurement of a tier and where it was made.

    Attributes:
        url: The tier.
        emulated: True when a model of a device answered: every figure is then an emulated one.
        region_bytes: Size of the region that was read at random.
        threads: Reading threads.
        reads_in_flight: Reads each thread kept in flight.
        runs: Runs per figure, interleaved over the sizes.
        latency_us_p50: Median time of one 64 B read alone, in microseconds.
        latency_us_p99: 99th percentile of the same.
        sizes: One entry per read size, ascending.
        device: The device's profile as the tier knows it; ``source`` says where that comes from.
        environment: The machine and software, see `tiervec.machine.environment`.
        notes: Sentences about anything that limits the figures.
    """

    url: str
    emulated: bool
    region_bytes: int
    threads: int
    reads_in_flight: int
    runs: int
    latency_us_p50: Measured
    latency_us_p99: Measured
    sizes: tuple[SizeProfile, ...]
    device: dict[str, Any]
    environment: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def knee_bytes(self) -> float:
        """The read size from which a bigger read costs more: best bytes/s over the reads/s of the smallest size."""
        return max(size.bytes_per_s for size in self.sizes) / self.sizes[0].reads_per_s.median

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "url": self.url,
            "emulated": self.emulated,
            "region_bytes": self.region_bytes,
            "threads": self.threads,
            "reads_in_flight": self.reads_in_flight,
            "runs": self.runs,
            "latency_us": {
                "read_bytes": _LATENCY_READ_BYTES,
                "p50": self.latency_us_p50.as_dict(),
                "p99": self.latency_us_p99.as_dict(),
            },
            "sizes": [size.as_dict() for size in self.sizes],
            "knee_bytes": self.knee_bytes,
            "device": dict(self.device),
            "environment": dict(self.environment),
            "notes": list(self.notes),
        }

    def to_json(self) -> str:
        """One JSON document."""
        return json.dumps(self.as_dict())

    def table(self) -> str:
        """A table for people."""
        of_model = "emulated " if self.emulated else ""
        modelled = any(size.device_reads_per_s is not None for size in self.sizes)
        head = f"{'read bytes':>10}  {'M reads/s':>9}  {'GB/s':>6}  {'spread':>6}"
        lines = [
            f"{self.url}{' (EMULATED device)' if self.emulated else ''}   "
            f"random reads in {format_size(self.region_bytes)}, "
            f"{self.threads} {'thread' if self.threads == 1 else 'threads'} x {self.reads_in_flight} reads in flight, "
            f"median of {self.runs} runs",
            f"{of_model}latency of one {_LATENCY_READ_BYTES} B read: p50 {self.latency_us_p50.median:.3f} us "
            f"(spread {self.latency_us_p50.spread:.0%}), p99 {self.latency_us_p99.median:.3f} us",
            "",
            head + (f"  {'M reads/s of the model':>22}" if modelled else ""),
        ]
        for size in self.sizes:
            row = (
                f"{size.read_bytes:>10}  {size.reads_per_s.median / 1e6:>9.2f}  {size.bytes_per_s / 1e9:>6.2f}  "
                f"{size.reads_per_s.spread:>6.0%}"
            )
            lines.append(row if size.device_reads_per_s is None else f"{row}  {size.device_reads_per_s / 1e6:>22.2f}")
        model_knee = f" (of the model: {self.device['knee_bytes']:,.0f} B)" if modelled else ""
        lines += [
            "",
            f"{of_model}knee: about {self.knee_bytes:,.0f} B{model_knee}; below it fewer reads beat smaller reads",
        ]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)


def profile(
    url: str,
    *,
    region: str | os.PathLike[str] | None = None,
    region_bytes: int | str | None = None,
    threads: int = 0,
    runs: int = 5,
    read_sizes: Sequence[int] = READ_SIZES,
    run_seconds: float = 0.04,
    progress: Callable[[int, int], None] | None = None,
) -> TierProfile:
    """Measures a tier. Takes about five seconds by default.

    Args:
        url: The tier, for example ``dram:``, ``emulated:rdma-200g``, or the region of a memory node.
        region: File whose bytes are read. Without it a scratch region is made and removed again.
        region_bytes: Size of the scratch region, ``"1GiB"`` or bytes. Default 256 MiB, less on a machine with little
            free memory or disk, which a note says.
        threads: Reading threads; 0 means all CPUs this process may use.
        runs: Runs per figure, interleaved over the sizes; at least 1.
        read_sizes: Bytes per read, 1 to 65536.
        run_seconds: Length of one run.
        progress: Called with (runs done, runs in all).

    Returns:
        The figures with their spread and the machine they belong to.

    Raises:
        InvalidArgumentError: An unknown tier or profile, or an argument out of range.
        NotFoundError: No file `region`.
        ResourceExhaustedError: `region_bytes` is more than this machine has.
        UnavailableError: The tier answered no read in time.

    Example:
        >>> measured = profile("emulated:cxl-x8", region_bytes="8MiB", threads=1, runs=1, run_seconds=0.001)
        >>> measured.emulated, [size.read_bytes for size in measured.sizes][:3]
        (True, [64, 128, 256])
    """
    url = check_text("url", url, "dram:")
    region = None if region is None else check_path("region", region)
    check_callback("progress", progress)
    if is_remote(url):
        RemoteUrl.parse(url)
    else:
        _core.check_tier_url(url)
    sizes = _sizes(read_sizes)
    runs = check_whole("runs", runs, 1, _MAX_RUNS)
    run_seconds = check_number("run_seconds", run_seconds, _MIN_RUN_SECONDS, _MAX_RUN_SECONDS)
    threads = _core.resolve_threads(check_threads(threads))
    notes: list[str] = []
    if is_remote(url):
        if region is not None or region_bytes is not None:
            raise InvalidArgumentError(f"{url} is a region of memory nodes; it has its own bytes and size")
        from tiervec.rdma.attach import open_remote  # gRPC is only imported where it is needed

        tier = open_remote(url, None)
        sizes = [size for size in sizes if size <= tier.size_bytes]
        if not sizes:
            raise InvalidArgumentError(f"the region of {url} has {tier.size_bytes} bytes, less than every read size")
        return _measure(tier, sizes, threads, runs, run_seconds, notes, progress)
    with _region_file(region, region_bytes, notes) as path:
        tier = _core.open_tier(url, path)
        if sizes[-1] > tier.size_bytes:
            raise InvalidArgumentError(f"read size {sizes[-1]} is more than the region's {tier.size_bytes} bytes")
        return _measure(tier, sizes, threads, runs, run_seconds, notes, progress)


def _sizes(read_sizes: Sequence[int]) -> list[int]:
    if not isinstance(read_sizes, Sequence) or not read_sizes:
        raise InvalidArgumentError(f"read_sizes is {shown(read_sizes)}; it must be a list of sizes in bytes")
    return sorted({check_whole("one of read_sizes", size, 1, READ_SIZES[-1]) for size in read_sizes})


def _measure(
    tier: _core.Tier,
    sizes: list[int],
    threads: int,
    runs: int,
    run_seconds: float,
    notes: list[str],
    progress: Callable[[int, int], None] | None,
) -> TierProfile:
    wanted = -(-3 * tier.reads_in_flight // (2 * threads))  # half more than Little's law asks for
    in_flight = min(max(wanted, _FEWEST_READS_IN_FLIGHT), _MOST_READS_IN_FLIGHT)
    latency_bytes = min(_LATENCY_READ_BYTES, sizes[-1])
    tier.measure_reads_per_s(sizes[-1], threads, in_flight, min(_WARM_UP_S, 5 * run_seconds), 0)
    p50: list[float] = []
    p99: list[float] = []
    rates: dict[int, list[float]] = {size: [] for size in sizes}
    total = runs * (len(sizes) + 1)
    for run in range(runs):
        latencies_us = tier.measure_latency_ns(latency_bytes, _LATENCY_READS, run) / 1e3
        p50.append(float(np.percentile(latencies_us, 50)))
        p99.append(float(np.percentile(latencies_us, 99)))
        for at, size in enumerate(sizes, start=1):
            if progress is not None:
                progress(run * (len(sizes) + 1) + at, total)
            rates[size].append(tier.measure_reads_per_s(size, threads, in_flight, run_seconds, run, _PATIENCE_S))
    if progress is not None:
        progress(total, total)
    for size in sizes:
        if not statistics.median(rates[size]) > 0:
            raise UnavailableError(
                f"{tier.url}: no read of {size} bytes came back in most runs of {max(run_seconds, _PATIENCE_S):g} s; "
                "it is too slow for them, or this machine is busy"
            )
    device = dict(tier.profile)
    known = device["source"] != "nominal"
    measured = tuple(
        SizeProfile(
            read_bytes=size,
            reads_per_s=Measured.of(rates[size]),
            device_reads_per_s=1e9 / tier.service_ns(size) if known else None,
        )
        for size in sizes
    )
    return TierProfile(
        url=tier.url,
        emulated=tier.emulated,
        region_bytes=tier.size_bytes,
        threads=threads,
        reads_in_flight=in_flight,
        runs=runs,
        latency_us_p50=Measured.of(p50),
        latency_us_p99=Measured.of(p99),
        sizes=measured,
        device=device,
        environment=environment(),
        notes=(*notes, *_notes(tier, measured)),
    )


def _notes(tier: _core.Tier, sizes: tuple[SizeProfile, ...]) -> Iterator[str]:
    unstable = [str(size.read_bytes) for size in sizes if size.reads_per_s.spread > _UNSTABLE_SPREAD]
    if unstable:
        yield (
            f"unstable: runs differ by more than {_UNSTABLE_SPREAD:.0%} at {', '.join(unstable)} B; "
            "another load was on the machine"
        )
    if tier.emulated:
        yield "emulated: where the measured rate is below the model's, this machine's own memory and CPU are the limit"
    elif tier.url == "mmap:":
        yield "the region was in the page cache; pages that are not cost a disk read each"
    if note := str(tier.profile["note"]):
        yield note


@contextmanager
def _region_file(
    region: str | os.PathLike[str] | None, region_bytes: int | str | None, notes: list[str]
) -> Iterator[Path]:
    if region is not None:
        yield Path(region)
        return
    with tempfile.TemporaryDirectory(prefix="tiervec-profile-") as folder:
        path = Path(folder) / "region"
        _write_scratch(path, _scratch_bytes(Path(folder), region_bytes, notes))
        yield path


def _scratch_bytes(folder: Path, region_bytes: int | str | None, notes: list[str]) -> int:
    """How large the scratch region becomes: it lies on disk, in the page cache and in the tier's own memory."""
    room = min(shutil.disk_usage(folder).free // 2, _core.available_memory_bytes() // 4)
    if region_bytes is not None:
        wanted = parse_size(region_bytes, what="region_bytes")
        if wanted < READ_SIZES[-1]:
            raise InvalidArgumentError(f"region_bytes is {wanted}; it must be at least {READ_SIZES[-1]}")
        if wanted > room:
            raise ResourceExhaustedError(
                f"a scratch region of {format_size(wanted)} in {folder.parent} is more than this machine can give now, "
                f"{format_size(room)} (half of the free disk, a quarter of the free memory)"
            )
        return wanted
    if room < _DEFAULT_REGION_BYTES:
        notes.append(
            f"region of {format_size(room)} only: there is little free memory or disk, caches help the figures"
        )
    return max(min(_DEFAULT_REGION_BYTES, room), READ_SIZES[-1])


def _write_scratch(path: Path, size: int) -> None:
    # Not zeros: a file system must not keep the region as a hole, nor a drive compress it.
    chunk = np.random.default_rng(1).bytes(min(size, _CHUNK_BYTES))
    with path.open("wb") as file:
        for offset in range(0, size, len(chunk)):
            file.write(chunk[: size - offset])
        file.flush()
        os.fsync(file.fileno())  # a tier that reads past the page cache must not have to write it first
