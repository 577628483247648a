"""NumPy's .npy files. The header is parsed here, not by `numpy.load`: nothing in it is trusted or unpickled."""

from __future__ import annotations

import ast
import re
import struct
from collections.abc import Collection
from typing import Any, Final

import numpy as np

from tiervec.errors import DataLossError, InvalidArgumentError
from tiervec.vectors.vector_files.file_access import check_file_size, check_shape, file_size, read_header
from tiervec.vectors.vector_files.flat_file import FlatVectorFile

__all__ = ["open_npy"]

_MAGIC: Final = b"\x93NUMPY"
_MAX_HEADER_BYTES: Final = 16 * 1024  # numpy writes 128; its own limit is 10,000
_DESCR: Final = re.compile(r"[<>|=]?[biufcVOSU][0-9]{0,6}")
_VECTOR_TYPES: Final = ("f4", "f2", "f8", "i1", "u1")


def open_npy(path: str, *, types: Collection[str] = _VECTOR_TYPES) -> FlatVectorFile:
    """Opens a two-dimensional .npy file.

    Args:
        path: The file.
        types: The numpy type codes without byte order that are accepted; by default those of vectors.

    Raises:
        InvalidArgumentError: It holds objects, another dtype, not two dimensions, or columns in Fortran order.
        DataLossError: It is truncated, too long, or not a .npy file.
        NotFoundError: It does not exist.
    """
    size = file_size(path)
    descr, fortran_order, shape, offset = _parse(path)
    if not isinstance(descr, str) or "O" in descr or not _DESCR.fullmatch(descr):
        raise InvalidArgumentError(
            f"{path} holds {str(descr)[:60]!r}, not plain numbers; save float32, float16, int8 or uint8"
        )
    if descr.lstrip("<>|=") not in types:
        raise InvalidArgumentError(f"{path} has the dtype {descr!r}; it must be one of {', '.join(types)}")
    if len(shape) != 2:
        raise InvalidArgumentError(f"{path} has the shape {shape}; it must have two dimensions, one vector per row")
    check_shape(path, *shape)
    stored = np.dtype(descr)
    check_file_size(
        path, offset + shape[0] * shape[1] * stored.itemsize, size, f"{shape[0]} x {shape[1]} {stored.name}"
    )
    if fortran_order:
        raise InvalidArgumentError(
            f"{path} is in Fortran order, column after column; save numpy.ascontiguousarray(array) instead"
        )
    return FlatVectorFile(path=path, format="npy", shape=(shape[0], shape[1]), stored=stored, offset=offset)


def _parse(path: str) -> tuple[Any, bool, tuple[int, ...], int]:
    """Returns (descr, fortran_order, shape, offset of the data)."""
    start = read_header(path, 8)
    if start[:6] != _MAGIC:
        raise DataLossError(f"{path} is not a .npy file: it starts with {start[:6]!r} instead of {_MAGIC!r}")
    if start[6] not in (1, 2, 3):
        raise DataLossError(f"{path} has the .npy version {start[6]}.{start[7]}; versions 1 to 3 exist")
    length_format, length_size = ("<H", 2) if start[6] == 1 else ("<I", 4)
    (length,) = struct.unpack(length_format, read_header(path, length_size, offset=8))
    if length > _MAX_HEADER_BYTES:
        raise DataLossError(
            f"{path} is damaged: its header says it takes {length:,} bytes; at most {_MAX_HEADER_BYTES:,} make sense"
        )
    offset = 8 + length_size + length
    text = read_header(path, length, offset=8 + length_size)
    try:
        header = ast.literal_eval(text.decode("utf-8" if start[6] == 3 else "latin-1").strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        header = None
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise DataLossError(f"{path} is damaged: its header is not a .npy header with descr, fortran_order and shape")
    shape, fortran_order = header["shape"], header["fortran_order"]
    sizes_are_plain = isinstance(shape, tuple) and all(type(length) is int and abs(length) < 2**63 for length in shape)
    if not sizes_are_plain or type(fortran_order) is not bool:
        raise DataLossError(
            f"{path} is damaged: its header has the shape {str(shape)[:60]} and fortran_order {str(fortran_order)[:60]}"
        )
    return header["descr"], fortran_order, shape, offset
