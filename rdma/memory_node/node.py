"""What a memory node does, without a transport: plain values in, plain values or our errors out.

    create -> write extents -> seal -> switch        a publisher
    attach                                           a reader; it reads on a data plane
    load_stored                                      after a start with a data directory

A step that changes what is stored has one operation on the disk that decides it (see `storage.py`). What can fail comes
before it, so that memory, disk, readers and the listing always agree: on the old state when the step raised, on the new
one when it did not. One error means more: "is done, but the disk does not confirm it". The state is then the new one.

Safe to call from many threads. The table of regions has one lock, the bytes of a region their own, and never both are
taken in the other order.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tiervec.arguments.sizes import format_size
from tiervec.errors import (
    DataLossError,
    InvalidArgumentError,
    TiervecError,
    UnavailableError,
    UnsupportedError,
)
from tiervec.rdma.memory_node.data_planes import DataPlane
from tiervec.rdma.memory_node.finding_stored import find_stored
from tiervec.rdma.memory_node.imported_file import ImportedFile
from tiervec.rdma.memory_node.memory import RegionMemory, memory_bytes
from tiervec.rdma.memory_node.names import EXTENT_BYTES, TRANSPORTS, check_name
from tiervec.rdma.memory_node.region import Region, RegionState, RemoteKey
from tiervec.rdma.memory_node.region_table import RegionTable
from tiervec.rdma.memory_node.storage import RegionStorage

__all__ = ["Attached", "Counters", "MemoryNode"]

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Counters:
    """What has happened since the start."""

    uploaded_extents: int = 0
    refused_extents: int = 0
    attaches: int = 0
    refused_calls: int = 0
    extents_verified: int = 0
    scrub_passes: int = 0
    extents_damaged: int = 0
    extents_repaired: int = 0


@dataclass(frozen=True, kw_only=True)
class Attached:
    """What a reader needs to read a region."""

    region: Region
    transport: str
    port: int
    key: RemoteKey


class MemoryNode:
    """Regions in this process's memory, within a capacity.

    Args:
        capacity_bytes: Most bytes for all regions together.
        planes: Where readers read; closed by `close`.
        storage: Where sealed regions are kept, or None; closed by `close`.
        lock_memory: Of `RegionMemory`.
        abandoned_after_s: An upload untouched for so long makes room for another one.
    """

    def __init__(
        self,
        capacity_bytes: int,
        planes: Sequence[DataPlane],
        storage: RegionStorage | None = None,
        *,
        lock_memory: str = "try",
        abandoned_after_s: float = 3600.0,
    ) -> None:
        self.capacity_bytes = capacity_bytes
        self.counters = Counters()
        self.on_health: Callable[[str, bool], None] = lambda _name, _serving: None
        self._planes = {plane.transport: plane for plane in planes}
        self._storage = storage
        self._memory = RegionMemory(lock_memory)
        self._abandoned_after_s = abandoned_after_s
        self._table = RegionTable(capacity_bytes)
        self._current_is_stale = False  # current.json may name versions that are not there any more
        self._stopping = threading.Event()
        self._to_load: list[Region] = []
        if storage is not None:
            self._to_load, self._current_is_stale = find_stored(storage, self._table, capacity_bytes)

    @property
    def persistent(self) -> bool:
        """True when regions survive a restart."""
        return self._storage is not None

    @property
    def planes(self) -> Sequence[DataPlane]:
        """The data planes."""
        return tuple(self._planes.values())

    @property
    def used_bytes(self) -> int:
        """Memory that regions take."""
        return self._table.used_bytes

    def create(self, name: str, version: str, size_bytes: int) -> Region:
        """Reserves memory for a version; one that exists is returned with what it has.

        Raises:
            InvalidArgumentError: A bad name, or the version exists with another size.
            ResourceExhaustedError: It does not fit.
        """
        check_name(name)
        check_name(version, "region version")
        if not 0 < size_bytes < 2**62:
            raise InvalidArgumentError(f"size of region {name} is {size_bytes:,}; it must be at least 1 byte")
        with self._table.lock:
            self._refuse_when_stopping()
            found = self._table.existing(name, version, size_bytes)
            if found is not None:
                return found
            if not self._table.has_room(size_bytes):
                self._drop_abandoned()
            self._table.reserve(name, size_bytes)
        try:
            memory = self._memory.allocate(name, size_bytes)  # locking pages may take long: others must not wait for it
        except BaseException:
            self._table.end_reservation(size_bytes)
            raise
        region = Region(name=name, version=version, size_bytes=size_bytes, memory=memory)
        with self._table.lock:
            self._table.end_reservation(size_bytes)
            if (lost := self._table.lost(name, version)) is not None:
                _log.warning("%s, which could not be served, makes room for a new upload", lost.label)
                if (unconfirmed := self._remove(lost)) is not None:
                    _log.warning("%s", unconfirmed)
            added = self._table.add(region)  # somebody may have been quicker
        if added is region:
            _log.info("%s of %s was created", region.label, format_size(size_bytes))
        return added

    def write_extent(self, region: Region, index: int, checksum: int, data: bytes) -> None:
        """Takes one extent of a region that is being uploaded, or one that repairs a damaged region.

        Raises:
            InvalidArgumentError, DataLossError: See `Region.check`.
            ResourceExhaustedError, UnavailableError: The repair cannot be stored; the extent stays damaged.
        """
        self._refuse_when_stopping()
        with region.lock:
            try:
                region.check(index, data, checksum)
            except TiervecError:
                self.counters.refused_extents += 1
                raise
            repairs = region.state is RegionState.DAMAGED
            if repairs and self._storage is not None:
                # The disk first: once memory is right, the scrubber lets readers in.
                self._storage.write_extent(region.region_id, index, data)
            region.write(index, data, checksum)
        self.counters.uploaded_extents += 1
        if repairs:
            self.counters.extents_repaired += 1
            self._mark(region, index, damaged=False)

    def load(self, name: str, version: str, path: str, checksum: str) -> Region:
        """Fills a region from a file below the data directory; it is not sealed yet.

        Raises:
            UnsupportedError: The node has no data directory.
            DataLossError: The file cannot be read, or does not have this checksum (XXH3, 64 bits, hexadecimal; empty:
                any). Nothing of it stays in memory.
        """
        if self._storage is None:
            raise UnsupportedError("this memory node has no data directory (--data-dir), so it cannot load a file")
        with self._storage.open_import(path) as file:
            region = self.create(name, version, file.size_bytes)
            if region.state is not RegionState.RECEIVING:
                return region
            try:
                self._fill(region, file, checksum)
            except BaseException:
                with self._table.lock, region.lock:
                    if region.state is RegionState.RECEIVING and not region.is_sealing:
                        self._remove(region)
                raise
        return region

    def _fill(self, region: Region, file: ImportedFile, checksum: str) -> None:
        import xxhash

        whole = xxhash.xxh3_64()
        for index in range(region.extents):
            at = index * EXTENT_BYTES
            data = file.read(min(EXTENT_BYTES, region.size_bytes - at), at)
            whole.update(data)
            self.write_extent(region, index, xxhash.xxh3_64_intdigest(data), data)
        if checksum and whole.hexdigest() != checksum.lower():
            raise DataLossError(
                f"the file for {region.label} in the node's data directory has checksum {whole.hexdigest()}; "
                f"expected was {checksum}"
            )

    def seal(self, name: str, version: str) -> Region:
        """Verifies all extents in memory, stores the region, and lets readers in. Sealing again verifies again.

        Raises:
            InvalidArgumentError: Extents are missing.
            DataLossError: Memory is not what was sent, or the stored region cannot be served.
            ResourceExhaustedError, UnavailableError: The disk is full or fails; it is not sealed, and can be again.
        """
        region = self._table.find(name, version)
        with region.lock:
            if region.loss:
                raise DataLossError(f"{region.label} is {region.damage}; publish it again, or delete it")
            if region.state is RegionState.LOADING or region.is_sealing:
                raise UnavailableError(f"{region.label} is busy; try again in a moment")
            missing = int((~region.present).sum())
            if missing and region.state is RegionState.RECEIVING:
                raise InvalidArgumentError(
                    f"{region.label} cannot be sealed: {missing:,} of {region.extents:,} extents are missing"
                )
            region.is_sealing = True
        try:
            self._check_memory(region)
            if region.state is RegionState.RECEIVING:
                self._let_readers_in(region)
            elif self._storage is not None:
                self._storage.confirm()  # the disk may not have confirmed it the first time
        finally:
            region.is_sealing = False
        return region

    def switch(self, name: str, version: str) -> Region:
        """Makes a sealed version the current one, in one step.

        Raises:
            NotFoundError: There is no such version.
            UnavailableError: It is not ready.
        """
        region = self._table.find(name, version)
        with self._table.lock:
            if region.state is not RegionState.READY:
                raise UnavailableError(
                    f"{region.label} is {region.state.name.lower()}; only a ready one can be current"
                )
            changed = {**self._table.current, name: version}
            unconfirmed = None if self._storage is None else self._storage.save_current(changed)
            self._current_is_stale = False
            self._table.current = changed
        self._report_health(name)
        _log.info("%s is current", region.label)
        if unconfirmed is not None:
            raise unconfirmed
        return region

    def get(self, name: str, version: str = "") -> Region:
        """One version, or the current one.

        Raises:
            NotFoundError: The sentence says what there is.
        """
        return self._table.find(name, version)

    def list(self, name: str = "") -> Sequence[Region]:
        """All versions, of one name or of all, by name and then by age."""
        return self._table.list(name)

    def is_current(self, region: Region) -> bool:
        """Whether it is what its name stands for."""
        return self._table.is_current(region)

    def delete(self, name: str, version: str) -> int:
        """Removes a version; returns the bytes that are free again.

        Raises:
            NotFoundError: There is no such version.
            UnavailableError: It is being sealed or loaded, or the disk fails; then it stays, and is still served.
        """
        if not version:
            raise InvalidArgumentError(f"deleting a version of region {name} needs the version")
        region = self._table.find(name, version)
        with self._table.lock, region.lock:
            if region.is_sealing or region.state is RegionState.LOADING:
                raise UnavailableError(f"{region.label} is busy; try again in a moment")
            unconfirmed = self._remove(region)
        self._report_health(name)
        _log.info("%s was deleted", region.label)
        if unconfirmed is not None:
            raise unconfirmed
        return memory_bytes(region.size_bytes)

    def attach(self, name: str, version: str, transport: str) -> Attached:
        """What a reader needs to read a version, or the current one.

        Raises:
            NotFoundError: No such region or version.
            UnavailableError: It is not there yet.
            DataLossError: It is damaged.
            UnsupportedError: The node does not offer this transport.
        """
        if transport not in TRANSPORTS:
            raise InvalidArgumentError(f"transport is {transport!r}; it must be one of {', '.join(TRANSPORTS)}")
        plane = self._planes.get(transport)
        if plane is None:
            raise UnsupportedError(
                f"this memory node offers {', '.join(self._planes)} and not {transport} (its option --transports)"
            )
        region = self._table.find(name, version)
        if region.state is RegionState.RECEIVING:
            raise UnavailableError(
                f"{region.label} is not sealed: {int(region.present.sum()):,} of {region.extents:,} extents are there"
            )
        if region.state is RegionState.LOADING:
            raise UnavailableError(f"{region.label} is being loaded from the node's disk; try again in a moment")
        if region.state is RegionState.DAMAGED:
            raise DataLossError(f"{region.label} is {region.damage}; publish it again")
        self.counters.attaches += 1
        return Attached(region=region, transport=transport, port=plane.port, key=region.keys[transport])

    def load_stored(self) -> None:
        """Loads what the data directory holds, verifies every extent, and lets readers in; may take its time."""
        for name in tuple(self._table.current):
            self._report_health(name)
        while self._to_load and not self._stopping.is_set():
            region = self._to_load.pop(0)
            try:
                self._load_one(region)
            except Exception as error:  # whatever is wrong with one region, the others are served
                _log.error("%s is not served: %s", region.label, error, exc_info=not isinstance(error, TiervecError))
                region.lose(f"it could not be loaded: {error}")
                self._report_health(region.name)

    def ready_regions(self) -> Sequence[Region]:
        """Those whose memory is to be verified: sealed ones, damaged ones among them."""
        sealed = (RegionState.READY, RegionState.DAMAGED)
        return [region for region in self._table.list() if region.state in sealed and not region.loss]

    def verify_extent(self, region: Region, index: int) -> bool:
        """Compares one extent in memory with its checksum; repairs it from the disk when it is wrong, if it can."""
        self.counters.extents_verified += 1
        if region.is_right(index):
            self._mark(region, index, damaged=False)
            return True
        with region.lock:
            if region.state not in (RegionState.READY, RegionState.DAMAGED) or region.is_right(index):
                return True  # deleted or repaired meanwhile
            if index not in region.damaged:
                self.counters.extents_damaged += 1
            repaired = self._repair(region, index)
            if repaired:
                self.counters.extents_repaired += 1
        (_log.warning if repaired else _log.error)(
            "extent %d of %s is not what was written; %s",
            index,
            region.label,
            "it was repaired from the disk" if repaired else "readers that attach are refused from now on",
        )
        self._mark(region, index, damaged=not repaired)
        return repaired

    def begin_stop(self) -> None:
        """New uploads and regions are refused, loading ends."""
        self._stopping.set()

    def close(self) -> None:
        """Closes the data planes and lets go of the memory and the data directory."""
        self.begin_stop()
        for plane in self._planes.values():
            plane.close()
        self._table.clear()
        if self._storage is not None:
            self._storage.close()

    def _load_one(self, region: Region) -> None:
        assert self._storage is not None
        region.memory = self._memory.allocate(region.name, region.size_bytes)
        for index in range(region.extents):
            if self._stopping.is_set():
                return
            try:
                self._storage.read_extent(region.region_id, index, region.extent(index))
            except DataLossError as error:
                _log.error("%s: %s", region.label, error)
            if region.is_right(index):
                region.present[index] = True
            else:
                region.damaged.add(index)
        if region.damaged:
            # It stays to be seen and deleted; nobody may attach.
            self.counters.extents_damaged += len(region.damaged)
            region.state = RegionState.DAMAGED
            _log.error(
                "%s is damaged on the disk in %d of %d extents; it is not served",
                region.label,
                len(region.damaged),
                region.extents,
            )
        else:
            self._serve(region)
            region.state = RegionState.READY
            _log.info("%s of %s is served again", region.label, format_size(region.size_bytes))
        self._report_health(region.name)

    def _let_readers_in(self, region: Region) -> None:
        unconfirmed = None
        region.sealed_at_s = time.time()
        try:
            self._serve(region)  # nobody knows the token before the region is ready
            if self._storage is not None:
                self._refresh_current(self._storage)
                unconfirmed = self._storage.save(region)
        except BaseException:
            self._withdraw(region)
            region.sealed_at_s = 0.0
            raise
        region.state = RegionState.READY
        self._report_health(region.name)
        _log.info("%s is sealed and served", region.label)
        if unconfirmed is not None:
            raise unconfirmed

    def _refresh_current(self, storage: RegionStorage) -> None:
        """Before a region is stored: no name of a version that is gone may come to stand for it by itself."""
        with self._table.lock:
            if self._current_is_stale:
                unconfirmed = storage.save_current(self._table.current)
                if unconfirmed is not None:
                    raise unconfirmed
                self._current_is_stale = False

    def _remove(self, region: Region) -> TiervecError | None:
        """Takes a region out of the disk, then out of everything else, under the table's lock.

        Returns:
            None, or the error that a power failure may bring it back.

        Raises:
            UnavailableError: The disk fails. Nothing has changed.
        """
        unconfirmed = None
        if self._storage is not None and region.state is not RegionState.RECEIVING:
            unconfirmed = self._storage.remove(region.region_id)
            # Not written now: a delete must work on a full disk. A name that stands for nothing does no harm.
            self._current_is_stale = self._current_is_stale or self._table.is_current(region)
        self._table.remove(region)
        self._withdraw(region)
        region.state = RegionState.DELETED
        return unconfirmed

    def _withdraw(self, region: Region) -> None:
        for transport in region.keys:
            self._planes[transport].withdraw(region.region_id)
        region.keys.clear()

    def _serve(self, region: Region) -> None:
        try:
            for transport, plane in self._planes.items():
                region.keys[transport] = plane.serve(region)
        except BaseException:
            self._withdraw(region)
            raise

    def _check_memory(self, region: Region) -> None:
        wrong = region.wrong_extents()
        if region.state is RegionState.RECEIVING:
            region.present[wrong] = False  # they can be sent again
        else:
            # Those that were damaged and are right now are marked as repaired.
            wrong = [at for at in {*wrong, *region.damaged} if not self.verify_extent(region, at)]
        if not wrong:
            return
        raise DataLossError(
            f"{region.label} is not in memory as it was sent: {len(wrong):,} of {region.extents:,} extents are wrong, "
            f"the first is {wrong[0]:,}"
        )

    def _repair(self, region: Region, index: int) -> bool:
        if self._storage is None:
            return False
        into = region.extent(index)
        data = bytearray(len(into))
        try:
            self._storage.read_extent(region.region_id, index, memoryview(data))
        except DataLossError as error:
            _log.error("%s cannot be repaired: %s", region.label, error)
            return False
        into[:] = data
        return region.is_right(index)

    def _mark(self, region: Region, index: int, *, damaged: bool) -> None:
        with region.lock:
            before = region.state
            (region.damaged.add if damaged else region.damaged.discard)(index)
            if region.damaged and before is RegionState.READY:
                region.state = RegionState.DAMAGED
            elif not region.damaged and before is RegionState.DAMAGED:
                if not region.keys:  # it was damaged on the disk when the node started
                    self._serve(region)
                region.state = RegionState.READY
            changed = region.state is not before
        if changed:
            self._report_health(region.name)

    def _drop_abandoned(self) -> None:
        now = time.monotonic()
        for region in self.list():
            idle_s = now - region.touched_at
            if region.state is RegionState.RECEIVING and not region.is_sealing and idle_s > self._abandoned_after_s:
                _log.warning("%s was not touched for %.0f s and is dropped to make room", region.label, idle_s)
                self.delete(region.name, region.version)

    def _refuse_when_stopping(self) -> None:
        if self._stopping.is_set():
            raise UnavailableError("the memory node is stopping")

    def _report_health(self, name: str) -> None:
        with self._table.lock:
            current = self._table.current_region(name)
            self.on_health(name, current is not None and current.state is RegionState.READY)
