"""Parquet files with a column of vectors: fixed-size lists, or lists of one length. Streamed, never mapped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tiervec.errors import DataLossError, InvalidArgumentError, NotFoundError
from tiervec.vectors.arrays import loaded_dtype, narrow_to_float32
from tiervec.vectors.arrow_columns import arrow_matrix, is_vector_type
from tiervec.vectors.vector_files.file_access import check_shape, file_size
from tiervec.vectors.vector_files.optional_reader import import_reader, library_errors
from tiervec.vectors.vector_files.vector_file import VectorFile

__all__ = ["open_parquet"]

_READ_BYTES: Final = 4 * 1024 * 1024  # of compressed pages at a time, instead of a whole column chunk


def open_parquet(path: str, column: str | None) -> VectorFile:
    """Opens one column of a Parquet file.

    Args:
        path: The file.
        column: Its name; by default the only column of lists of numbers.

    Raises:
        NotFoundError: No such file or column.
        InvalidArgumentError: Another type, no rows, or rows of different lengths.
        DataLossError: The file is damaged.
        UnsupportedError: pyarrow is not installed.
    """
    file_size(path)
    parquet = import_reader("pyarrow.parquet", extra="parquet", path=path)
    with library_errors(path, "Parquet"), _open(parquet, path) as file:
        name = _find_column(file.schema_arrow, path, column)
        rows = int(file.metadata.num_rows)
        if rows <= 0:
            check_shape(f"{path}:{name}", rows, 1)
        first = _first_row(file, f"{path}:{name}", name)
        check_shape(f"{path}:{name}", rows, first.shape[1])
        dtype = loaded_dtype(first.dtype, what=f"{path}:{name}")
        return _ParquetColumn(path=path, column=name, shape=(rows, first.shape[1]), dtype=dtype)


class _ParquetColumn(VectorFile):
    def __init__(self, *, path: str, column: str, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        super().__init__(path=path, format="parquet", shape=shape, dtype=dtype)
        self._column = column

    def _blocks(self, start: int, stop: int, block_rows: int) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Decodes only the row groups that hold a wanted row."""
        parquet = import_reader("pyarrow.parquet", extra="parquet", path=self.path)
        with library_errors(self.path, "Parquet"), _open(parquet, self.path) as file:
            group_start = 0
            for group in range(file.metadata.num_row_groups):
                group_stop = group_start + file.metadata.row_group(group).num_rows
                if group_start < stop and group_stop > start:
                    yield from self._group_blocks(file, group, group_start, (start, stop), block_rows)
                group_start = group_stop

    def _group_blocks(
        self, file: Any, group: int, first: int, wanted: tuple[int, int], block_rows: int
    ) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        name = f"{self.path}:{self._column}"
        for batch in file.iter_batches(batch_size=block_rows, row_groups=[group], columns=[self._column]):
            count = batch.num_rows
            low, high = max(first, wanted[0]), min(first + count, wanted[1])
            if low < high:
                part = batch.column(0).slice(low - first, high - low)
                yield low, self._converted(arrow_matrix(part, what=name, first_row=low), name, low)
            first += count
            if first >= wanted[1]:
                return

    def _converted(self, block: npt.NDArray[Any], name: str, first: int) -> npt.NDArray[Any]:
        if block.shape[1] != self.shape[1]:
            raise InvalidArgumentError(
                f"{name} has {block.shape[1]} values in row {first}, but {self.shape[1]} in the first; "
                f"all need the same"
            )
        if block.dtype == np.float64:
            return narrow_to_float32(block, what=name, first_row=first)
        # A copy: Arrow's buffers are read-only, and a view would keep the whole batch.
        return np.array(block, dtype=self.dtype, order="C")


@contextlib.contextmanager
def _open(parquet: Any, path: str) -> Iterator[Any]:
    # pyarrow takes the names of files in UTF-8 only.
    with open(path, "rb") as file, parquet.ParquetFile(file, buffer_size=_READ_BYTES, pre_buffer=False) as opened:
        yield opened


def _find_column(schema: Any, path: str, column: str | None) -> str:
    if column is not None:
        if column not in schema.names:
            raise NotFoundError(f"{path} has no column {column!r}; it has {', '.join(schema.names) or 'none'}")
        return column
    lists = [field.name for field in schema if is_vector_type(field.type)]
    if len(lists) != 1:
        which = f"the columns of lists {', '.join(lists)}" if lists else "no column of lists of numbers"
        raise InvalidArgumentError(f"{path} has {which}; name the vectors as {path}:COLUMN")
    return str(lists[0])


def _first_row(file: Any, name: str, column: str) -> npt.NDArray[Any]:
    for batch in file.iter_batches(batch_size=1, columns=[column]):
        if batch.num_rows:
            return arrow_matrix(batch.column(0), what=name)
    raise DataLossError(f"{name} is damaged: its metadata says {file.metadata.num_rows} rows, but none is there")
