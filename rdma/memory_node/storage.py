"""The data directory of a memory node: regions that survive a restart.

    DIR/lock                          held (flock) by the one node that uses it
    DIR/node.json                     ports of the data planes, so that readers find a restarted node again
    DIR/current.json                  name of a region -> its current version
    DIR/regions/ID/extents.bin        the bytes; ID is the region id, 16 hexadecimal digits
    DIR/regions/ID/checksums.bin      XXH3 (64 bits) of each extent, little-endian
    DIR/regions/ID/region.json        name, version, size, attach token, checksum of checksums.bin

Each step has one operation that decides it; before it nothing has happened, after it everything has:

    save            the rename of .ID.tmp, whole and synced, to ID
    remove          the unlink of region.json, which takes no space; a folder without one is a remainder
    save_current    the rename of .current.json.tmp to current.json

A step that fails before it raises and leaves the old state. When only the sync after it fails, the step is done, but a
power failure may undo it: it returns the error for the caller to raise once its own state is the new one. Remainders of
steps that did not end are removed by the next start. Files and folders are for their owner only (0600, 0700).
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from tiervec.errors import DataLossError, DiskFullError, TiervecError, UnavailableError
from tiervec.machine.durable_files import storage_error, storage_errors
from tiervec.rdma.memory_node.imported_file import ImportedFile, open_import
from tiervec.rdma.memory_node.names import EXTENT_BYTES, extents_of
from tiervec.rdma.memory_node.region import Region
from tiervec.rdma.memory_node.storage_files import StorageFiles
from tiervec.rdma.memory_node.stored_documents import (
    LONGEST_DOCUMENT,
    RegionDocument,
    encode,
    named_in,
    parse_current,
    parse_ports,
    parse_region,
)
from tiervec.rdma.memory_node.whole_files import WholeFiles

__all__ = ["RegionStorage", "StoredRegion"]

_log = logging.getLogger(__name__)
_REGION_FOLDER: Final = re.compile(r"[0-9a-f]{16}", re.ASCII)
_TEMPORARY: Final = re.compile(r"\.(current|node)\.json\.tmp.*", re.ASCII)


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredRegion:
    """What the disk knows of a region, its bytes apart.

    Attributes:
        damage: Why it cannot be served; its size is then 0, it has no checksums, and where even its name is lost it is
            called ``unreadable-ID`` in version ``unknown``.
    """

    name: str
    version: str
    region_id: int
    size_bytes: int = 0
    token: bytes = field(default=b"", repr=False)
    sealed_at_s: float = 0.0
    checksums: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64), repr=False)
    damage: str = ""


class RegionStorage:
    """A data directory, locked for this process. The caller sees to it that no two steps run at once on one region.

    Args:
        folder: The directory; made when it is not there.
        files: The operations on the disk.

    Raises:
        UnavailableError: Another node uses it, or its disk fails.
        InvalidArgumentError: It cannot be made or written.
    """

    def __init__(self, folder: Path, files: StorageFiles | None = None) -> None:
        self.folder = Path(os.path.abspath(folder))
        self._files = StorageFiles() if files is None else files
        self._whole = WholeFiles(self._files)
        self._regions = self.folder / "regions"
        with storage_errors(f"using the data directory {self.folder}", self.folder):
            with suppress(FileExistsError):  # by a file; the next line says so
                self.folder.parent.mkdir(parents=True, exist_ok=True)
            for path in (self.folder, self._regions):
                with suppress(FileExistsError):
                    self._files.make_folder(path)
            # Otherwise all that is stored in a new directory goes with it when the power fails. At every start, because
            # the one that made it may have been killed before this.
            self._whole.sync_folder(self.folder)
            with suppress(PermissionError):  # the operator made it, and not everybody may read what is above
                self._whole.sync_folder(self.folder.parent)
            self._lock = self._files.open(self.folder / "lock", "lock")
        try:
            self._take_lock()
            with storage_errors(f"using the data directory {self.folder}", self.folder):
                self._remove_remainders()
        except BaseException:
            self._files.close(self._lock)
            raise

    def close(self) -> None:
        """Lets another node use the directory."""
        with suppress(OSError):
            self._files.close(self._lock)

    # ---- steps -------------------------------------------------------------------------------------------------------

    def save(self, region: Region) -> TiervecError | None:
        """Stores a region whose extents are all there.

        Returns:
            None when it is on the disk; the error, when a power failure may undo it.

        Raises:
            DiskFullError: The disk is full; nothing is stored.
            UnavailableError: The disk fails; nothing is stored.
        """
        final, temporary = self._folder_of(region.region_id), self._regions / f".{region.region_id:016x}.tmp"
        act = f"storing {region.label} in {self.folder}"
        checksums = np.ascontiguousarray(region.checksums, "<u8").tobytes()
        document = RegionDocument(
            name=region.name,
            version=region.version,
            size_bytes=region.size_bytes,
            region_id=f"{region.region_id:016x}",
            token=region.token,
            sealed_at_s=region.sealed_at_s,
            checksum=xxhash.xxh3_64_hexdigest(checksums),
        )
        self._require_space(region.size_bytes, act)
        with storage_errors(act, self.folder, region.size_bytes):
            try:
                self._whole.discard(temporary)
                self._files.make_folder(temporary)
                self._whole.write(temporary / "extents.bin", memoryview(region.memory)[: region.size_bytes])
                self._whole.write(temporary / "checksums.bin", memoryview(checksums))
                self._whole.write(temporary / "region.json", memoryview(document.encode()))
                self._whole.sync_folder(temporary)
                self._files.rename(temporary, final)
            except OSError:
                self._whole.discard(temporary)
                raise
        return self._confirmed(act, self._regions)

    def remove(self, region_id: int) -> TiervecError | None:
        """Forgets a region; one that was never stored is none. Needs no space.

        Returns:
            None when it is gone from the disk; the error, when a power failure may bring it back.

        Raises:
            UnavailableError: The disk fails, or may not be written; the region stays.
        """
        folder = self._folder_of(region_id)
        act = f"removing {folder}"
        with storage_errors(act, self.folder):
            try:
                self._files.unlink(folder / "region.json")
            except FileNotFoundError:
                return None
        unconfirmed = self._confirmed(act, folder)
        if self._whole.discard(folder):
            unconfirmed = self._confirmed(act, self._regions) and unconfirmed
        return unconfirmed

    def save_current(self, current: Mapping[str, str]) -> TiervecError | None:
        """Stores which versions are current.

        Returns:
            None when it is on the disk; the error, when a power failure may undo it.

        Raises:
            DiskFullError, UnavailableError: The disk is full or fails; what was stored stays.
        """
        return self._replace(self.folder / "current.json", encode(current))

    def confirm(self) -> None:
        """Waits until all steps so far are on the disk.

        Raises:
            UnavailableError: The disk fails.
        """
        with storage_errors(f"syncing {self.folder}", self.folder):
            self._whole.sync_folder(self._regions)
            self._whole.sync_folder(self.folder)

    def write_extent(self, region_id: int, index: int, data: bytes) -> None:
        """Repairs one extent on the disk.

        Raises:
            DiskFullError, UnavailableError: The disk is full or fails; the extent stays damaged, maybe in
                another way.
        """
        path = self._folder_of(region_id) / "extents.bin"
        with storage_errors(f"repairing {path}", self.folder):
            self._whole.overwrite(path, memoryview(data), index * EXTENT_BYTES)

    # ---- what is there -----------------------------------------------------------------------------------------------

    def stored(self) -> Iterator[StoredRegion]:
        """The regions on the disk; those that cannot be understood say why.

        Raises:
            UnavailableError: The folder of the regions cannot be read.
        """
        with storage_errors(f"reading {self._regions}", self.folder):
            names = self._files.names(self._regions)
        for name in names:
            # A remainder that could not be removed is none; there was a warning.
            if _REGION_FOLDER.fullmatch(name) is not None and not self._is_remainder(self._regions / name):
                yield self._read_region(name)

    def read_extent(self, region_id: int, index: int, into: memoryview) -> None:
        """Reads one extent from the disk.

        Raises:
            DataLossError: It cannot be read, or is not whole.
        """
        path = self._folder_of(region_id) / "extents.bin"
        got = self._whole.read_at(path, into, index * EXTENT_BYTES)
        if got < len(into):
            raise DataLossError(f"extent {index:,} of {path} has {got:,} bytes; it must have {len(into):,}")

    def current(self) -> dict[str, str]:
        """Name of a region -> its current version; nothing, with an error in the log, when the file is damaged."""
        path = self.folder / "current.json"
        try:
            text = self._whole.read(path, LONGEST_DOCUMENT + 1)
            return {} if text is None else parse_current(text)
        except DataLossError as error:
            _log.error("%s is damaged: %s; no region has a current version until one is switched to", path, error)
            return {}

    def ports(self) -> dict[str, int]:
        """Transport -> the port that its data plane had; nothing, with a warning in the log, when that is lost."""
        path = self.folder / "node.json"
        try:
            text = self._whole.read(path, LONGEST_DOCUMENT + 1)
            return {} if text is None else parse_ports(text)
        except DataLossError as error:
            _log.warning("%s is damaged: %s; the data planes take the ports they are told, or free ones", path, error)
            return {}

    def save_ports(self, ports: Mapping[str, int]) -> None:
        """Stores the ports of the data planes. A node starts without that too: a failure is a warning in the log."""
        path = self.folder / "node.json"
        data = encode(ports)
        try:
            if self._whole.read(path, LONGEST_DOCUMENT + 1) == data:
                return
        except DataLossError:
            pass  # it is written again
        try:
            unconfirmed = self._replace(path, data)
        except TiervecError as error:
            unconfirmed = error
        if unconfirmed is not None:
            _log.warning("%s; after a restart the data planes may have other ports", unconfirmed)

    def open_import(self, path: str) -> ImportedFile:
        """Opens a file of the operator's below the data directory; see `open_import`."""
        return open_import(self._files, self.folder, path)

    # ---- below -------------------------------------------------------------------------------------------------------

    def _folder_of(self, region_id: int) -> Path:
        return self._regions / f"{region_id:016x}"

    def _take_lock(self) -> None:
        try:
            self._files.lock(self._lock)
        except BlockingIOError:
            raise UnavailableError(f"the data directory {self.folder} is used by another memory node") from None
        except OSError as error:
            raise storage_error(error, f"locking the data directory {self.folder}", self.folder) from error

    def _require_space(self, needed_bytes: int, act: str) -> None:
        with storage_errors(act, self.folder):
            free = self._files.free_bytes(self.folder)
        if free < needed_bytes:
            raise DiskFullError(f"{act} needs {needed_bytes:,} bytes, but only {free:,} are free in {self.folder}")

    def _remove_remainders(self) -> None:
        for name in self._files.names(self.folder):
            if _TEMPORARY.fullmatch(name) is not None:
                self._whole.discard_file(self.folder / name)
        for name in self._files.names(self._regions):
            folder = self._regions / name
            if name.startswith(".") or (_REGION_FOLDER.fullmatch(name) is not None and self._is_remainder(folder)):
                self._whole.discard(folder)

    def _is_remainder(self, folder: Path) -> bool:
        return not self._whole.exists(folder / "region.json")

    def _confirmed(self, act: str, folder: Path) -> TiervecError | None:
        """Syncs the entries of a folder after the operation that decided a step."""
        try:
            self._whole.sync_folder(folder)
        except OSError as error:
            return UnavailableError(
                f"{act} is done, but the disk does not confirm it ({error.strerror}): a power failure may undo it"
            )
        return None

    def _replace(self, path: Path, data: bytes) -> TiervecError | None:
        temporary, act = path.with_name(f".{path.name}.tmp"), f"writing {path}"
        with storage_errors(act, self.folder):
            try:
                self._whole.write(temporary, memoryview(data))
                self._files.rename(temporary, path)
            except OSError:
                with suppress(OSError):
                    self._files.unlink(temporary)
                raise
        return self._confirmed(act, self.folder)

    def _read_region(self, folder_name: str) -> StoredRegion:
        folder, region_id = self._regions / folder_name, int(folder_name, 16)
        named: tuple[str, str] | None = None
        try:
            text = self._whole.read(folder / "region.json", LONGEST_DOCUMENT + 1)
            if text is None:
                raise DataLossError("region.json is missing")
            named = named_in(text)
            try:
                document = parse_region(text, folder_name)
            except DataLossError as error:
                raise DataLossError(f"region.json is damaged: {error}") from None
            checksums = self._read_checksums(folder, document)
        except DataLossError as error:
            name, version = named or (f"unreadable-{folder_name}", "unknown")
            return StoredRegion(name=name, version=version, region_id=region_id, damage=f"{folder}: {error}")
        return StoredRegion(
            name=document.name,
            version=document.version,
            region_id=region_id,
            size_bytes=document.size_bytes,
            token=document.token,
            sealed_at_s=document.sealed_at_s,
            checksums=checksums,
        )

    def _read_checksums(self, folder: Path, document: RegionDocument) -> NDArray[np.uint64]:
        size = self._whole.size(folder / "extents.bin")
        if size != document.size_bytes:
            raise DataLossError(f"extents.bin has {size:,} bytes; the region has {document.size_bytes:,}")
        expected = 8 * extents_of(document.size_bytes)
        data = self._whole.read(folder / "checksums.bin", expected + 1)
        if data is None or len(data) != expected or xxhash.xxh3_64_hexdigest(data) != document.checksum:
            raise DataLossError("checksums.bin is missing or damaged")
        return np.frombuffer(data, "<u8").astype(np.uint64)
