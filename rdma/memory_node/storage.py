"""The data directory of a memory node: regions that survive a restart.

    DIR/lock                          held (flock) by the one node that uses it
    DIR/node.json                     ports of the data planes, so that readers find a restarted node again
    DIR/current.json                  name of a region -> its current version
    DIR/regions/ID/extents.bin        the bytes; ID is the region id, 16 hexadecimal digits
    DIR/regions/ID/checksums.bin      XXH3 (64 bits) of each extent, little-endian
    DIR/regions/ID/region.json        name, version, size, attach token, checksum of checksums.bin

A region's directory appears by a rename when all of it is on the disk. Files with secrets are readable by their owner
only (0600), directories too (0700).
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from tiervec.durable_files import replacing_file, require_free_space, storage_errors, sync_directory, write_blocks
from tiervec.errors import DataLossError, InvalidArgumentError, NotFoundError, UnavailableError
from tiervec.rdma.memory_node.names import EXTENT_BYTES, check_name, extents_of
from tiervec.rdma.memory_node.region import Region

__all__ = ["RegionStorage", "StoredRegion"]

_log = logging.getLogger(__name__)
_FORMAT: Final = 1
_REGION_FOLDER: Final = re.compile(r"[0-9a-f]{16}", re.ASCII)
_LONGEST_JSON: Final = 1 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredRegion:
    """What the disk knows of a region, its bytes apart."""

    name: str
    version: str
    size_bytes: int
    region_id: int
    token: bytes
    sealed_at_s: float
    checksums: NDArray[np.uint64]


class RegionStorage:
    """A data directory, locked for this process.

    Raises:
        UnavailableError: Another node uses it.
        InvalidArgumentError: It cannot be made or written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(os.path.abspath(folder))
        self._regions = self.folder / "regions"
        with storage_errors(f"using the data directory {self.folder}", self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._regions.mkdir(mode=0o700, exist_ok=True)
            self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise UnavailableError(f"the data directory {self.folder} is used by another memory node") from None
        self._remove_unfinished()

    def close(self) -> None:
        """Lets another node use the directory."""
        with suppress(OSError):
            os.close(self._lock)

    def save(self, region: Region) -> None:
        """Stores a region whose extents are all there; on the disk when this returns.

        Raises:
            ResourceExhaustedError: The disk is full; nothing of it stays.
        """
        final, temporary = self._folder_of(region.region_id), self._regions / f".{region.region_id:016x}.tmp"
        act = f"storing {region.label} in {self.folder}"
        require_free_space(self.folder, region.size_bytes, act)
        checksums = np.ascontiguousarray(region.checksums, "<u8").tobytes()
        document = {
            "format": _FORMAT,
            "name": region.name,
            "version": region.version,
            "size_bytes": region.size_bytes,
            "region_id": f"{region.region_id:016x}",
            "token": region.token.hex(),
            "sealed_at_s": region.sealed_at_s,
            "checksum": xxhash.xxh3_64_hexdigest(checksums),
        }
        with storage_errors(act, self.folder, region.size_bytes):
            shutil.rmtree(temporary, ignore_errors=True)
            try:
                temporary.mkdir(mode=0o700)
                _write(temporary / "extents.bin", memoryview(region.memory)[: region.size_bytes])
                _write(temporary / "checksums.bin", memoryview(checksums))
                _write(temporary / "region.json", memoryview(_json(document)))
                sync_directory(temporary)
                os.rename(temporary, final)
                sync_directory(self._regions)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise

    def remove(self, region_id: int) -> None:
        """Forgets a region; it does not come back even when the node is killed in the middle."""
        folder = self._folder_of(region_id)
        doomed = self._regions / f".{region_id:016x}.gone"
        with storage_errors(f"removing {folder}", self.folder), suppress(FileNotFoundError):
            os.rename(folder, doomed)
            sync_directory(self._regions)
        shutil.rmtree(doomed, ignore_errors=True)

    def stored(self) -> Iterator[StoredRegion]:
        """The regions on the disk. A folder that cannot be understood is named in the log and left alone."""
        for folder in sorted(self._regions.iterdir()):
            if _REGION_FOLDER.fullmatch(folder.name) is None:
                continue
            try:
                yield self._read(folder)
            except (DataLossError, InvalidArgumentError, NotFoundError) as error:
                _log.error("%s is not served: %s", folder, error)

    def open_extents(self, region_id: int) -> BinaryIO:
        """The file with the bytes of a region.

        Raises:
            DataLossError: It is not there.
        """
        path = self._folder_of(region_id) / "extents.bin"
        try:
            return open(path, "rb", buffering=0)
        except OSError as error:
            raise DataLossError(f"{path} cannot be read: {error.strerror}") from error

    def read_extent(self, region_id: int, index: int, size: int) -> bytes:
        """One extent from the disk; shorter than `size` when the file is.

        Raises:
            DataLossError: It cannot be read.
        """
        with self.open_extents(region_id) as file:
            try:
                return os.pread(file.fileno(), size, index * EXTENT_BYTES)
            except OSError as error:
                raise DataLossError(f"{file.name} cannot be read: {error.strerror}") from error

    def write_extent(self, region_id: int, index: int, data: bytes) -> None:
        """Repairs one extent on the disk."""
        path = self._folder_of(region_id) / "extents.bin"
        with storage_errors(f"repairing {path}", self.folder), open(path, "r+b", buffering=0) as file:
            os.pwrite(file.fileno(), data, index * EXTENT_BYTES)
            os.fsync(file.fileno())

    def current(self) -> dict[str, str]:
        """Name of a region -> its current version."""
        document = self._read_json(self.folder / "current.json")
        return {name: version for name, version in document.items() if isinstance(version, str)}

    def save_current(self, current: Mapping[str, str]) -> None:
        """Stores which versions are current, atomically."""
        self._replace(self.folder / "current.json", current)

    def ports(self) -> dict[str, int]:
        """Transport -> the port that its data plane had."""
        document = self._read_json(self.folder / "node.json")
        return {key: port for key, port in document.items() if isinstance(port, int) and 0 < port < 65536}

    def save_ports(self, ports: Mapping[str, int]) -> None:
        """Stores the ports of the data planes."""
        self._replace(self.folder / "node.json", ports)

    def open_import(self, path: str) -> BinaryIO:
        """Opens a file of the operator's below the data directory.

        Raises:
            InvalidArgumentError: The path leaves the directory, goes through a link, or is no plain file.
            NotFoundError: There is no such file.
        """
        parts = Path(path).parts
        if not parts or Path(path).is_absolute() or ".." in parts or "\0" in path or parts[0] == "regions":
            raise InvalidArgumentError(
                f"path {path!r} must be relative to the node's data directory, without '..' and outside of regions/"
            )
        here = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in parts[:-1]:
                below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
                os.close(here)
                here = below
            descriptor = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=here)
        except FileNotFoundError:
            raise NotFoundError(f"the node's data directory has no file {path!r}") from None
        except OSError as error:
            raise InvalidArgumentError(
                f"{path!r} in the node's data directory cannot be opened: {error.strerror}; it must be a plain file"
            ) from None
        finally:
            os.close(here)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise InvalidArgumentError(f"{path!r} in the node's data directory is not a plain file")
        return os.fdopen(descriptor, "rb", buffering=0)

    def _folder_of(self, region_id: int) -> Path:
        return self._regions / f"{region_id:016x}"

    def _remove_unfinished(self) -> None:
        for entry in self._regions.iterdir():
            if entry.name.startswith("."):
                shutil.rmtree(entry, ignore_errors=True)

    def _read(self, folder: Path) -> StoredRegion:
        document = self._read_json(folder / "region.json")
        try:
            size, token = document["size_bytes"], bytes.fromhex(document["token"])
            region_id, sealed_at_s = int(document["region_id"], 16), float(document["sealed_at_s"])
            name, version = check_name(document["name"]), check_name(document["version"], "version")
            expected = document["checksum"]
        except (KeyError, TypeError, ValueError) as error:
            raise DataLossError(f"{folder / 'region.json'} does not describe a region: {error}") from error
        if type(size) is not int or not 0 < size < 2**63 or len(token) != 16 or f"{region_id:016x}" != folder.name:
            raise DataLossError(f"{folder / 'region.json'} does not describe a region: a value is out of range")
        try:
            checksums = (folder / "checksums.bin").read_bytes()
            stored = (folder / "extents.bin").stat().st_size
        except OSError as error:
            raise DataLossError(f"{folder} is not whole: {error.strerror}") from error
        if len(checksums) != 8 * extents_of(size) or xxhash.xxh3_64_hexdigest(checksums) != expected:
            raise DataLossError(f"{folder / 'checksums.bin'} is damaged")
        if stored != size:
            raise DataLossError(f"{folder / 'extents.bin'} has {stored:,} bytes; the region has {size:,}")
        return StoredRegion(
            name=name,
            version=version,
            size_bytes=size,
            region_id=region_id,
            token=token,
            sealed_at_s=sealed_at_s,
            checksums=np.frombuffer(checksums, "<u8").astype(np.uint64),
        )

    def _read_json(self, path: Path) -> dict[str, Any]:
        try:
            with open(path, "rb") as file:
                text = file.read(_LONGEST_JSON + 1)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise DataLossError(f"{path} cannot be read: {error.strerror}") from error
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataLossError(f"{path} is damaged: it is not valid JSON") from error
        if not isinstance(document, dict):
            raise DataLossError(f"{path} is damaged: it holds no JSON object")
        return document

    def _replace(self, path: Path, document: Mapping[str, Any]) -> None:
        with replacing_file(path) as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(_json(document))


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(dict(document), indent=2, sort_keys=True).encode() + b"\n"


def _write(path: Path, data: memoryview) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        write_blocks(file, data)
        os.fsync(file.fileno())
