"""Arrow columns of vectors as numpy matrices.

pyarrow is optional: it is imported only when the caller hands over one of its objects, or reads a Parquet file.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import numpy.typing as npt

from tiervec.errors import InvalidArgumentError

__all__ = ["arrow_array", "arrow_matrix", "is_arrow", "is_vector_type"]


def is_arrow(data: object) -> bool:
    """Says whether `data` is a pyarrow object, without importing pyarrow."""
    return type(data).__module__.partition(".")[0] == "pyarrow"


def is_vector_type(arrow_type: Any) -> bool:
    """Says whether a column of this pyarrow type holds one list of numbers per row."""
    types = importlib.import_module("pyarrow").types
    storage = getattr(arrow_type, "storage_type", arrow_type)
    if not (types.is_fixed_size_list(storage) or types.is_list(storage) or types.is_large_list(storage)):
        return False
    return bool(types.is_integer(storage.value_type) or types.is_floating(storage.value_type))


def arrow_array(data: Any, *, what: str) -> npt.NDArray[Any]:
    """Reads an Arrow array: numbers as one dimension (ids, a single query), lists as a matrix through `arrow_matrix`.

    Raises:
        InvalidArgumentError: As `arrow_matrix`.
    """
    pa = importlib.import_module("pyarrow")
    if not isinstance(data, pa.Array | pa.ChunkedArray) or not pa.types.is_primitive(data.type):
        return arrow_matrix(data, what=what)
    if data.null_count:
        raise InvalidArgumentError(f"{what} has {data.null_count} nulls; every value must be present")
    return np.asarray(data.to_numpy())


def arrow_matrix(data: Any, *, what: str, first_row: int = 0) -> npt.NDArray[Any]:
    """Reads an Arrow array of lists as a matrix, one list per row.

    Args:
        data: A pyarrow ``Array`` or ``ChunkedArray`` of fixed-size lists, or of lists that all have the same length.
            An extension array (for example a fixed-shape tensor) is read through its storage.
        what: How errors name the data.
        first_row: The row number of the first list, for errors in a file that is read in pieces.

    Returns:
        Shape (rows, dim), with the dtype of the list's items. It shares memory with `data`, and is read-only, when
        there is one chunk; several chunks are copied into one matrix.

    Raises:
        InvalidArgumentError: `data` is not a column of lists of numbers, holds nulls, or lists of different lengths.
    """
    pa = importlib.import_module("pyarrow")
    if isinstance(data, pa.Table | pa.RecordBatch):
        names = ", ".join(data.schema.names)
        raise InvalidArgumentError(f"{what} is an Arrow table; pass one of its columns ({names}) instead")
    if isinstance(data, pa.Array):
        return _array_matrix(pa, data, what, first_row)
    if not isinstance(data, pa.ChunkedArray):
        raise InvalidArgumentError(f"{what} is a pyarrow {type(data).__name__}; pass an Array or ChunkedArray of lists")
    blocks: list[npt.NDArray[Any]] = []
    for chunk in data.chunks:
        block = _array_matrix(pa, chunk, what, first_row)
        first_row += len(block)
        if len(block):
            blocks.append(block)
    if not blocks:
        return _array_matrix(pa, pa.array([], type=data.type), what, first_row)
    for block in blocks:
        _check_length(blocks[0].shape[1], block.shape[1], what, None)
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _array_matrix(pa: Any, array: Any, what: str, first_row: int) -> npt.NDArray[Any]:
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    fixed = pa.types.is_fixed_size_list(array.type)
    if not is_vector_type(array.type):
        raise InvalidArgumentError(f"{what} has the Arrow type {array.type}; it must be a list of numbers per row")
    if array.null_count:
        row = first_row + int(np.argmax(array.is_null().to_numpy(zero_copy_only=False)))
        raise InvalidArgumentError(f"{what} has a null at row {row}; every row must be a vector")
    if fixed:
        dim = array.type.list_size
        items = array.values.slice(array.offset * dim, len(array) * dim)
    else:
        offsets = array.offsets.to_numpy()
        dim = _common_length(offsets, what, first_row)
        first, last = (int(offsets[0]), int(offsets[-1])) if len(array) else (0, 0)
        items = array.values.slice(first, last - first)
    if items.null_count:
        row, column = divmod(int(np.argmax(items.is_null().to_numpy(zero_copy_only=False))), dim)
        raise InvalidArgumentError(f"{what} has a null at row {first_row + row}, column {column}; use numbers only")
    matrix: npt.NDArray[Any] = items.to_numpy(zero_copy_only=True).reshape(len(array), dim)
    return matrix


def _common_length(offsets: npt.NDArray[Any], what: str, first_row: int) -> int:
    lengths = np.diff(offsets)
    if len(lengths) == 0:
        return 0
    differing = np.flatnonzero(lengths != lengths[0])
    if len(differing):
        _check_length(int(lengths[0]), int(lengths[differing[0]]), what, first_row + int(differing[0]))
    return int(lengths[0])


def _check_length(expected: int, actual: int, what: str, row: int | None) -> None:
    if actual != expected:
        where = "a later chunk" if row is None else f"row {row}"
        raise InvalidArgumentError(
            f"{what} has {actual} values in {where}, but {expected} in the first; all need the same"
        )
