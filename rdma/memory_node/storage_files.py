"""Every operation of the data directory on the disk, one system call each.

`RegionStorage` touches the disk through nothing else, so that a test can let any one of them fail.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

__all__ = ["StorageFiles"]

_FLAGS: Final = {
    "read": os.O_RDONLY | os.O_NONBLOCK,  # a pipe in the place of a file does not hang the node
    "create": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    "update": os.O_WRONLY,
    "folder": os.O_RDONLY | os.O_DIRECTORY,
    "lock": os.O_RDWR | os.O_CREAT,
}


class StorageFiles:
    """The operations on the real disk. All but `close` raise OSError. What they make is for its owner only."""

    def make_folder(self, path: Path) -> None:
        """Makes a folder that is not there."""
        os.mkdir(path, 0o700)

    def names(self, path: Path) -> Sequence[str]:
        """The entries of a folder, in order."""
        return sorted(os.listdir(path))

    def open(self, path: Path, to: Literal["read", "create", "update", "folder", "lock"]) -> int:
        """A descriptor of a file or folder; never through a link."""
        return os.open(path, _FLAGS[to] | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def open_below(self, folder: Path, parts: Sequence[str]) -> int:
        """A descriptor to read a plain file below `folder`; no part of the way may be a link.

        Raises:
            IsADirectoryError: It is not a plain file.
        """
        here = os.open(folder, _FLAGS["folder"] | os.O_CLOEXEC)
        try:
            for part in parts[:-1]:
                below = os.open(part, _FLAGS["folder"] | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
                os.close(here)
                here = below
            return os.open(parts[-1], _FLAGS["read"] | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
        finally:
            os.close(here)

    def lock(self, descriptor: int) -> None:
        """Locks a file for this process, or raises BlockingIOError at once."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def size(self, descriptor: int) -> int:
        """Bytes of a plain file; -1 for anything else."""
        status = os.fstat(descriptor)
        return status.st_size if stat.S_ISREG(status.st_mode) else -1

    def read(self, descriptor: int, into: memoryview, at: int) -> int:
        """Reads bytes at an offset; returns how many, fewer at the end of the file."""
        return os.preadv(descriptor, [into], at)

    def write(self, descriptor: int, data: memoryview, at: int) -> int:
        """Writes bytes at an offset; returns how many, fewer when the disk fills up."""
        return os.pwrite(descriptor, data, at)

    def sync(self, descriptor: int) -> None:
        """Waits until a file, or the entries of a folder, are on the disk."""
        os.fsync(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        """Gives a file or folder another name, in one step; a file that has the name goes."""
        os.rename(old, new)

    def unlink(self, path: Path) -> None:
        """Removes a file."""
        os.unlink(path)

    def remove_folder(self, path: Path) -> None:
        """Removes an empty folder."""
        os.rmdir(path)

    def free_bytes(self, path: Path) -> int:
        """Bytes that may still be written to the file system of `path`."""
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize

    def close(self, descriptor: int) -> None:
        """Closes a descriptor. What it wrote was synced before, so nothing depends on it."""
        os.close(descriptor)
