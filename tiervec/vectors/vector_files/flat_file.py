"""Vectors that lie in a file row after row at a fixed distance: npy, big-ann, texmex and contiguous HDF5.

offset          row 0                  row 1
| header ... | [dim int32] values ... | [dim int32] values ... |
               texmex only
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tiervec.errors import DataLossError
from tiervec.machine.durable_files import storage_errors
from tiervec.vectors.arrays import narrow_to_float32
from tiervec.vectors.vector_files.file_access import read_exactly
from tiervec.vectors.vector_files.vector_file import BLOCK_BYTES, Progress, VectorFile

__all__ = ["ROW_DIM_DTYPE", "FlatVectorFile"]

ROW_DIM_DTYPE = np.dtype("<i4")
"""How a texmex file writes the dim in front of each row."""


class FlatVectorFile(VectorFile):
    """A file whose rows have a fixed place. The caller has checked that it is long enough for them."""

    def __init__(
        self,
        *,
        path: str,
        format: str,
        shape: tuple[int, int],
        stored: np.dtype[Any],
        offset: int,
        row_dims: bool = False,
    ) -> None:
        """Describes the file.

        Args:
            path: The file.
            format: Its format's name.
            shape: (rows, dim).
            stored: The dtype of its values, in the file's byte order.
            offset: The byte at which row 0 starts.
            row_dims: Every row starts with its dim as int32 (texmex).
        """
        native = stored.newbyteorder("=")
        loaded = np.dtype(np.float32) if native == np.float64 else native
        super().__init__(path=path, format=format, shape=shape, dtype=loaded)
        self._stored = stored
        self._offset = offset
        self._row_dims = row_dims
        values = (stored, (shape[1],))
        self._row = np.dtype([("dim", ROW_DIM_DTYPE), ("values", *values)] if row_dims else values)

    @functools.cached_property
    def mapped(self) -> npt.NDArray[Any] | None:
        """See `VectorFile.mapped`; a texmex file is read once to check every row's dim."""
        if self._stored != self.dtype:
            return None
        if self._row_dims:
            for _ in self._blocks(0, self.shape[0], self._block_rows(BLOCK_BYTES)):
                pass
        record = self._row if self._row_dims else self._stored
        shape = self.shape[:1] if self._row_dims else self.shape
        with storage_errors(f"mapping {self.path}", Path(self.path).parent):
            rows = np.memmap(self.path, dtype=record, mode="r", offset=self._offset, shape=shape)
        return np.asarray(rows["values"] if self._row_dims else rows)

    def _blocks(self, start: int, stop: int, block_rows: int) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        with storage_errors(f"reading {self.path}", Path(self.path).parent), open(self.path, "rb", buffering=0) as file:
            file.seek(self._offset + start * self._row_bytes_stored)
            for first in range(start, stop, block_rows):
                yield first, self._next_rows(file, first, min(block_rows, stop - first))

    def _fill(self, out: npt.NDArray[Any], start: int, progress: Progress | None, block_rows: int) -> None:
        if self._row_dims or self._stored != self.dtype:
            super()._fill(out, start, progress, block_rows)
            return
        with storage_errors(f"reading {self.path}", Path(self.path).parent), open(self.path, "rb", buffering=0) as file:
            file.seek(self._offset + start * self._row_bytes_stored)
            for first in range(0, len(out), block_rows):
                target = out[first : first + block_rows]
                read_exactly(file, target, self.path)
                if progress is not None:
                    progress(first + len(target), len(out))

    @property
    def _row_bytes_stored(self) -> int:
        return self._stored.itemsize * self.shape[1] + (ROW_DIM_DTYPE.itemsize if self._row_dims else 0)

    def _next_rows(self, file: io.FileIO, first: int, count: int) -> npt.NDArray[Any]:
        raw = np.empty(count * self._row_bytes_stored, np.uint8)
        read_exactly(file, raw, self.path)
        values = self._without_dims(raw, first) if self._row_dims else raw.view(self._stored).reshape(count, -1)
        if self._stored == self.dtype:
            return np.ascontiguousarray(values)
        if self.dtype.itemsize != self._stored.itemsize:
            return narrow_to_float32(values, what=self.path, first_row=first)
        return values.astype(self.dtype)

    def _without_dims(self, raw: npt.NDArray[Any], first: int) -> npt.NDArray[Any]:
        rows = raw.view(self._row)
        wrong = np.flatnonzero(rows["dim"] != self.shape[1])
        if len(wrong):
            raise DataLossError(
                f"{self.path} is damaged: row {first + wrong[0]} says dim {rows['dim'][wrong[0]]}, "
                f"but row 0 says {self.shape[1]}"
            )
        return rows["values"]
