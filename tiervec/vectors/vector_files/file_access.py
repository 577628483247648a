"""Opening and reading plain files, with errors that name the file and what is wrong with its length."""

from __future__ import annotations

import io
import math
import os
import stat
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tiervec import _core
from tiervec.errors import (
    DataLossError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
)
from tiervec.machine.durable_files import storage_error, storage_errors

__all__ = ["MAX_DIM", "allocated", "check_file_size", "check_shape", "file_size", "read_exactly", "read_header"]

MAX_DIM: Final = 1 << 20
"""Far above any real vector; a larger number in a header is damage."""


def file_size(path: str) -> int:
    """Returns the size in bytes of a regular, non-empty file.

    Raises:
        NotFoundError: There is no such file.
        PermissionDeniedError: It may not be read.
        InvalidArgumentError: It is a directory or a device, or it is empty.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist") from None
    except OSError as error:
        raise storage_error(error, f"opening {path}", Path(path).parent) from error
    if not stat.S_ISREG(found.st_mode):
        kind = "a directory" if stat.S_ISDIR(found.st_mode) else "not a regular file"
        raise InvalidArgumentError(f"{path} is {kind}; pass a file of vectors")
    if not os.access(path, os.R_OK):
        raise PermissionDeniedError(f"{path} may not be read by this user")
    if found.st_size == 0:
        raise InvalidArgumentError(f"{path} is empty; it must hold a header and at least one vector")
    return found.st_size


def read_header(path: str, size: int, *, offset: int = 0, what: str = "header") -> bytes:
    """Reads `size` bytes at `offset`.

    Raises:
        DataLossError: The file is shorter.
    """
    with storage_errors(f"reading {path}", Path(path).parent), open(path, "rb") as file:
        file.seek(offset)
        header = file.read(size)
    if len(header) < size:
        raise DataLossError(f"{path} is truncated: its {what} takes {size} bytes, but only {len(header)} are there")
    return header


def allocated(shape: tuple[int, ...], dtype: npt.DTypeLike, path: str) -> npt.NDArray[Any]:
    """New memory for what a file holds.

    Raises:
        ResourceExhaustedError: There is not so much. Looked at first: a system that overcommits gives any amount,
            and ends the process when it is used.
    """
    needed = math.prod(int(length) for length in shape) * np.dtype(dtype).itemsize
    available = _core.available_memory_bytes()
    if needed > available:
        raise ResourceExhaustedError(
            f"reading {path} needs {needed:,} bytes of memory, and {available:,} are available"
        )
    try:
        return np.empty(shape, dtype)
    except (MemoryError, ValueError) as error:  # ValueError: more than the address space
        raise ResourceExhaustedError(f"reading {path} needs {needed:,} bytes, more than can be allocated") from error


def check_shape(path: str, rows: int, dim: int) -> None:
    """Refuses a number of vectors or dimensions that no valid file has.

    Raises:
        DataLossError: A negative number, or a dim above `MAX_DIM`.
        InvalidArgumentError: No vectors, or vectors of no dimensions.
    """
    if rows < 0 or dim < 0 or dim > MAX_DIM:
        raise DataLossError(
            f"{path} is damaged: its header says {rows} vectors of dim {dim}; dim must be from 1 to {MAX_DIM}"
        )
    if rows == 0 or dim == 0:
        raise InvalidArgumentError(f"{path} holds {rows} vectors of dim {dim}; both must be at least 1")


def check_file_size(path: str, expected_bytes: int, actual_bytes: int, header: str) -> None:
    """Compares a file's size with what its header promises.

    Raises:
        DataLossError: They differ, in either direction.
    """
    if actual_bytes == expected_bytes:
        return
    state = "truncated" if actual_bytes < expected_bytes else "too long"
    raise DataLossError(
        f"{path} is {state}: its header says {header}, which takes {expected_bytes:,} bytes, "
        f"but it has {actual_bytes:,}"
    )


def read_exactly(file: io.RawIOBase | io.BufferedIOBase, target: npt.NDArray[Any], path: str) -> None:
    """Fills a C-contiguous array from the file's position.

    Raises:
        DataLossError: The file ends before the array is full: it was cut while it was read.
    """
    view = target.reshape(-1).view(np.uint8).data
    done = 0
    while done < len(view):  # one system call moves at most 2 GiB
        count = file.readinto(view[done:]) if isinstance(file, io.BufferedIOBase) else file.readinto(view[done:]) or 0
        if count == 0:
            raise DataLossError(f"{path} became shorter while it was read: {len(view) - done:,} bytes are missing")
        done += count
