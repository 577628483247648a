"""The device that is asked about: a tier of this machine, or a profile of one that is elsewhere.

A tier that holds an index in this machine is measured as it is. A memory node or a profile of `tiervec profile --json`
becomes an ``emulated:`` tier with the measured latency, reads/s and bytes/s, and what is predicted is then a model.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tiervec import _core
from tiervec.engine.receipt import Receipt
from tiervec.errors import InvalidArgumentError
from tiervec.machine.durable_files import storage_errors
from tiervec.rdma.profile import profile
from tiervec.rdma.remote_url import is_remote

__all__ = ["Device"]

_IN_MEMORY = ("dram:", "mmap:", "numa:", "dax:", "emulated:")
_WITHOUT_LIMIT = ("dram:", "mmap:", "numa:", "dax:")


@dataclass(frozen=True, kw_only=True)
class Device:
    """Where the big part of an index is to be.

    Attributes:
        asked: What the user named.
        url: The tier that the samples are searched on.
        figures: What limits it, keys as in ``Tier.profile``; None: nothing but this machine's own memory and CPU.
        latency_us: Latency of one read.
        block_bytes: What it reads at least.
        modelled: True when `url` is a model of it.
        notes: Sentences about it.
    """

    asked: str
    url: str
    figures: Mapping[str, Any] | None
    latency_us: float
    block_bytes: int
    modelled: bool
    notes: tuple[str, ...] = field(default=())

    @classmethod
    def of_tier(cls, url: str) -> Device:
        """A tier by its URL.

        Raises:
            InvalidArgumentError: An unknown tier.
            UnavailableError: A memory node that does not answer.
        """
        if is_remote(url):
            return cls.of_profile(profile(url).as_dict(), url)
        scheme = _core.check_tier_url(url)["scheme"] + ":"
        if scheme == "emulated:":
            known = profile(url, region_bytes="1MiB", runs=1, read_sizes=(64,), run_seconds=0.001).device
            return cls(
                asked=url,
                url=url,
                figures=known,
                latency_us=float(known["latency_us"]),
                block_bytes=int(known["block_bytes"]),
                modelled=True,
            )
        measured = profile(url, runs=3)
        return cls(
            asked=url,
            url=url,
            figures=None if scheme in _WITHOUT_LIMIT else _figures(measured.as_dict(), url),
            latency_us=measured.latency_us_p50.median,
            block_bytes=int(measured.device["block_bytes"]),
            modelled=False,
        )

    @classmethod
    def read_profile(cls, path: str | os.PathLike[str]) -> Device:
        """A device by what `tiervec profile --json` printed of it.

        Raises:
            InvalidArgumentError: It is no such document.
        """
        name = os.fspath(path)
        with storage_errors(f"reading {name}", Path(name).parent), open(path, "rb") as file:
            content = file.read()
        try:
            document = json.loads(content)
        except ValueError as error:
            raise InvalidArgumentError(f"{name} is not JSON: {error}") from None
        if not isinstance(document, dict):
            raise InvalidArgumentError(f"{name} is not what `tiervec profile --json` prints")
        return cls.of_profile(document, name)

    @classmethod
    def of_profile(cls, document: Mapping[str, Any], name: str) -> Device:
        """A device by its measured profile, as a model.

        Raises:
            InvalidArgumentError: A figure is missing or not above 0.
        """
        figures = _figures(document, name)
        url = (
            f"emulated:latency_us={figures['latency_us']:.4g},reads_mps={figures['reads_per_s'] / 1e6:.6g},"
            f"gbps={figures['bytes_per_s'] / 1e9:.6g},block={figures['block_bytes']}"
        )
        return cls(
            asked=name,
            url=url,
            figures=figures,
            latency_us=figures["latency_us"],
            block_bytes=figures["block_bytes"],
            modelled=True,
            notes=(f"{name} was modelled from its measured profile as {url}",),
        )

    @property
    def is_tier(self) -> bool:
        """False: it was named by its profile, and an index cannot be opened on that."""
        return self.asked == self.url or is_remote(self.asked)

    @property
    def in_memory(self) -> bool:
        """True when a read on `url` is a read of this machine's own memory."""
        return self.url.startswith(_IN_MEMORY)

    def bound_qps(self, receipt: Receipt, reads: float, read_bytes: float) -> float | None:
        """Queries/s at which the device is always busy, for queries that each read so often and so much."""
        if self.figures is None or reads <= 0:
            return None
        queries = 1_000_000  # whole numbers of reads
        return replace(
            receipt,
            queries=queries,
            reads=round(reads * queries),
            bytes_read=round(read_bytes * queries),
            device=self.figures,
        ).device_bound_qps

    def limit(self, reads: float, read_bytes: float) -> str:
        """Which of its two limits such queries meet first."""
        assert self.figures is not None
        knee = float(self.figures["bytes_per_s"]) / float(self.figures["reads_per_s"])
        moved = max(read_bytes / reads, float(self.block_bytes) if self.block_bytes >= 4096 else 0.0)
        return "device reads/s" if moved <= knee else "device bytes/s"


def _figures(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Keys of ``Tier.profile`` from a measured profile."""
    try:
        sizes = [(int(each["read_bytes"]), float(each["reads_per_s"]["median"])) for each in document["sizes"]]
        latency_us = float(document["latency_us"]["p50"]["median"])
        block_bytes = int(document["device"]["block_bytes"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidArgumentError(f"{name} is not what `tiervec profile --json` prints: {error!r}") from None
    if not sizes or latency_us <= 0 or block_bytes <= 0 or any(size <= 0 or rate <= 0 for size, rate in sizes):
        raise InvalidArgumentError(f"{name} is not a profile of a device: its figures must be above 0")
    return {
        "latency_us": latency_us,
        "reads_per_s": max(rate for _, rate in sizes),
        "bytes_per_s": max(size * rate for size, rate in sizes),
        "block_bytes": block_bytes,
        "service": [(size, 1e9 / rate) for size, rate in sorted(sizes)],
        "source": "measured",
    }
