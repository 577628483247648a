"""Whole files and folders of the data directory, made of the single operations of `StorageFiles`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from tiervec.errors import DataLossError
from tiervec.rdma.memory_node.storage_files import StorageFiles

__all__ = ["WholeFiles", "read_into"]

_log = logging.getLogger(__name__)
_BLOCK_BYTES: Final = 8 << 20


class WholeFiles:
    """What writes raises OSError; what reads raises DataLossError, because it is about what was stored.

    Args:
        files: The operations on the disk.
    """

    def __init__(self, files: StorageFiles) -> None:
        self._files = files

    @contextmanager
    def opened(self, path: Path, to: Literal["read", "create", "update", "folder"]) -> Iterator[int]:
        """A descriptor, closed at the end of the block."""
        descriptor = self._files.open(path, to)
        try:
            yield descriptor
        finally:
            self._files.close(descriptor)

    def write(self, path: Path, data: memoryview) -> None:
        """Makes or replaces a file; its bytes are on the disk when this returns, its name is not."""
        with self.opened(path, "create") as file:
            self._write_at(file, data, 0)

    def overwrite(self, path: Path, data: memoryview, at: int) -> None:
        """Writes over a part of a file; on the disk when this returns."""
        with self.opened(path, "update") as file:
            self._write_at(file, data, at)

    def sync_folder(self, path: Path) -> None:
        """Waits until the entries of a folder are on the disk."""
        with self.opened(path, "folder") as folder:
            self._files.sync(folder)

    def discard(self, folder: Path) -> bool:
        """Removes a folder and the files in it; what cannot be removed is a remainder. True when nothing is left."""
        try:
            for name in self._files.names(folder):
                self._files.unlink(folder / name)
            self._files.remove_folder(folder)
        except FileNotFoundError:
            pass
        except NotADirectoryError:
            return self.discard_file(folder)
        except OSError as error:
            _log.warning("%s, a remainder, cannot be removed: %s; the next start tries again", folder, error.strerror)
            return False
        return True

    def discard_file(self, path: Path) -> bool:
        """Removes a file; one that cannot be removed is a remainder. True when nothing is left."""
        try:
            self._files.unlink(path)
        except OSError as error:
            _log.warning("%s, a remainder, cannot be removed: %s; the next start tries again", path, error.strerror)
            return False
        return True

    def exists(self, path: Path) -> bool:
        """False when it is not there; True too when that cannot be seen."""
        try:
            with self.opened(path, "read"):
                return True
        except FileNotFoundError:
            return False
        except OSError:
            return True

    def size(self, path: Path) -> int:
        """Bytes of a plain file, 0 of anything else.

        Raises:
            DataLossError: It is not there, or cannot be opened.
        """
        try:
            with self.opened(path, "read") as file:
                return max(0, self._files.size(file))
        except OSError as error:
            raise DataLossError(f"{path.name} cannot be read: {error.strerror}") from error

    def read(self, path: Path, most: int) -> bytes | None:
        """At most so many bytes of a plain file; None when it is not there.

        Raises:
            DataLossError: It cannot be read.
        """
        try:
            with self.opened(path, "read") as file:
                size = self._files.size(file)
                if size < 0:
                    raise DataLossError(f"{path.name} is not a plain file")
                data = bytearray(min(size, most))
                return bytes(data[: read_into(self._files, file, memoryview(data), 0)])
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DataLossError(f"{path.name} cannot be read: {error.strerror}") from error

    def read_at(self, path: Path, into: memoryview, at: int) -> int:
        """Reads a part of a file; returns how many bytes, fewer at its end.

        Raises:
            DataLossError: It cannot be read.
        """
        try:
            with self.opened(path, "read") as file:
                return read_into(self._files, file, into, at)
        except OSError as error:
            raise DataLossError(f"{path} cannot be read at byte {at:,}: {error.strerror}") from error

    def _write_at(self, file: int, data: memoryview, at: int) -> None:
        done = 0
        while done < len(data):  # a disk that fills up takes a part, and refuses the rest
            done += self._files.write(file, data[done : done + _BLOCK_BYTES], at + done)
        self._files.sync(file)


def read_into(files: StorageFiles, descriptor: int, into: memoryview, at: int) -> int:
    """Reads until `into` is full or the file ends; returns how many bytes."""
    done = 0
    while done < len(into) and (got := files.read(descriptor, into[done:], at + done)):
        done += got
    return done
