"""The files of the TEXMEX corpora (SIFT1M, GIST1M): .fvecs .bvecs .ivecs. Every row starts with its own dim.

int32 dim | dim values | int32 dim | dim values | ...        little-endian
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, Final

import numpy as np

from tiervec.errors import DataLossError
from tiervec.vectors.vector_files.file_access import check_shape, file_size, read_header
from tiervec.vectors.vector_files.flat_file import ROW_DIM_DTYPE, FlatVectorFile

__all__ = ["TEXMEX_DTYPES", "open_texmex"]

TEXMEX_DTYPES: Final[dict[str, np.dtype[Any]]] = {
    ".fvecs": np.dtype("<f4"),
    ".bvecs": np.dtype("u1"),
    ".ivecs": np.dtype("<i4"),
}


def open_texmex(path: str) -> FlatVectorFile:
    """Opens a file whose suffix is one of `TEXMEX_DTYPES`.

    The first and the last row are checked here, every row when it is read.

    Raises:
        DataLossError: The file's length is not a whole number of rows, or rows have different dims.
        InvalidArgumentError: Its vectors have no dimensions.
        NotFoundError: It does not exist.
    """
    size = file_size(path)
    stored = TEXMEX_DTYPES[Path(path).suffix.lower()]
    dim = _dim_at(path, 0)
    check_shape(path, 1, dim)
    row_bytes = ROW_DIM_DTYPE.itemsize + dim * stored.itemsize
    rows, rest = divmod(size, row_bytes)
    if rest:
        raise DataLossError(
            f"{path} is truncated or damaged: its first row says dim {dim}, so it must have a multiple of "
            f"{row_bytes} bytes, but it has {size:,}"
        )
    last_dim = _dim_at(path, size - row_bytes)
    if last_dim != dim:
        raise DataLossError(f"{path} is damaged: row {rows - 1} says dim {last_dim}, but row 0 says {dim}")
    return FlatVectorFile(path=path, format="texmex", shape=(rows, dim), stored=stored, offset=0, row_dims=True)


def _dim_at(path: str, offset: int) -> int:
    (dim,) = struct.unpack("<i", read_header(path, ROW_DIM_DTYPE.itemsize, offset=offset, what="row header"))
    return int(dim)
