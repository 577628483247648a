"""What every format of vector files offers: shape and dtype at once, the vectors in pieces of bounded memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tiervec.errors import DataLossError, InvalidArgumentError
from tiervec.vectors.vector_files.file_access import allocated

__all__ = ["BLOCK_BYTES", "Progress", "VectorFile"]

BLOCK_BYTES: Final = 16 * 1024 * 1024
"""How much one piece of a file takes in memory unless the caller says otherwise."""

Progress = Callable[[int, int], None]
"""Called with (rows done, rows in all)."""


class VectorFile(ABC):
    """Vectors in a file: one per row, read in pieces.

    Opening reads and checks the header and the file's length, never the vectors. No file stays open between calls, so
    there is nothing to close. Values are not checked for NaN: see `tiervec.vectors.arrays.check_finite`.

    Attributes:
        path: The file as the caller named it.
        format: ``npy``, ``big_ann``, ``texmex``, ``hdf5`` or ``parquet``.
        shape: (rows, dim), both at least 1.
        dtype: What rows are read as: float32, float16, int8 or uint8, native byte order; float64 files are read as
            float32.
    """

    def __init__(self, *, path: str, format: str, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self.path = path
        self.format = format
        self.shape = shape
        self.dtype = dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the vectors once loaded: rows x dim x item size."""
        return self.shape[0] * self.row_bytes

    @property
    def row_bytes(self) -> int:
        """Bytes of one loaded vector."""
        return self.shape[1] * self.dtype.itemsize

    @property
    def mapped(self) -> npt.NDArray[Any] | None:
        """The vectors as a read-only memory map of the file, without a copy; None where the format cannot be mapped.

        Shape and dtype are those of the file. Rows may be further apart than their own size (texmex), so the matrix is
        not always C-contiguous. The file must not be shortened while the map is in use.
        """
        return None

    def rows(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Reads the rows from `start` up to, not including, `stop` into a new C-contiguous matrix.

        Raises:
            InvalidArgumentError: Not ``0 <= start <= stop <= shape[0]``, or a float64 value beyond float32.
            DataLossError: The file is damaged there.
        """
        if not 0 <= start <= stop <= self.shape[0]:
            raise InvalidArgumentError(f"rows {start} to {stop} are not within the {self.shape[0]} rows of {self.path}")
        out = allocated((stop - start, self.shape[1]), self.dtype, self.path)
        self._fill(out, start, None, self._block_rows(BLOCK_BYTES))
        return out

    def chunks(self, block_bytes: int = BLOCK_BYTES) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Reads all rows in order, in blocks of at most `block_bytes` (but at least one row).

        Returns:
            An iterator of (number of the block's first row, the block: a new C-contiguous matrix).
        """
        return self._complete_blocks(0, self.shape[0], self._block_rows(block_bytes))

    def read_into(
        self, out: npt.NDArray[Any], progress: Progress | None = None, *, block_bytes: int = BLOCK_BYTES
    ) -> None:
        """Reads all rows into memory that the caller has, with at most about `block_bytes` more.

        The file is read and not mapped, so its pages do not count as memory of this process.

        Args:
            out: C-contiguous and writeable, of the file's shape and dtype.
            progress: Called after each block with (rows done, rows in all).
            block_bytes: The size of one read.

        Raises:
            InvalidArgumentError: `out` does not fit, or a float64 value beyond float32.
            DataLossError: The file is damaged, or became shorter while it was read.
        """
        if out.shape != self.shape or out.dtype != self.dtype:
            raise InvalidArgumentError(
                f"out is {out.shape} of {out.dtype}; to read {self.path} it must be {self.shape} of {self.dtype}"
            )
        if not (out.flags.c_contiguous and out.flags.writeable):
            raise InvalidArgumentError(f"out must be C-contiguous and writeable to read {self.path} into it")
        self._fill(out, 0, progress, self._block_rows(block_bytes))

    def __repr__(self) -> str:
        return f"<{self.format} file {self.path!r}: {self.shape[0]} x {self.shape[1]} {self.dtype}>"

    @abstractmethod
    def _blocks(self, start: int, stop: int, block_rows: int) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Yields (first row, new matrix of at most `block_rows` rows) from `start` to `stop`, in order."""

    def _complete_blocks(self, start: int, stop: int, block_rows: int) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """`_blocks`, but a damaged file that gives fewer or more rows than its header promised is an error."""
        reached = start
        for first, block in self._blocks(start, stop, block_rows):
            if first != reached or first + len(block) > stop:
                break
            yield first, block
            reached += len(block)
        if reached != stop:
            raise DataLossError(f"{self.path} is damaged: row {reached} is missing or out of order")

    def _fill(self, out: npt.NDArray[Any], start: int, progress: Progress | None, block_rows: int) -> None:
        """Reads ``len(out)`` rows from `start` on."""
        for first, block in self._complete_blocks(start, start + len(out), block_rows):
            done = first - start + len(block)
            out[first - start : done] = block
            if progress is not None:
                progress(done, len(out))

    def _block_rows(self, block_bytes: int) -> int:
        return max(1, block_bytes // self.row_bytes)
