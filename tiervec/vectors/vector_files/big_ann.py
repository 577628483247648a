"""The files of the billion-scale ANN benchmarks, also DiskANN's: .fbin .f16bin .u8bin .i8bin.

uint32 rows | uint32 dim | rows x dim values, little-endian
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, Final

import numpy as np

from tiervec.arguments.parameter_checks import check_path
from tiervec.errors import InvalidArgumentError
from tiervec.machine.durable_files import replacing_file, write_blocks
from tiervec.vectors.arrays import as_matrix
from tiervec.vectors.vector_files.file_access import check_file_size, check_shape, file_size, read_header
from tiervec.vectors.vector_files.flat_file import FlatVectorFile

__all__ = ["BIG_ANN_DTYPES", "open_big_ann", "write_big_ann"]

BIG_ANN_DTYPES: Final[dict[str, np.dtype[Any]]] = {
    ".fbin": np.dtype("<f4"),
    ".f16bin": np.dtype("<f2"),
    ".u8bin": np.dtype("u1"),
    ".i8bin": np.dtype("i1"),
}
_HEADER: Final = struct.Struct("<II")


def open_big_ann(path: str) -> FlatVectorFile:
    """Opens a file whose suffix is one of `BIG_ANN_DTYPES`.

    Raises:
        DataLossError: The header and the file's length disagree.
        InvalidArgumentError: It holds no vectors.
        NotFoundError: It does not exist.
    """
    size = file_size(path)
    stored = BIG_ANN_DTYPES[Path(path).suffix.lower()]
    rows, dim = _HEADER.unpack(read_header(path, _HEADER.size))
    check_file_size(path, _HEADER.size + rows * dim * stored.itemsize, size, f"{rows} x {dim} {stored.name}")
    check_shape(path, rows, dim)
    return FlatVectorFile(path=path, format="big_ann", shape=(rows, dim), stored=stored, offset=_HEADER.size)


def write_big_ann(path: str | Path, array: Any) -> None:
    """Writes vectors as a big-ann file, atomically: a file that was there is replaced only by a whole one.

    Args:
        path: Its suffix says the dtype: .fbin, .f16bin, .u8bin or .i8bin.
        array: Shape (rows, dim) of that dtype; anything `tiervec.vectors.arrays.as_matrix` accepts.

    Raises:
        InvalidArgumentError: Another suffix or dtype, or more than 2**32 - 1 rows.
        ResourceExhaustedError: The disk is full.
    """
    target = Path(check_path("path", path))
    matrix = as_matrix(array, what="array")
    stored = BIG_ANN_DTYPES.get(target.suffix.lower())
    if stored is None:
        raise InvalidArgumentError(f"{target} has the suffix {target.suffix!r}; use {', '.join(BIG_ANN_DTYPES)}")
    if stored.newbyteorder("=") != matrix.dtype:
        raise InvalidArgumentError(
            f"array has the dtype {matrix.dtype}, but a {target.suffix} file holds {stored.name}"
        )
    if max(matrix.shape) >= 2**32:
        raise InvalidArgumentError(f"array has the shape {matrix.shape}; a big-ann file holds fewer than 2**32 rows")
    with replacing_file(target, _HEADER.size + matrix.nbytes) as file:
        file.write(_HEADER.pack(*matrix.shape))
        write_blocks(file, matrix.astype(stored, copy=False).reshape(-1).view(np.uint8).data)
