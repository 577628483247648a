"""One entrance for all formats: the suffix of a file says how it is read."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tiervec.arguments.parameter_checks import check_path
from tiervec.errors import InvalidArgumentError
from tiervec.vectors.vector_files.big_ann import BIG_ANN_DTYPES, open_big_ann
from tiervec.vectors.vector_files.hdf5 import open_hdf5
from tiervec.vectors.vector_files.npy import open_npy
from tiervec.vectors.vector_files.parquet import open_parquet
from tiervec.vectors.vector_files.texmex import TEXMEX_DTYPES, open_texmex
from tiervec.vectors.vector_files.vector_file import VectorFile

__all__ = ["VECTOR_SUFFIXES", "open_vectors", "split_path"]

_FLAT: Final[dict[str, Callable[[str], VectorFile]]] = {
    ".npy": open_npy,
    **dict.fromkeys(BIG_ANN_DTYPES, open_big_ann),
    **dict.fromkeys(TEXMEX_DTYPES, open_texmex),
}
_WITH_PARTS: Final[dict[str, Callable[[str, str | None], VectorFile]]] = {
    ".hdf5": open_hdf5,
    ".h5": open_hdf5,
    ".parquet": open_parquet,
}
_PART: Final = re.compile(r"(?P<file>.+\.(?:hdf5|h5|parquet)):(?P<part>[^:]+)", re.IGNORECASE | re.DOTALL)

VECTOR_SUFFIXES: Final = tuple(suffix for suffix in (*_FLAT, *_WITH_PARTS) if suffix != ".ivecs")
"""The suffixes of files that hold vectors."""


def split_path(path: str | os.PathLike[str]) -> tuple[str, str | None]:
    """Splits ``FILE.hdf5:dataset`` and ``FILE.parquet:column`` at the colon.

    Other names stay whole, and so does a path of something that exists: a folder may be called ``d.hdf5:x``.

    Example:
        >>> split_path("sift.hdf5:test"), split_path("a:b.npy")
        (('sift.hdf5', 'test'), ('a:b.npy', None))
    """
    name = check_path("path", path)
    match = _PART.fullmatch(name)
    if match is None or os.path.lexists(name):
        return name, None
    return match["file"], match["part"]


def open_vectors(path: str | os.PathLike[str]) -> VectorFile:
    """Opens a file of vectors: reads and checks its header and its length, not the vectors.

    Args:
        path: A .npy, .fbin, .f16bin, .u8bin, .i8bin, .fvecs, .bvecs, .hdf5 (.h5) or .parquet file.
            ``FILE.hdf5:dataset`` and ``FILE.parquet:column`` choose one of several; the defaults are ``train`` and the
            only column of lists.

    Returns:
        The opened file; see `VectorFile`. Its dtype is one that an index can store.

    Raises:
        NotFoundError: No such file, dataset or column.
        InvalidArgumentError: An unknown suffix, a directory, an empty file, no vectors, or a dtype or layout that is
            not accepted.
        DataLossError: The file is truncated, too long or damaged.
        UnsupportedError: h5py or pyarrow is needed and not installed.

    Example:
        >>> from tiervec.sample import VECTORS_PATH
        >>> vectors = open_vectors(VECTORS_PATH)
        >>> vectors.format, vectors.dtype, vectors.rows(10, 12).shape
        ('npy', dtype('float16'), (2, 384))
    """
    name, part = split_path(path)
    suffix = Path(name).suffix.lower()
    if suffix == ".ivecs":
        raise InvalidArgumentError(
            f"{name} holds int32 ids, as ground truth does; vectors are in .fvecs or .bvecs files"
        )
    if suffix in _WITH_PARTS:
        return _WITH_PARTS[suffix](name, part)
    if suffix in _FLAT:
        return _FLAT[suffix](name)
    if os.path.isdir(name):
        raise InvalidArgumentError(f"{name} is a directory; pass a file of vectors")
    raise InvalidArgumentError(f"{name} has the suffix {suffix!r}; vectors are read from {', '.join(VECTOR_SUFFIXES)}")
