"""An index on disk: a directory with a manifest and one file per section.

`tiervec.index_files.manifest` draws it and `tiervec.index_files.writer` writes it. Opening reads the manifest and
compares the sizes of the files, so its time does not grow with the index. The content of a section is verified when it
is read (`read_section`, `read_array`) or on demand (`verify`).

The files of tier sections may be absent: after `strip_tier`, which leaves `published.json` with the URL of the memory
nodes that have them, or in a copy for a compute node that opens the index on a remote tier.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from tiervec.arguments.parameter_checks import check_path
from tiervec.errors import DataLossError, InvalidArgumentError, NotFoundError, ResourceExhaustedError
from tiervec.index_files.manifest import (
    FORMAT_VERSION,
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    IndexDescription,
    Manifest,
    Placement,
    Section,
    parse_manifest,
    serialize_manifest,
)
from tiervec.index_files.writer import IndexDirectoryWriter, check_out
from tiervec.machine.durable_files import replacing_file, storage_error, storage_errors
from tiervec.rdma.extents import EXTENT_BYTES, ExtentHash, describe_extents, extents_of, extents_section

__all__ = [
    "FORMAT_VERSION",
    "IndexDescription",
    "IndexDirectory",
    "IndexDirectoryWriter",
    "Manifest",
    "Placement",
    "Section",
    "check_out",
]

_BLOCK_BYTES: Final = 8 * 1024 * 1024
_REWRITABLE: Final = ("calibration", "details")
_PUBLISHED_NAME: Final = "published.json"
_LONGEST_PUBLISHED: Final = 64 * 1024


class IndexDirectory:
    """A saved index, opened for reading. No file stays open.

    Attributes:
        path: The directory, absolute.
        manifest: What it holds.
        published_to: URL of the memory nodes that have the tier sections of a stripped index, or None.
        remote_sections: Names of the tier sections that are not here.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self.published_to: str | None = None
        self.remote_sections: frozenset[str] = frozenset()
        self._by_name = {section.name: section for section in manifest.sections}

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, remote_tier: bool = False) -> IndexDirectory:
        """Reads and checks the manifest, and that every section is a plain file of the right size.

        Args:
            path: The directory.
            remote_tier: The tier sections will be read elsewhere: their files may be absent.

        Raises:
            NotFoundError: There is no such directory, or it holds no index.
            InvalidArgumentError: `path` is not a directory, or may not be read.
            UnsupportedError: A newer version of TierVec wrote it.
            DataLossError: The manifest is damaged, or a section is missing, is a link or has another size.
        """
        directory = _existing_directory(check_path("path", path))
        index = cls(directory, parse_manifest(_read_manifest(directory), str(directory / MANIFEST_NAME)))
        index.published_to = _published_to(directory)
        may_be_absent = remote_tier or index.published_to is not None
        absent = set()
        for section in index.manifest.sections:
            if may_be_absent and section.placement == "tier" and not os.path.lexists(directory / section.file):
                absent.add(section.name)
                continue
            with index._open_section(section):
                pass
        index.remote_sections = frozenset(absent)
        return index

    def strip_tier(self, url: str) -> int:
        """Removes the files of the tier sections, which `url` has; returns the bytes that are free again.

        Raises:
            InvalidArgumentError: The directory may not be written.
        """
        text = json.dumps({"url": url}).encode() + b"\n"
        with replacing_file(self.path / _PUBLISHED_NAME, len(text)) as file:
            file.write(text)
        freed = 0
        with storage_errors(f"stripping {self.path}", self.path):
            for section in self.manifest.sections:
                if section.placement == "tier" and section.name not in self.remote_sections:
                    (self.path / section.file).unlink()
                    freed += section.bytes
        self.published_to = url
        self.remote_sections = frozenset(s.name for s in self.manifest.sections if s.placement == "tier")
        return freed

    def section(self, name: str) -> Section:
        """Returns the entry of the section `name`.

        Raises:
            NotFoundError: The index has no such section.
        """
        found = self._by_name.get(name)
        if found is None:
            raise NotFoundError(f"{self.path} has no section {name!r}; it has {', '.join(self._by_name) or 'none'}")
        return found

    def section_path(self, name: str) -> Path:
        """Returns the file of the section `name`, for code that reads or maps it itself."""
        return self.path / self.section(name).file

    def map_section(self, name: str) -> npt.NDArray[np.uint8]:
        """Maps a section, read-only, as bytes. Its size is checked and its content is not: see `verify`."""
        section = self.section(name)
        with self._open_section(section) as file, storage_errors(f"mapping {file.name}", self.path):
            if section.bytes == 0:
                return np.empty(0, np.uint8)
            return np.asarray(np.memmap(file, np.uint8, mode="r", shape=(section.bytes,)))

    def read_section(self, name: str, out: npt.NDArray[np.uint8] | None = None) -> npt.NDArray[np.uint8]:
        """Reads a section into memory and verifies it on the way.

        Args:
            name: The section.
            out: Where to put it, of exactly its size; None: new memory.

        Returns:
            Its bytes, writeable.

        Raises:
            NotFoundError: The index has no such section.
            DataLossError: Its checksum is wrong.
            ResourceExhaustedError: It does not fit into memory.
        """
        section = self.section(name)
        try:
            out = np.empty(section.bytes, np.uint8) if out is None else out
        except MemoryError as error:
            raise ResourceExhaustedError(
                f"{self.path / section.file} has {section.bytes:,} bytes, more than can be allocated"
            ) from error
        self._check(section, out, None)
        return out

    def read_array(self, name: str, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """Reads and verifies a section and gives it the dtype and shape that the reader expects of it.

        Raises:
            DataLossError: The section does not have exactly that many bytes, or its checksum is wrong.
        """
        expected = np.dtype(dtype).itemsize * int(np.prod(shape, dtype=object))
        section = self.section(name)
        if section.bytes != expected:
            raise DataLossError(
                f"{self.path / section.file} has {section.bytes:,} bytes, "
                f"but {shape} of {np.dtype(dtype)} take {expected:,}"
            )
        return self.read_section(name).view(dtype).reshape(shape)

    def verify_bytes(self, name: str, content: npt.NDArray[np.uint8]) -> None:
        """Compares the checksum of what was loaded from a section.

        Raises:
            NotFoundError: The index has no such section.
            DataLossError: It is not what was written.
        """
        section = self.section(name)
        checksum = ExtentHash()
        for start in range(0, len(content), _BLOCK_BYTES):  # in blocks, so that Ctrl-C is seen
            checksum.update(content[start : start + _BLOCK_BYTES].data)
        self._compare(section, checksum)

    def extent_checksums(self, name: str) -> npt.NDArray[np.uint64]:
        """Reads and verifies the checksums of the extents of a tier section.

        Raises:
            DataLossError: They are not what was written, or the index has none.
        """
        extents = extents_section(name)
        if extents not in self._by_name:
            raise DataLossError(f"{self.path} has no section {extents!r}, which every tier section comes with")
        return self.read_array(extents, "<u8", (extents_of(self.section(name).bytes),))

    def verify(self, progress: Callable[[int, int], None] | None = None) -> list[Section]:
        """Reads every file and compares its checksum; what is remote is left out.

        Args:
            progress: Called with (bytes verified, bytes in all).

        Returns:
            The sections that are here, all of them correct.

        Raises:
            DataLossError: It names the first file that is not what was written, and of a tier section its damaged
                extents.
        """
        here = [section for section in self.manifest.sections if section.name not in self.remote_sections]
        total, done = sum(section.bytes for section in here), 0
        for section in here:
            buffer = np.empty(min(section.bytes, _BLOCK_BYTES), np.uint8)
            report = None if progress is None else (progress, done, total)
            self._check(section, buffer, report)
            done += section.bytes
        return here

    def rewrite_manifest(self, **changes: Any) -> Manifest:
        """Stores a new calibration or new details, atomically: a failure leaves the manifest as it was.

        Args:
            changes: ``calibration`` and ``details``; nothing else of a written index may change.

        Returns:
            The new manifest, which is also `manifest` from now on.

        Raises:
            InvalidArgumentError: Another key, values that are not JSON, or a directory that may not be written.
            DiskFullError: The disk is full.
        """
        fixed = [name for name in changes if name not in _REWRITABLE]
        if fixed:
            raise InvalidArgumentError(
                f"{fixed[0]!r} of a written index cannot change; only {' and '.join(_REWRITABLE)} can"
            )
        manifest = dataclasses.replace(self.manifest, **changes)
        text = serialize_manifest(manifest)
        with replacing_file(self.path / MANIFEST_NAME, len(text)) as file:
            file.write(text)
        self.manifest = parse_manifest(text, str(self.path / MANIFEST_NAME))
        return self.manifest

    def _open_section(self, section: Section) -> BinaryIO:
        """Opens a section's file, which must be a plain file of the recorded size."""
        path = self.path / section.file
        file = _open_plain(path)
        size = os.fstat(file.fileno()).st_size
        if size != section.bytes:
            file.close()
            raise DataLossError(f"{path} has {size:,} bytes, but the manifest says {section.bytes:,}")
        return file

    def _check(
        self,
        section: Section,
        buffer: npt.NDArray[np.uint8],
        report: tuple[Callable[[int, int], None], int, int] | None,
    ) -> None:
        """Reads a section through `buffer` (all of it if that is large enough) and compares its checksum."""
        checksum, done = ExtentHash(), 0
        path = self.path / section.file
        with self._open_section(section) as file, storage_errors(f"reading {path}", self.path):
            while done < section.bytes:
                at = done if len(buffer) == section.bytes else 0
                block = buffer[at : at + min(_BLOCK_BYTES, section.bytes - done)]
                count = file.readinto(block.data)  # type: ignore[attr-defined]  # BinaryIO does not say that it has it
                if count == 0:
                    raise DataLossError(
                        f"{path} became shorter while it was read; {section.bytes - done:,} bytes are missing"
                    )
                checksum.update(block[:count].data)
                done += count
                if report is not None:
                    report[0](report[1] + done, report[2])
        self._compare(section, checksum)

    def _compare(self, section: Section, found: ExtentHash) -> None:
        if found.hexdigest() == section.checksum:
            return
        where = ""
        if section.placement == "tier":
            expected = self.extent_checksums(section.name)
            damaged = np.flatnonzero(expected != found.checksums()).tolist()
            where = (
                f"; of {len(expected):,} extents of {EXTENT_BYTES:,} bytes it is damaged in {describe_extents(damaged)}"
            )
        raise DataLossError(
            f"{self.path / section.file} is damaged: its checksum is {found.hexdigest()}, but the manifest says "
            f"{section.checksum}{where}"
        )


def _existing_directory(path: str) -> Path:
    try:
        directory = Path(os.path.abspath(path))
        found = os.stat(directory)
    except FileNotFoundError:
        raise NotFoundError(f"index directory {path} does not exist") from None
    except OSError as error:
        raise storage_error(error, f"opening index directory {path}", Path(path).parent) from error
    if not stat.S_ISDIR(found.st_mode):
        raise InvalidArgumentError(f"{directory} is not a directory; an index is a directory with a {MANIFEST_NAME}")
    return directory


def _read_manifest(directory: Path) -> bytes:
    if not os.path.lexists(directory / MANIFEST_NAME):
        raise NotFoundError(f"{directory} holds no index: it has no {MANIFEST_NAME}")
    with _open_plain(directory / MANIFEST_NAME) as file, storage_errors(f"reading {file.name}", directory):
        text = file.read(MAX_MANIFEST_BYTES + 1)
    if len(text) > MAX_MANIFEST_BYTES:
        raise DataLossError(f"{directory / MANIFEST_NAME} is damaged: it has more than {MAX_MANIFEST_BYTES:,} bytes")
    return text


def _published_to(directory: Path) -> str | None:
    path = directory / _PUBLISHED_NAME
    if not os.path.lexists(path):
        return None
    with _open_plain(path) as file, storage_errors(f"reading {path}", directory):
        text = file.read(_LONGEST_PUBLISHED)
    try:
        url = json.loads(text)["url"]
    except (ValueError, RecursionError, TypeError, KeyError):
        url = None
    if not isinstance(url, str):
        raise DataLossError(f"{path} is damaged: it must hold the URL that the tier sections were published to")
    return url


def _open_plain(path: Path) -> BinaryIO:
    """Opens a regular file; never follows a link: a directory from elsewhere must not name files outside of it."""
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for a writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise DataLossError(f"{path} is missing from the index") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DataLossError(f"{path} is a symbolic link; all files of an index must be plain files") from error
        raise storage_error(error, f"opening {path}", path.parent) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DataLossError(f"{path} is not a plain file; all files of an index must be")
    return os.fdopen(descriptor, "rb", buffering=0)
