"""Files of the operator's, below the data directory, that the node fills regions from."""

from __future__ import annotations

from pathlib import Path

from tiervec import _core
from tiervec.errors import DataLossError, InvalidArgumentError, NotFoundError, from_code
from tiervec.rdma.memory_node.storage_files import StorageFiles
from tiervec.rdma.memory_node.whole_files import read_into

__all__ = ["ImportedFile", "open_import"]


class ImportedFile:
    """A file of the operator's, open for reading. A context manager.

    Attributes:
        size_bytes: When it was opened.
    """

    def __init__(self, files: StorageFiles, descriptor: int, path: str, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._files, self._descriptor, self._path = files, descriptor, path

    def read(self, size: int, at: int) -> bytes:
        """`size` bytes from the offset `at`.

        Raises:
            DataLossError: They cannot be read, or the file became shorter.
        """
        data = bytearray(size)
        try:
            got = read_into(self._files, self._descriptor, memoryview(data), at)
        except OSError as error:
            raise DataLossError(f"{self._path!r} in the node's data directory: {error.strerror}") from error
        if got < size:
            raise DataLossError(
                f"{self._path!r} in the node's data directory became shorter while it was read; "
                f"{size - got:,} bytes are missing"
            )
        return bytes(data)

    def __enter__(self) -> ImportedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close(self._descriptor)


def open_import(files: StorageFiles, folder: Path, path: str) -> ImportedFile:
    """Opens a file of the operator's below the data directory `folder`.

    Raises:
        InvalidArgumentError: The path leaves the directory, goes through a link, or is no plain file.
        NotFoundError: There is no such file.
        PermissionDeniedError: The node may not read it.
    """
    parts = Path(path).parts
    if not parts or Path(path).is_absolute() or ".." in parts or "\0" in path or parts[0] == "regions":
        raise InvalidArgumentError(
            f"path {path!r} must be relative to the node's data directory, without '..' and outside of regions/"
        )
    descriptor = size = -1
    try:
        descriptor = files.open_below(folder, parts)
        size = files.size(descriptor)
    except FileNotFoundError:
        raise NotFoundError(f"the node's data directory has no file {path!r}") from None
    except OSError as error:
        if descriptor >= 0:
            files.close(descriptor)
        code = _core.errno_code(error.errno or 0)
        plain = "; it must be a plain file" if code == "invalid_argument" else ""
        raise from_code(
            code, f"{path!r} in the node's data directory cannot be opened: {error.strerror}{plain}"
        ) from None
    if size < 0:
        files.close(descriptor)
        raise InvalidArgumentError(f"{path!r} in the node's data directory is not a plain file")
    return ImportedFile(files, descriptor, path, size)
