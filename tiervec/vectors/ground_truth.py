"""Exact neighbours of test queries: their files, and the recall of a result against them.

The big-ann layout, little-endian:

    uint32 queries | uint32 K | queries x K ids, uint32 | queries x K distances, float32

Some tools leave the distances out. The id 0xFFFFFFFF stands for "fewer than K exist" and is read as -1.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from tiervec.arguments.parameter_checks import check_path, check_whole, shown
from tiervec.errors import DataLossError, InvalidArgumentError, NotFoundError
from tiervec.machine.durable_files import replacing_file, storage_errors, write_blocks
from tiervec.vectors.vector_files.file_access import allocated, file_size, read_exactly, read_header
from tiervec.vectors.vector_files.hdf5 import read_hdf5_array
from tiervec.vectors.vector_files.npy import open_npy
from tiervec.vectors.vector_files.opening import split_path
from tiervec.vectors.vector_files.texmex import open_texmex

__all__ = ["GroundTruth", "read_ground_truth", "recall", "write_ground_truth"]

_HEADER: Final = struct.Struct("<II")
_ABSENT: Final = 2**32 - 1
_NPY_TYPES: Final = ("i4", "i8", "u4", "u8")
_BLOCK_IDS: Final = 1 << 20  # recall sorts this many ids at a time: 8 MiB


class GroundTruth(NamedTuple):
    """The nearest neighbours of each query, nearest first.

    Attributes:
        ids: Shape (queries, K), int64; -1 where fewer than K exist.
        distances: The same shape, float32, or None when the file has none.
    """

    ids: npt.NDArray[np.int64]
    distances: npt.NDArray[np.float32] | None


def read_ground_truth(path: str | os.PathLike[str]) -> GroundTruth:
    """Reads a file of exact neighbours.

    Args:
        path: A .ivecs file, a .npy file of integers, the ``neighbors`` (and ``distances``) of an ann-benchmarks .hdf5
            file, or, with any other suffix, a big-ann ground-truth file.

    Raises:
        NotFoundError: No such file, or an .hdf5 file without neighbours.
        InvalidArgumentError: It is empty, or holds no integers.
        DataLossError: Its length is not what its header says.
        UnsupportedError: An .hdf5 file, and h5py is not installed.
    """
    name, dataset = split_path(path)
    suffix = Path(name).suffix.lower()
    if suffix == ".ivecs":
        ids = open_texmex(name)
        return GroundTruth(ids.rows(0, ids.shape[0]).astype(np.int64), None)
    if suffix == ".npy":
        ids = open_npy(name, types=_NPY_TYPES)
        return GroundTruth(_as_ids(ids.rows(0, ids.shape[0]), name), None)
    if suffix in (".hdf5", ".h5"):
        return _read_hdf5(name, dataset or "neighbors")
    return _read_big_ann(name)


def write_ground_truth(path: str | os.PathLike[str], ids: Any, distances: Any = None) -> None:
    """Writes a big-ann ground-truth file, atomically.

    Args:
        path: The file; one that is there is replaced by a whole one. Its suffix must not be that of another format.
        ids: Shape (queries, K), integers from -1 (absent) to 2**32 - 2.
        distances: The same shape; without them the file ends after the ids.

    Raises:
        InvalidArgumentError: A shape, a value or a suffix that does not fit.
        DiskFullError: The disk is full.
    """
    target = Path(check_path("path", path))
    if target.suffix.lower() in (".ivecs", ".npy", ".hdf5", ".h5"):
        raise InvalidArgumentError(f"{target} would be read as {target.suffix}; name ground truth .bin")
    rows = _matrix_of_ids(ids, "ids")
    if rows.size == 0 or rows.min() < -1 or rows.max() >= _ABSENT:
        raise InvalidArgumentError(f"ids of the shape {rows.shape} must not be empty and must be from -1 to 2**32 - 2")
    parts: list[npt.NDArray[Any]] = [np.where(rows < 0, _ABSENT, rows).astype("<u4")]
    if distances is not None:
        try:
            parts.append(np.ascontiguousarray(distances, dtype="<f4"))
        except (TypeError, ValueError, OverflowError):
            raise InvalidArgumentError(f"distances is {shown(distances)}; it must be numbers, like ids") from None
        if parts[1].shape != rows.shape:
            raise InvalidArgumentError(f"distances have the shape {parts[1].shape}, but ids have {rows.shape}")
    with replacing_file(target, _HEADER.size + sum(part.nbytes for part in parts)) as file:
        file.write(_HEADER.pack(*rows.shape))
        for part in parts:
            write_blocks(file, part.reshape(-1).view(np.uint8).data)


def recall(ids: Any, ground_truth: Any, k: int) -> float:
    """The mean share of the `k` true neighbours that the first `k` results hold: mean over queries of |A and B| / k.

    Both sides are sets: an id that is found twice counts once. Negative ids (-1, absent) never match, and the divisor
        stays `k`
    when fewer than `k` neighbours exist. Ties are not treated specially: of several vectors at the distance of the k-th
    neighbour only those that the ground truth lists count.

    Args:
        ids: What a search returned, shape (queries, at least k), integers, nearest first.
        ground_truth: The true ids in the same form, for example ``read_ground_truth(path).ids``.
        k: How many of each row are compared.

    Returns:
        From 0.0 to 1.0.

    Raises:
        InvalidArgumentError: k is less than 1 or more than either side has, or the numbers of queries differ or are 0.

    Example:
        >>> recall([[1, 2, 3]], [[3, 1, 9]], k=3)
        0.6666666666666666
    """
    k = check_whole("k", k, 1, 2**31 - 1)
    found, true = _matrix_of_ids(ids, "ids"), _matrix_of_ids(ground_truth, "ground_truth")
    if len(found) != len(true) or len(found) == 0:
        raise InvalidArgumentError(
            f"ids has {len(found)} queries and ground_truth {len(true)}; both must have the same number, at least 1"
        )
    for matrix, what in ((found, "ids"), (true, "ground_truth")):
        if matrix.shape[1] < k:
            raise InvalidArgumentError(f"k is {k}, but {what} has {matrix.shape[1]} ids per query")
    step = max(1, _BLOCK_IDS // (2 * k))
    blocks = (slice(start, start + step) for start in range(0, len(found), step))
    matches = sum(_count_common(found[block, :k], true[block, :k]) for block in blocks)
    return matches / (len(found) * k)


def _count_common(found: npt.NDArray[np.int64], true: npt.NDArray[np.int64]) -> int:
    """Counts, over all rows, the values that both have: sorted together, a common value stands beside itself."""
    both = np.concatenate([_distinct(found, absent=-1), _distinct(true, absent=-2)], axis=1)
    both.sort(axis=1)
    return int(np.count_nonzero((both[:, 1:] == both[:, :-1]) & (both[:, 1:] >= 0)))


def _distinct(ids: npt.NDArray[np.int64], absent: int) -> npt.NDArray[np.int64]:
    ordered = np.sort(ids, axis=1)
    ordered[:, 1:][ordered[:, 1:] == ordered[:, :-1]] = absent
    ordered[ordered < 0] = absent
    return ordered


def _matrix_of_ids(data: Any, what: str) -> npt.NDArray[np.int64]:
    try:
        array = np.asarray(data)
    except ValueError:
        raise InvalidArgumentError(f"{what} has rows of different lengths; pass shape (queries, k)") from None
    if array.ndim != 2:
        raise InvalidArgumentError(f"{what} has the shape {array.shape}; it must be (queries, k)")
    return _as_ids(array, what)


def _as_ids(array: npt.NDArray[Any], what: str) -> npt.NDArray[np.int64]:
    if array.dtype.kind not in "iu":
        raise InvalidArgumentError(f"{what} has the dtype {array.dtype}; ids are integers")
    if array.dtype.kind == "u" and array.size and int(array.max()) >= 2**63:
        raise InvalidArgumentError(f"{what} has the id {array.max()}; ids must be below 2**63")
    return array.astype(np.int64, copy=False)


def _read_big_ann(path: str) -> GroundTruth:
    size = file_size(path)
    queries, k = _HEADER.unpack(read_header(path, _HEADER.size))
    with_distances, without = (_HEADER.size + width * queries * k for width in (8, 4))
    if size not in (with_distances, without):
        raise DataLossError(
            f"{path} is not a whole ground-truth file: its header says {queries} queries with {k} neighbours, which "
            f"takes {with_distances:,} bytes, or {without:,} without distances, but it has {size:,}"
        )
    if queries == 0 or k == 0:
        raise InvalidArgumentError(f"{path} holds {queries} queries with {k} neighbours; both must be at least 1")
    raw, distances = allocated((queries, k), "<u4", path), None
    with storage_errors(f"reading {path}", Path(path).parent), open(path, "rb", buffering=0) as file:
        file.seek(_HEADER.size)
        read_exactly(file, raw, path)
        if size == with_distances:
            stored = allocated((queries, k), "<f4", path)
            read_exactly(file, stored, path)
            distances = stored.astype(np.float32, copy=False)
    ids = allocated(raw.shape, np.int64, path)
    ids[...] = raw
    ids[raw == _ABSENT] = -1
    return GroundTruth(ids, distances)


def _read_hdf5(path: str, dataset: str) -> GroundTruth:
    neighbours = read_hdf5_array(path, dataset)
    if neighbours is None:
        raise NotFoundError(f"{path} has no dataset {dataset!r} of ground truth")
    ids = np.ascontiguousarray(_matrix_of_ids(neighbours, f"{path}:{dataset}"))
    distances = read_hdf5_array(path, "distances") if dataset == "neighbors" else None
    if distances is None:
        return GroundTruth(ids, None)
    if distances.shape != ids.shape or distances.dtype.kind != "f":
        raise DataLossError(
            f"{path} has distances of the shape {distances.shape} and dtype {distances.dtype}, but ids of {ids.shape}"
        )
    return GroundTruth(ids, distances.astype(np.float32))
