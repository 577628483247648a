"""HDF5 files as ann-benchmarks publishes them: datasets ``train``, ``test``, ``neighbors``, ``distances``.

A dataset that is contiguous in the file is read and mapped like any flat file; a chunked or compressed one is streamed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tiervec.errors import DataLossError, InvalidArgumentError, NotFoundError
from tiervec.vectors.arrays import loaded_dtype, narrow_to_float32
from tiervec.vectors.vector_files.file_access import check_shape, file_size
from tiervec.vectors.vector_files.flat_file import FlatVectorFile
from tiervec.vectors.vector_files.optional_reader import import_reader, library_errors
from tiervec.vectors.vector_files.vector_file import VectorFile

__all__ = ["open_hdf5", "read_hdf5_array"]

_DEFAULT_DATASET: Final = "train"
_CACHE_BYTES: Final = 64 * 1024 * 1024  # of decompressed chunks: blocks that end inside a chunk do not inflate it twice


def open_hdf5(path: str, dataset: str | None) -> VectorFile:
    """Opens one dataset of an HDF5 file.

    Args:
        path: The file.
        dataset: Its name; by default ``train``, or the only two-dimensional dataset.

    Raises:
        NotFoundError: No such file or dataset.
        InvalidArgumentError: Another dtype, not two dimensions, or no vectors.
        DataLossError: The file is damaged, or parts of the dataset were never written.
        UnsupportedError: h5py is not installed.
    """
    size = file_size(path)
    h5py = import_reader("h5py", extra="hdf5", path=path)
    with library_errors(path, "HDF5"), _open(h5py, path) as file:
        found = _find(h5py, file, path, dataset)
        name = f"{path}:{found.name.lstrip('/')}"
        if len(found.shape or ()) != 2:
            raise InvalidArgumentError(
                f"{name} has the shape {found.shape}; it must have two dimensions, one vector per row"
            )
        shape = (int(found.shape[0]), int(found.shape[1]))
        check_shape(name, *shape)
        dtype = loaded_dtype(found.dtype, what=name)
        _check_stored(found, name, size)
        offset = found.id.get_offset()
        if offset is not None and not found.is_virtual and found.external is None:
            return FlatVectorFile(path=path, format="hdf5", shape=shape, stored=found.dtype, offset=int(offset))
        return _ChunkedHdf5(path=path, dataset=found.name, shape=shape, dtype=dtype)


def read_hdf5_array(path: str, dataset: str) -> npt.NDArray[Any] | None:
    """Reads a whole dataset of numbers, of any shape and dtype; None when the file has no such dataset.

    Raises:
        DataLossError: The file is damaged.
        UnsupportedError: h5py is not installed.
    """
    size = file_size(path)
    h5py = import_reader("h5py", extra="hdf5", path=path)
    with library_errors(path, "HDF5"), _open(h5py, path) as file:
        if dataset not in file or not isinstance(file[dataset], h5py.Dataset):
            return None
        _check_stored(file[dataset], f"{path}:{dataset}", size)
        return np.asarray(file[dataset][...])


class _ChunkedHdf5(VectorFile):
    """A dataset in chunks, perhaps compressed: HDF5 has to read it."""

    def __init__(self, *, path: str, dataset: str, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        super().__init__(path=path, format="hdf5", shape=shape, dtype=dtype)
        self._dataset = dataset

    def _blocks(self, start: int, stop: int, block_rows: int) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        h5py = import_reader("h5py", extra="hdf5", path=self.path)
        with library_errors(self.path, "HDF5"), _open(h5py, self.path, rdcc_nbytes=_CACHE_BYTES) as file:
            dataset = file[self._dataset]
            if dataset.shape != self.shape:
                raise DataLossError(f"{self.path} was changed while it was read: it now has the shape {dataset.shape}")
            for first in range(start, stop, block_rows):
                block = np.ascontiguousarray(dataset[first : min(first + block_rows, stop)])
                if block.dtype != self.dtype and block.dtype.itemsize == 8:
                    block = narrow_to_float32(block, what=self.path, first_row=first)
                yield first, block.astype(self.dtype, copy=False)


def _open(h5py: Any, path: str, **options: Any) -> Any:
    # Locks fail on some network file systems, and we only read.
    return h5py.File(path, "r", locking="best-effort", **options)


def _find(h5py: Any, file: Any, path: str, dataset: str | None) -> Any:
    datasets = {name: item for name, item in file.items() if isinstance(item, h5py.Dataset)}
    if dataset is not None:
        if dataset in file and isinstance(file[dataset], h5py.Dataset):
            return file[dataset]
        raise NotFoundError(f"{path} has no dataset {dataset!r}; it has {', '.join(sorted(datasets)) or 'none'}")
    if _DEFAULT_DATASET in datasets:
        return datasets[_DEFAULT_DATASET]
    matrices = [item for item in datasets.values() if len(item.shape or ()) == 2]
    if len(matrices) == 1:
        return matrices[0]
    names = ", ".join(sorted(datasets)) or "none"
    raise InvalidArgumentError(
        f"{path} has no dataset {_DEFAULT_DATASET!r}; name one as {path}:DATASET (it has {names})"
    )


def _check_stored(dataset: Any, name: str, size: int) -> None:
    """Makes sure that the bytes exist which the shape promises, before anybody allocates memory for them."""
    promised = math.prod(dataset.shape or ()) * dataset.dtype.itemsize
    if dataset.is_virtual or dataset.external is not None:
        raise InvalidArgumentError(f"{name} keeps its values in other files; copy them into one dataset first")
    if dataset.chunks is None:
        stored = dataset.id.get_storage_size()
        offset = dataset.id.get_offset() or 0
        if stored != promised or offset + stored > size:
            raise DataLossError(
                f"{name} is truncated: its shape {dataset.shape} takes {promised:,} bytes, but {stored:,} are stored"
            )
        return
    expected = math.prod(-(-length // chunk) for length, chunk in zip(dataset.shape, dataset.chunks, strict=True))
    present = dataset.id.get_num_chunks()
    if present != expected:
        raise DataLossError(
            f"{name} is incomplete: its shape {dataset.shape} takes {expected:,} chunks, but {present:,} are stored"
        )
