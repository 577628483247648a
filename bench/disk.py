"""The disk below an index on `ssd:`, by itself: what a search could read at most."""

from __future__ import annotations

import math
from pathlib import Path

from tiervec import _core
from tiervec.index_files.directory import IndexDirectory

__all__ = ["Disk"]

_READS_IN_FLIGHT = 128


class Disk:
    """Random reads of the largest file of an index that lies on the tier.

    Its speed drifts, on a shared host by a multiple: compare a search with what was measured just before or after it.

    Args:
        path: The index.
        threads: Threads of the searches that it is compared with.
        seconds: How long one measurement takes, for one thread and again for all.
    """

    def __init__(self, path: Path, threads: int, seconds: float) -> None:
        directory = IndexDirectory.open(path)
        largest = max(
            (each for each in directory.manifest.sections if each.placement == "tier"), key=lambda each: each.bytes
        )
        self._tier = _core.open_tier("ssd:", directory.section_path(largest.name))
        self._sector_bytes = int(str(self._tier.profile["block_bytes"]))
        self._threads, self._seconds, self._seed = threads, seconds, 0

    def reads_per_s(self, read_bytes: float = 1) -> float:
        """Reads of so many bytes in whole sectors: of one thread or of all, whichever gets more out of the disk."""
        self._seed += 1
        sectors = math.ceil(read_bytes / self._sector_bytes)
        return max(
            self._tier.measure_reads_per_s(
                sectors * self._sector_bytes, threads, _READS_IN_FLIGHT, self._seconds, self._seed
            )
            for threads in {1, self._threads}
        )
