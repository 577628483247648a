"""Writes an index directory so that it appears whole or not at all.

    PARENT/.NAME.tmp-PID-XXXXXXXX/     while it is written, locked (flock) by its writer
    PARENT/NAME/                       renamed to this after every byte is on the disk

A build that was killed leaves its temporary directory; the next build to the same name removes it, when no process has
its process id and none holds its lock.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import logging
import os
import re
import secrets
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from tiervec.arguments.parameter_checks import check_path
from tiervec.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError, PermissionDeniedError, TiervecError
from tiervec.index_files.manifest import (
    MANIFEST_NAME,
    IndexDescription,
    Manifest,
    Placement,
    Section,
    check_section_names,
    serialize_manifest,
)
from tiervec.machine.durable_files import (
    checksum_of,
    require_free_space,
    storage_error,
    storage_errors,
    sync_directory,
    sync_file,
    write_blocks,
)
from tiervec.machine.installed_version import installed_version
from tiervec.rdma.extents import ExtentHash, extents_section

__all__ = ["IndexDirectoryWriter", "check_out"]

_log = logging.getLogger(__name__)


def check_out(out: str | os.PathLike[str], needed_bytes: int = 0) -> Path:
    """Makes sure, before any work, that an index can be written to `out`.

    Args:
        out: The directory to make. It must not exist; the directory above it must.
        needed_bytes: The size of the index, if known.

    Returns:
        `out` as an absolute path.

    Raises:
        AlreadyExistsError: Something is at `out`.
        NotFoundError: The directory above does not exist.
        InvalidArgumentError: It is not a directory.
        PermissionDeniedError: It may not be written.
        DiskFullError: Its file system has less than `needed_bytes` free.
    """
    target = Path(os.path.abspath(check_path("out", out)))
    if os.path.lexists(target):
        raise AlreadyExistsError(f"{target} already exists; choose another directory, or remove it first")
    if not target.parent.exists():
        raise NotFoundError(f"{target.parent} does not exist; make it first, so that {target.name} can be put there")
    if not target.parent.is_dir():
        raise InvalidArgumentError(f"{target.parent} is not a directory, so {target.name} cannot be put there")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise PermissionDeniedError(f"{target.parent} may not be written by this user, or is on a read-only disk")
    require_free_space(target.parent, needed_bytes, f"writing {target}")
    return target


class IndexDirectoryWriter:
    """Collects the sections of an index in a temporary directory and puts it in place at `commit`.

    Leaving the ``with`` block without a commit, through an exception or Ctrl-C or otherwise, removes everything.
    Errors of the file system leave as `TiervecError`; a full disk is a `DiskFullError` that says what is free.

    Example:
        >>> import shutil, tempfile
        >>> from pathlib import Path
        >>> from tiervec.index_files.manifest import IndexDescription
        >>> out = Path(tempfile.mkdtemp()) / "index"
        >>> with IndexDirectoryWriter(out) as writer:
        ...     section = writer.write_section("codes", b"12345678", placement="fast")
        ...     manifest = writer.commit(IndexDescription(kind="graph", metric="l2", dtype="uint8", dim=4, vectors=2,
        ...                                               dataset_bytes=8, params={}))
        >>> sorted(path.name for path in out.iterdir()), manifest.sections[0].bytes
        (['codes.bin', 'manifest.json'], 8)
        >>> shutil.rmtree(out.parent)
    """

    def __init__(self, out: str | os.PathLike[str], *, needed_bytes: int | None = None) -> None:
        """Checks `out`, as `check_out` does, and that `needed_bytes` are free; writes nothing yet."""
        self._out = check_out(out, needed_bytes or 0)
        self._needed_bytes = needed_bytes
        self._temporary: Path | None = None
        self._lock: int | None = None
        self._sections: dict[str, Section] = {}

    def __enter__(self) -> IndexDirectoryWriter:
        remove_stale_directories(self._out)
        temporary = self._out.parent / f".{self._out.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}"
        with self._storage_errors():
            try:
                temporary.mkdir()
                self._temporary = temporary
                self._lock = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                with contextlib.suppress(OSError):  # some network file systems cannot lock; the process id is left
                    fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BaseException:
                self._temporary = temporary
                self._discard()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Translated before the clean-up, which frees the space that the message reports.
        translated = None
        if isinstance(error, OSError) and not isinstance(error, TiervecError):
            translated = storage_error(error, self._act, self._out.parent, self._needed_bytes)
        self._discard()
        if translated is not None:
            raise translated from error

    def section_path(self, name: str, *, file: str | None = None) -> Path:
        """Returns where to write the section `name`; call `finish_section` when it is written.

        Args:
            name: Lower-case letters, digits and underscores.
            file: Its file name; by default ``NAME.bin``.
        """
        file = file or f"{name}.bin"
        check_section_names(name, file, "tier")
        if name in self._sections or any(section.file == file for section in self._sections.values()):
            raise InvalidArgumentError(f"section {name!r} in {file!r} was already written; names and files are unique")
        return self._directory / file

    def finish_section(self, name: str, *, placement: Placement, file: str | None = None) -> Section:
        """Registers a section that is written at `section_path`: reads it once for its checksums and syncs it.

        The checksums of the extents of a tier section become a section of their own, ``NAME_extents``.

        Raises:
            NotFoundError: Nothing was written there.
        """
        path = self.section_path(name, file=file)
        check_section_names(name, path.name, placement)
        with self._storage_errors(f"finishing section {name!r} of {self._out}"):
            extents = ExtentHash()
            with open(path, "rb", buffering=0) as stored:
                size, checksum = checksum_of(stored, extents)
            sync_file(path)
        section = self._register(name, path, placement, size, checksum)
        self._write_extents(section, extents)
        return section

    def write_section(
        self, name: str, data: npt.NDArray[Any] | bytes, *, placement: Placement, file: str | None = None
    ) -> Section:
        """Writes a whole section: the bytes of `data`, an array in C order, without dtype and shape."""
        path = self.section_path(name, file=file)
        check_section_names(name, path.name, placement)
        array = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else np.ascontiguousarray(data)
        checksum, act = ExtentHash(), f"writing section {name!r} of {self._out}"
        require_free_space(self._out.parent, array.nbytes, act)
        with self._storage_errors(act), open(path, "xb", buffering=0) as file_out:
            write_blocks(file_out, array.reshape(-1).view(np.uint8).data, checksum)
            os.fsync(file_out.fileno())
        section = self._register(name, path, placement, array.nbytes, checksum.hexdigest())
        self._write_extents(section, checksum)
        return section

    def commit(self, description: IndexDescription) -> Manifest:
        """Writes the manifest and renames the directory to its final name. After this the writer is done.

        Raises:
            AlreadyExistsError: Another process made `out` in the meantime; that one stays.
            InvalidArgumentError: The description does not fit into JSON.
        """
        values = {entry.name: getattr(description, entry.name) for entry in dataclasses.fields(IndexDescription)}
        manifest = Manifest(**values, sections=tuple(self._sections.values()), created_by=installed_version())
        temporary = self._directory
        with self._storage_errors():
            with open(temporary / MANIFEST_NAME, "xb") as file:
                file.write(serialize_manifest(manifest))
                file.flush()
                os.fsync(file.fileno())
            sync_directory(temporary)
            self._rename(temporary)
        return manifest

    @property
    def _directory(self) -> Path:
        if self._temporary is None:
            raise InvalidArgumentError(f"the writer of {self._out} is not open; use it in a with statement, once")
        return self._temporary

    @property
    def _act(self) -> str:
        return f"writing {self._out}"

    def _storage_errors(self, act: str | None = None) -> contextlib.AbstractContextManager[None]:
        return storage_errors(act or self._act, self._out.parent, self._needed_bytes)

    def _register(self, name: str, path: Path, placement: Placement, size: int, checksum: str) -> Section:
        section = Section(name=name, file=path.name, placement=placement, bytes=size, checksum=checksum)
        self._sections[name] = section
        return section

    def _write_extents(self, section: Section, extents: ExtentHash) -> None:
        if section.placement == "tier":
            self.write_section(extents_section(section.name), extents.checksums(), placement="disk")

    def _rename(self, temporary: Path) -> None:
        try:
            os.rename(temporary, self._out)
        except OSError as error:
            if os.path.lexists(self._out):
                raise AlreadyExistsError(f"{self._out} was made by somebody else during the build; it stays") from error
            raise
        self._temporary = None  # it is the index now
        sync_directory(self._out.parent)

    def _discard(self) -> None:
        if self._lock is not None:  # first: its descriptor may be the only one left to list the directory with
            os.close(self._lock)
            self._lock = None
        if self._temporary is not None:
            _remove(self._temporary)
            self._temporary = None


def _remove(directory: Path) -> None:
    """Removes a directory of plain files with one descriptor, an empty one with none; rmtree needs two."""
    with contextlib.suppress(OSError):
        directory.rmdir()
        return
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            (directory / name).unlink()
        directory.rmdir()
        return
    shutil.rmtree(directory, ignore_errors=True)


def remove_stale_directories(out: Path) -> None:
    """Removes what killed builds of `out` left behind. Directories whose writer may live are not touched."""
    pattern = re.compile(re.escape(f".{out.name}.tmp-") + r"(?P<pid>[0-9]{1,10})-[0-9a-f]{8}")
    with storage_errors(f"writing {out}", out.parent):
        names = [entry.name for entry in os.scandir(out.parent) if entry.is_dir(follow_symlinks=False)]
    for name in names:
        match = pattern.fullmatch(name)
        if match and not _process_exists(int(match["pid"])) and not _is_locked(out.parent / name):
            _log.warning("removing %s, left by a build that was killed", out.parent / name)
            shutil.rmtree(out.parent / name, ignore_errors=True)


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _is_locked(directory: Path) -> bool:
    """The lock sees writers in other containers and on other hosts, whose process ids mean nothing here."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or the file system cannot tell
        return True
    finally:
        os.close(descriptor)
    return False
