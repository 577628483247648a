"""A disk in memory that forgets, at a power failure, all that was not synced.

A file keeps what it held at its last sync, a folder the entries that it had at its last sync. Nothing else survives:
less than any file system that keeps its promises.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tiervec.rdma.memory_node.storage_files import StorageFiles

__all__ = ["MemoryDisk"]


class _File:
    def __init__(self) -> None:
        self.data = bytearray()
        self.synced = b""

    def sync(self) -> None:
        self.synced = bytes(self.data)

    def lose_power(self) -> None:
        self.data = bytearray(self.synced)


class _Folder:
    def __init__(self) -> None:
        self.entries: dict[str, _File | _Folder] = {}
        self.synced: dict[str, _File | _Folder] = {}

    def sync(self) -> None:
        self.synced = dict(self.entries)

    def lose_power(self) -> None:
        self.entries = dict(self.synced)
        for entry in self.entries.values():
            entry.lose_power()


class MemoryDisk(StorageFiles):
    """All operations of the storage below the folder `root`; `before` is called at each of them and may raise."""

    def __init__(self, root: Path) -> None:
        self.before: Callable[[], None] = lambda: None
        self._root_path = root
        self._root = _Folder()
        self._open: dict[int, _File | _Folder] = {}
        self._next = 1000

    def lose_power(self) -> None:
        """What was synced is there, nothing else."""
        self._open.clear()
        self._root.lose_power()

    def make_folder(self, path: Path) -> None:
        self.before()
        if path == self._root_path:
            raise FileExistsError(errno.EEXIST, "File exists")
        folder = self._folder(path.parent)
        if path.name in folder.entries:
            raise FileExistsError(errno.EEXIST, "File exists")
        folder.entries[path.name] = _Folder()

    def names(self, path: Path) -> Sequence[str]:
        self.before()
        return sorted(self._folder(path).entries)

    def open(self, path: Path, to: Any) -> int:
        self.before()
        if to in ("create", "lock"):
            found = self._folder(path.parent).entries.setdefault(path.name, _File())
            if to == "create" and isinstance(found, _File):
                found.data = bytearray()
        else:
            found = self._find(path)
        if isinstance(found, _Folder) != (to == "folder"):
            raise NotADirectoryError(errno.ENOTDIR, "Not a directory")
        self._next += 1
        self._open[self._next] = found
        return self._next

    def lock(self, descriptor: int) -> None:
        self.before()

    def size(self, descriptor: int) -> int:
        self.before()
        return len(self._file(descriptor).data)

    def read(self, descriptor: int, into: memoryview, at: int) -> int:
        self.before()
        part = self._file(descriptor).data[at : at + len(into)]
        into[: len(part)] = part
        return len(part)

    def write(self, descriptor: int, data: memoryview, at: int) -> int:
        self.before()
        file = self._file(descriptor)
        file.data.extend(b"\0" * (at + len(data) - len(file.data)))
        file.data[at : at + len(data)] = data
        return len(data)

    def sync(self, descriptor: int) -> None:
        self.before()
        self._open[descriptor].sync()

    def rename(self, old: Path, new: Path) -> None:
        self.before()
        source, target = self._folder(old.parent), self._folder(new.parent)
        moved = self._find(old)
        del source.entries[old.name]
        target.entries[new.name] = moved

    def unlink(self, path: Path) -> None:
        self.before()
        if isinstance(self._find(path), _Folder):
            raise IsADirectoryError(errno.EISDIR, "Is a directory")
        del self._folder(path.parent).entries[path.name]

    def remove_folder(self, path: Path) -> None:
        self.before()
        if self._folder(path).entries:
            raise OSError(errno.ENOTEMPTY, "Directory not empty")
        del self._folder(path.parent).entries[path.name]

    def free_bytes(self, path: Path) -> int:
        self.before()
        return 1 << 40

    def close(self, descriptor: int) -> None:
        self._open.pop(descriptor, None)

    def _find(self, path: Path) -> _File | _Folder:
        if path == self._root_path.parent:
            return _Folder()  # it may be synced; the root is always there
        found: _File | _Folder = self._root
        for part in Path(os.path.relpath(path, self._root_path)).parts:
            if isinstance(found, _File):
                raise NotADirectoryError(errno.ENOTDIR, "Not a directory")
            if part not in found.entries:
                raise FileNotFoundError(errno.ENOENT, "No such file or directory")
            found = found.entries[part]
        return found

    def _folder(self, path: Path) -> _Folder:
        found = self._find(path)
        if isinstance(found, _File):
            raise NotADirectoryError(errno.ENOTDIR, "Not a directory")
        return found

    def _file(self, descriptor: int) -> _File:
        found = self._open[descriptor]
        assert isinstance(found, _File)
        return found
