"""Files that are whole after a crash: atomic replacement, fsync, checksums, and storage failures as TierVec errors.

Guarantee: a reader sees either the old file or the new one, and a file that was reported as written survives a power
loss.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import xxhash

from tiervec import _core
from tiervec.errors import DiskFullError, TiervecError, from_code

__all__ = [
    "Checksum",
    "checksum_of",
    "replaced_directory",
    "replacing_file",
    "require_free_space",
    "storage_error",
    "storage_errors",
    "sync_directory",
    "sync_file",
    "write_blocks",
]

_BLOCK_BYTES: Final = 8 * 1024 * 1024

_SHORT_WRITE: Final = re.compile(r"[0-9]+ requested and [0-9]+ written")  # ndarray.tofile's full disk has no errno


def storage_error(error: OSError, act: str, directory: Path, needed_bytes: int | None = None) -> TiervecError:
    """Turns a failure of the file system into the TierVec error with the same meaning.

    Args:
        error: What the operating system raised.
        act: What was tried, for example ``"writing /data/index"``.
        directory: Whose file system is asked for its free space when a disk is full.
        needed_bytes: How much the whole act was to write, if known.
    """
    full = error.errno is None and _SHORT_WRITE.search(str(error)) is not None
    code = "disk_full" if full else _core.errno_code(error.errno or 0)
    if code == "disk_full":
        needed = "" if needed_bytes is None else f"{needed_bytes:,} bytes are needed and "
        limit = " (the size of one file is limited)" if error.errno == errno.EFBIG else ""
        reason = f"no space left{limit}; {needed}{free_bytes(directory):,} bytes are free in {directory}"
    else:
        reason = error.strerror or str(error)
    return from_code(code, f"{act} failed: {reason}")


@contextlib.contextmanager
def storage_errors(act: str, directory: Path, needed_bytes: int | None = None) -> Iterator[None]:
    """Raises `storage_error` for every OSError inside; the arguments are the same."""
    try:
        yield
    except TiervecError:  # some of ours are OSErrors too
        raise
    except OSError as error:
        raise storage_error(error, act, directory, needed_bytes) from error


def free_bytes(directory: Path) -> int:
    """The bytes that may still be written to the file system of `directory`; 0 when that is unknown."""
    try:
        return shutil.disk_usage(directory).free
    except OSError:
        return 0


def require_free_space(directory: Path, needed_bytes: int, act: str) -> None:
    """Refuses an act that cannot fit, before it starts.

    Raises:
        DiskFullError: Fewer than `needed_bytes` are free in the existing `directory`.
    """
    with storage_errors(act, directory):
        free = shutil.disk_usage(directory).free
    if free < needed_bytes:
        raise DiskFullError(f"{act} needs {needed_bytes:,} bytes, but only {free:,} are free in {directory}")


class Checksum(Protocol):
    """A checksum in the making."""

    def update(self, data: memoryview, /) -> None:
        """Adds the next bytes."""

    def hexdigest(self) -> str:
        """The checksum of all bytes so far."""


def write_blocks(file: BinaryIO, data: memoryview, checksum: Checksum | None = None) -> None:
    """Writes `data` (bytes, C-contiguous) piecewise, so that Ctrl-C is answered in time, and adds it to `checksum`."""
    for start in range(0, len(data), _BLOCK_BYTES):
        block = data[start : start + _BLOCK_BYTES]
        if checksum is not None:
            checksum.update(block)
        while len(block):  # an unbuffered file may take less, for example all that a full disk still holds
            block = block[file.write(block) :]


def checksum_of(file: BinaryIO, checksum: Checksum | None = None) -> tuple[int, str]:
    """Reads `file` to its end; returns the number of bytes and their XXH3 (64 bits, hexadecimal), or `checksum`'s."""
    checksum = xxhash.xxh3_64() if checksum is None else checksum
    size, block = 0, memoryview(bytearray(_BLOCK_BYTES))
    while count := file.readinto(block):  # type: ignore[attr-defined]  # every binary file has it, BinaryIO does not say so
        checksum.update(block[:count])
        size += count
    return size, checksum.hexdigest()


def sync_file(path: Path) -> None:
    """Waits until a file that anybody wrote is on the disk."""
    _sync(path, os.O_RDONLY)


def sync_directory(path: Path) -> None:
    """Waits until the entries of a directory are on the disk."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


@contextlib.contextmanager
def replacing_file(path: Path, needed_bytes: int | None = None) -> Iterator[BinaryIO]:
    """Opens a temporary file beside `path`, which takes its place when the block ends without an exception.

    On any exception, Ctrl-C included, the temporary file is removed and what was at `path` stays.

    Args:
        path: The file to make or replace.
        needed_bytes: How much will be written, if known: checked against the free space first.

    Raises:
        DiskFullError: The disk is full, before or in the middle.
        InvalidArgumentError, NotFoundError: `path` cannot be written, or its directory does not exist.
    """
    directory = path.parent
    temporary = directory / f".{path.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}"
    act = f"writing {path}"
    if needed_bytes is not None:
        require_free_space(directory, needed_bytes, act)
    with storage_errors(act, directory, needed_bytes):
        try:
            with open(temporary, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_directory(directory)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def replaced_directory(path: Path) -> Iterator[Path]:
    """Gives the name of a directory to make beside `path`, which takes its place when the block ends.

    The two change places in one step where the file system can do that; what was at `path` is then removed. On any
    exception what was made is removed and `path` stays.
    """
    beside = path.parent / f".{path.name}.new-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        yield beside
        with storage_errors(f"replacing {path}", path.parent):
            if not _exchange(beside, path):
                aside = path.parent / f".{path.name}.old-{os.getpid()}-{secrets.token_hex(4)}"
                os.rename(path, aside)
                os.rename(beside, path)
                os.rename(aside, beside)
            sync_directory(path.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Lets two directories change their names; False where the system cannot."""
    exchange, here = 2, -100  # RENAME_EXCHANGE, AT_FDCWD
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    return bool(renameat2(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
