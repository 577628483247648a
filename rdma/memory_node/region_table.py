"""The regions of a memory node by name and version, and the room they may take."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Final

from tiervec.arguments.sizes import format_size
from tiervec.errors import InvalidArgumentError, NotFoundError, ResourceExhaustedError
from tiervec.rdma.memory_node.memory import memory_bytes
from tiervec.rdma.memory_node.names import check_name
from tiervec.rdma.memory_node.region import Region

__all__ = ["RegionTable"]

_MOST_REGIONS: Final = 4096


class RegionTable:
    """Regions within a capacity. Safe to call from many threads; `lock` is for steps that belong together.

    Args:
        capacity_bytes: Most bytes for all regions together.

    Attributes:
        lock: Guards the table; its thread may take it again; never taken inside the lock of a region.
        current: The version that a name stands for.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self.lock = threading.RLock()
        self.current: dict[str, str] = {}
        self._capacity_bytes = capacity_bytes
        self._reserved_bytes = 0  # of regions whose memory is being allocated
        self._regions: dict[tuple[str, str], Region] = {}

    @property
    def used_bytes(self) -> int:
        """Memory that regions take, with what is reserved."""
        with self.lock:
            return self._reserved_bytes + sum(memory_bytes(region.size_bytes) for region in self._regions.values())

    def has_room(self, size_bytes: int) -> bool:
        """Whether a region of this size fits now."""
        return self.used_bytes + memory_bytes(size_bytes) <= self._capacity_bytes

    def reserve(self, name: str, size_bytes: int) -> None:
        """Takes room until `end_reservation`.

        Raises:
            ResourceExhaustedError: There is not enough.
        """
        needed = memory_bytes(size_bytes)
        with self.lock:
            free = self._capacity_bytes - self.used_bytes
            if needed > free:
                raise ResourceExhaustedError(
                    f"region {name} takes {format_size(needed)}; the memory node has {format_size(max(0, free))} free "
                    f"of {format_size(self._capacity_bytes)}, {needed - free:,} bytes too few: "
                    f"delete old versions, or give the node more --capacity"
                )
            if len(self._regions) >= _MOST_REGIONS:
                raise ResourceExhaustedError(f"the memory node has {_MOST_REGIONS:,} regions, the most it takes")
            self._reserved_bytes += needed

    def end_reservation(self, size_bytes: int) -> None:
        """Gives the room back, for the region itself to take."""
        with self.lock:
            self._reserved_bytes -= memory_bytes(size_bytes)

    def add(self, region: Region) -> Region:
        """Adds it, unless its version is there: then returns that one.

        Raises:
            InvalidArgumentError: The version is there with another size.
        """
        with self.lock:
            found = self.existing(region.name, region.version, region.size_bytes)
            return self._regions.setdefault((region.name, region.version), region) if found is None else found

    def add_stored(self, region: Region) -> bool:
        """Adds a region that was found on the disk; False when its version is there."""
        with self.lock:
            return self._regions.setdefault((region.name, region.version), region) is region

    def remove(self, region: Region) -> None:
        """Takes a version out; a name that stood for it stands for nothing."""
        with self.lock:
            if self._regions.get((region.name, region.version)) is region:
                if self.is_current(region):
                    self.current.pop(region.name)
                del self._regions[region.name, region.version]

    def lost(self, name: str, version: str) -> Region | None:
        """The version, if it is on the disk and cannot be served."""
        with self.lock:
            found = self._regions.get((name, version))
        return found if found is not None and found.loss else None

    def clear(self) -> None:
        """Takes all out."""
        with self.lock:
            self._regions.clear()

    def existing(self, name: str, version: str, size_bytes: int) -> Region | None:
        """The version, if it is there and not lost; an upload of it counts as going on.

        Raises:
            InvalidArgumentError: It has another size.
        """
        with self.lock:
            found = self._regions.get((name, version))
        if found is not None and found.loss:
            return None
        if found is not None:
            if found.size_bytes != size_bytes:
                raise InvalidArgumentError(
                    f"{found.label} exists with {found.size_bytes:,} bytes; asked for were {size_bytes:,}"
                )
            found.touched_at = time.monotonic()
        return found

    def find(self, name: str, version: str) -> Region:
        """One version, or with "" the current one.

        Raises:
            NotFoundError: The sentence says what there is.
        """
        check_name(name)
        if version:
            check_name(version, "region version")
        with self.lock:
            wanted = version or self.current.get(name, "")
            found = self._regions.get((name, wanted))
            if found is not None:
                return found
            versions = [region.version for region in self._regions.values() if region.name == name]
        if not versions:
            raise NotFoundError(f"this memory node has no region {name!r}")
        held = ", ".join(versions[:5]) + (", ..." if len(versions) > 5 else "")
        if version:
            raise NotFoundError(f"this memory node has region {name} in version {held}, but not in version {version}")
        raise NotFoundError(f"region {name} has no current version; there is {held}")

    def list(self, name: str = "") -> Sequence[Region]:
        """All versions, of one name or of all, by name and then by age."""
        with self.lock:
            found = [region for region in self._regions.values() if name in ("", region.name)]
        return sorted(found, key=lambda region: (region.name, region.sealed_at_s or float("inf"), region.version))

    def is_current(self, region: Region) -> bool:
        """Whether it is what its name stands for."""
        return self.current.get(region.name) == region.version

    def current_region(self, name: str) -> Region | None:
        """What a name stands for, if that is there."""
        with self.lock:
            return self._regions.get((name, self.current.get(name, "")))
