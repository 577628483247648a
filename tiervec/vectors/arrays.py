"""Vectors, queries and ids as callers hand them over: checked, C-contiguous, without a copy where that is possible.

An index stores float32, float16, int8 or uint8. float64, numpy's default, is rounded to the nearest float32, and a
finite value that float32 cannot hold (beyond 3.4e38) is an error rather than an infinity. Every other dtype is
refused: what to scale int64 or bool by is the caller's knowledge, not ours.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tiervec import _core
from tiervec.errors import InvalidArgumentError
from tiervec.vectors.arrow_columns import arrow_array, is_arrow

__all__ = [
    "VECTOR_DTYPES",
    "as_matrix",
    "as_queries",
    "check_finite",
    "check_ids",
    "check_range",
    "loaded_dtype",
    "narrow_to_float32",
    "require_vector_dtype",
]

Array = npt.NDArray[Any]

VECTOR_DTYPES: Final[tuple[np.dtype[Any], ...]] = tuple(
    np.dtype(name) for name in ("float32", "float16", "int8", "uint8")
)

# Of queries, for the name of an index's dtype.
_READY_DTYPES: Final = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float32),
    "int8": np.dtype(np.int8),
    "uint8": np.dtype(np.uint8),
}

# Distances are float32, and squares of larger values overflow.
_LARGEST_SQUARED_DISTANCE: Final = 3e38

# Checks and conversions work on blocks of this many values, so that their temporaries stay near 8 MiB.
_BLOCK_VALUES: Final = 2 * 1024 * 1024


def require_vector_dtype(dtype: npt.DTypeLike, *, what: str = "data") -> np.dtype[Any]:
    """Returns `dtype` as a numpy dtype in native byte order.

    Raises:
        InvalidArgumentError: It is not one of `VECTOR_DTYPES`.
    """
    try:
        native: np.dtype[Any] = np.dtype(dtype).newbyteorder("=")
    except TypeError:
        raise InvalidArgumentError(f"{what} has the dtype {dtype!r}; it must be {_dtype_list()}") from None
    if native not in VECTOR_DTYPES:
        raise InvalidArgumentError(
            f"{what} has the dtype {native}; it must be {_dtype_list()} (float64 becomes float32)"
        )
    return native


def loaded_dtype(dtype: np.dtype[Any], *, what: str) -> np.dtype[Any]:
    """Returns the dtype that vectors stored as `dtype` have in an index: float64 becomes float32, byte order native.

    Raises:
        InvalidArgumentError: Vectors of that dtype are not accepted.
    """
    return np.dtype(np.float32) if dtype.newbyteorder("=") == np.float64 else require_vector_dtype(dtype, what=what)


def as_matrix(data: Any, *, what: str = "data") -> Array:
    """Makes a C-contiguous matrix of vectors out of what the caller has.

    Args:
        data: One vector per row: a numpy array, any object with ``__dlpack__`` in host memory (PyTorch, JAX, CuPy on
            the host, ...), a pyarrow ``Array`` or ``ChunkedArray`` of (fixed-size) lists, an object with
            ``__array__``, or nested lists of numbers, which become float32.
        what: How errors name the data.

    Returns:
        Shape (rows, dim), dtype float32, float16, int8 or uint8, native byte order, C-contiguous and aligned. It
        shares memory with `data`, and may then be read-only, unless that has another layout, byte order or dtype
        (float64 is rounded to float32).

    Raises:
        InvalidArgumentError: A dtype that is not accepted, not exactly two dimensions, no rows, no columns, rows of
            different lengths, masked or null values, or a float64 beyond float32's range.

    Example:
        >>> as_matrix([[1, 2], [3, 4]]).dtype, as_matrix(np.ones((3, 2), np.int8)).shape
        (dtype('float32'), (3, 2))
    """
    array, is_sequence = _as_array(data, what)
    if array.ndim != 2:
        raise InvalidArgumentError(
            f"{what} has the shape {array.shape}; it must have two dimensions, one vector per row"
        )
    return _as_vectors(array, is_sequence, what)


def as_queries(queries: Any, dtype: npt.DTypeLike, dim: int, *, what: str = "queries") -> Array:
    """Makes queries ready for an index: right shape, right dtype, finite.

    Args:
        queries: What `as_matrix` accepts, or one vector (1-d), which becomes a matrix of one row.
        dtype: The dtype of the index's vectors.
        dim: Their number of columns.
        what: How errors name the queries.

    Returns:
        Shape (rows, dim), C-contiguous: float32 for a float32 or float16 index; for an int8 or uint8 index its own
        dtype, and then queries of any number type are accepted whose values are whole and in range.

    Raises:
        InvalidArgumentError: Another dim, no rows, a dtype or value that the index cannot compare, NaN or infinity.

    Example:
        >>> as_queries([1.0, 2.0], "uint8", 2)
        array([[1, 2]], dtype=uint8)
    """
    if _are_ready(queries, dtype, dim):
        matrix: Array = queries if queries.ndim == 2 else queries[np.newaxis, :]
        if matrix.dtype.kind == "f":
            check_range(matrix, what)
        return matrix
    index_dtype = require_vector_dtype(dtype, what="index")
    array, is_sequence = _as_array(queries, what)
    if array.ndim == 1:
        array = array[np.newaxis, :]
    if array.ndim != 2:
        raise InvalidArgumentError(f"{what} has the shape {array.shape}; it must be one vector or one vector per row")
    if array.shape[0] == 0:
        raise InvalidArgumentError(f"{what} has no rows; pass at least one vector of dim {dim}")
    if array.shape[1] != dim:
        raise InvalidArgumentError(f"{what} has dim {array.shape[1]}, but the index has dim {dim}")
    if index_dtype.kind in "iu":
        return _whole_queries(array, index_dtype, what)
    if array.dtype.kind != "f" and not is_sequence:
        raise InvalidArgumentError(
            f"{what} has the dtype {array.dtype}; an index of {index_dtype} takes float32, float16 or float64 queries"
        )
    vectors = _as_vectors(array, is_sequence, what).astype(np.float32, copy=False)
    check_range(vectors, what)
    return vectors


def check_finite(matrix: Array, *, what: str = "data", first_row: int = 0) -> None:
    """Refuses NaN and infinity; integer matrices pass at once. Works in blocks, so it needs little extra memory.

    Args:
        matrix: Shape (rows, dim).
        what: How errors name the matrix.
        first_row: The row number of its first row, for data that comes in pieces.

    Raises:
        InvalidArgumentError: It names the first value that is not finite, with its row and column.
    """
    if matrix.dtype.kind != "f":
        return
    for start, block in _blocks(matrix):
        finite = np.isfinite(block)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            raise InvalidArgumentError(
                f"{what} has {block[row, column]} at row {first_row + start + row}, column {column}; "
                f"all values must be finite"
            )


def check_range(matrix: Array, what: str, least: float = 0.0) -> None:
    """Refuses NaN, infinity, and float32 values whose squared distances float32 cannot hold.

    Args:
        matrix: Shape (rows, dim).
        what: Named by the error.
        least: Refuse also values that are all smaller than this, and not all 0.

    Raises:
        InvalidArgumentError: It names the first value that is not finite, or says in which direction to scale.
    """
    if matrix.dtype != np.float32:  # the squares of the others always fit
        check_finite(matrix, what=what)
        return
    largest = _core.largest_magnitude(np.ascontiguousarray(matrix))
    if not math.isfinite(largest):
        check_finite(matrix, what=what)
    if 4 * matrix.shape[1] * largest**2 > _LARGEST_SQUARED_DISTANCE or 0 < largest < least:
        direction = "up" if largest < 1 else "down"
        raise InvalidArgumentError(
            f"{what} has values of up to {largest:g}; squared distances of such vectors leave the range of float32: "
            f"scale them {direction}"
        )


def check_ids(ids: Any, n: int, *, what: str = "ids") -> npt.NDArray[np.int64]:
    """Checks the ids of `n` vectors. They need not be sorted.

    Args:
        ids: One integer per vector, any integer dtype.
        n: The number of vectors.
        what: How errors name the ids.

    Returns:
        Shape (n,), dtype int64, C-contiguous; shares memory with `ids` when it is that already.

    Raises:
        InvalidArgumentError: Not integers, not exactly `n`, negative, at least 2**63, or not unique.

    Example:
        >>> check_ids([7, 3], 2)
        array([7, 3])
    """
    array, _ = _as_array(ids, what)
    if array.ndim != 1 or len(array) != n:
        raise InvalidArgumentError(f"{what} has the shape {array.shape}; it must be ({n},), one id per vector")
    if array.dtype.kind not in "iu":
        raise InvalidArgumentError(f"{what} has the dtype {array.dtype}; it must be int64")
    if array.dtype.kind == "u" and array.dtype.itemsize == 8 and n and int(array.max()) >= 2**63:
        raise InvalidArgumentError(f"{what} has {array.max()} at row {np.argmax(array)}; ids must be below 2**63")
    checked = np.ascontiguousarray(array, dtype=np.int64)
    if n and int(checked.min()) < 0:
        row = int(np.argmax(checked < 0))
        raise InvalidArgumentError(
            f"{what} has {checked[row]} at row {row}; ids must not be negative (-1 marks an absent result)"
        )
    _check_unique(checked, what)
    return checked


def narrow_to_float32(block: Array, *, what: str, first_row: int = 0) -> npt.NDArray[np.float32]:
    """Rounds a float64 matrix to the nearest float32; NaN and infinity stay what they are.

    Raises:
        InvalidArgumentError: A finite value lies beyond float32's range.
    """
    narrowed = np.empty(block.shape, np.float32)
    for start, part in _blocks(block):
        target = narrowed[start : start + len(part)]
        with np.errstate(over="ignore"):
            target[...] = part
        overflowed = np.isinf(target) & np.isfinite(part)
        if overflowed.any():
            row, column = np.argwhere(overflowed)[0]
            raise InvalidArgumentError(
                f"{what} has {part[row, column]} at row {first_row + start + row}, column {column}; "
                f"it must be within float32's range of 3.4e38"
            )
    return narrowed


def _are_ready(queries: Any, dtype: npt.DTypeLike, dim: int) -> bool:
    """Whether the usual queries need no conversion: seen at once, since all else takes longer than a short search."""
    if type(queries) is not np.ndarray or not 1 <= queries.ndim <= 2 or queries.shape[-1] != dim:
        return False
    flags = queries.flags
    wanted = _READY_DTYPES.get(dtype) if isinstance(dtype, str) else None
    return queries.dtype == wanted and bool(flags.c_contiguous and flags.aligned and queries.size)


def _as_array(data: Any, what: str) -> tuple[Array, bool]:
    """Returns a numpy array of any shape and dtype, and whether `data` was a plain sequence of numbers."""
    if isinstance(data, np.ndarray):
        if np.ma.is_masked(data):
            raise InvalidArgumentError(f"{what} has masked values; fill or drop them first")
        return np.asarray(data), False
    if is_arrow(data):
        return arrow_array(data, what=what), False
    try:
        if hasattr(data, "__dlpack__") and hasattr(data, "__dlpack_device__"):
            return np.from_dlpack(data), False
        if isinstance(data, list | tuple | memoryview) or hasattr(data, "__array__"):
            array = np.asarray(data)
            return array, isinstance(data, list | tuple) and array.dtype.kind in "iuf"
    except Exception as error:  # what a foreign array raises is not documented: torch, jax and cupy all differ
        raise InvalidArgumentError(
            f"{what} (a {type(data).__name__}) cannot be read as an array in host memory ({_one_line(error)}); "
            f"pass rows of equal length on the CPU"
        ) from error
    raise InvalidArgumentError(
        f"{what} is a {type(data).__name__}; pass a numpy, DLPack or Arrow array, one vector per row"
    )


def _as_vectors(array: Array, is_sequence: bool, what: str) -> Array:
    if is_sequence and array.dtype not in VECTOR_DTYPES:
        array = array.astype(np.float64)
    dtype = loaded_dtype(array.dtype, what=what)
    if 0 in array.shape:
        empty = "rows" if array.shape[0] == 0 else "columns"
        raise InvalidArgumentError(f"{what} has the shape {array.shape}; it has no {empty}")
    if array.dtype.kind == "f" and array.dtype.itemsize == 8:
        return narrow_to_float32(array, what=what)
    return np.require(array, dtype=dtype, requirements=["C_CONTIGUOUS", "ALIGNED"])


def _whole_queries(array: Array, dtype: np.dtype[Any], what: str) -> Array:
    """Converts to int8 or uint8 without changing a value."""
    if array.dtype.kind not in "iuf":
        raise InvalidArgumentError(f"{what} has the dtype {array.dtype}; an index of {dtype} takes integers")
    check_finite(array, what=what)
    bounds = np.iinfo(dtype)
    fits = (array >= bounds.min) & (array <= bounds.max)
    if array.dtype.kind == "f":
        fits &= np.rint(array) == array
    if not fits.all():
        row, column = np.argwhere(~fits)[0]
        raise InvalidArgumentError(
            f"{what} has {array[row, column]} at row {row}, column {column}; an index of {dtype} takes integers "
            f"from {bounds.min} to {bounds.max}"
        )
    return np.require(array.astype(dtype, copy=False), requirements=["C_CONTIGUOUS", "ALIGNED"])


def _check_unique(ids: npt.NDArray[np.int64], what: str) -> None:
    if bool(np.all(ids[1:] > ids[:-1])):  # the usual case, without the memory of a sort
        return
    order = np.argsort(ids, kind="stable")
    equal = np.flatnonzero(ids[order[1:]] == ids[order[:-1]])
    if len(equal):
        first, second = int(order[equal[0]]), int(order[equal[0] + 1])
        raise InvalidArgumentError(f"{what} has {ids[first]} at rows {first} and {second}; ids must be unique")


def _blocks(matrix: Array) -> Any:
    rows = max(1, _BLOCK_VALUES // max(1, matrix.shape[1]))
    return ((start, matrix[start : start + rows]) for start in range(0, len(matrix), rows))


def _dtype_list() -> str:
    names = [dtype.name for dtype in VECTOR_DTYPES]
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
