"""Slices, queries and true neighbours in the cache, named after what they are made of.

CACHE/datasets/<name>/vectors-<n>.u8bin + .json    a slice, its XXH3, and which source it was made from
CACHE/queries/<XXH3>.npy
CACHE/ground_truth/<vectors>-<queries>-<metric>.bin
CACHE/ground_truth/<vectors>-<queries>-<metric>-<file>.checked     given neighbours, found to be right
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from tiervec.bench.datasets.dataset import Dataset
from tiervec.bench.datasets.exact_neighbours import MOST_NEIGHBOURS, distances_of, exact_neighbours
from tiervec.bench.results import DatasetKey
from tiervec.errors import InvalidArgumentError
from tiervec.machine.durable_files import checksum_of, replacing_file, storage_errors, write_blocks
from tiervec.vectors.ground_truth import read_ground_truth, write_ground_truth
from tiervec.vectors.vector_files import VectorFile, open_vectors

__all__ = ["Progress", "Source", "prepare"]

Progress = Callable[[str, int, int, float | None], None]
"""Called with (stage, steps done, steps in all, seconds left or None), as `tiervec.build` does."""

_SUFFIXES: Final = {"float32": ".fbin", "float16": ".f16bin", "uint8": ".u8bin", "int8": ".i8bin"}
_CHECKED_QUERIES: Final = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """Where a data set comes from.

    Attributes:
        name: Name of the data set.
        metric: ``l2``, ``ip`` or ``cosine``.
        n: Vectors.
        dim: Dimension.
        dtype: Element type.
        blocks: The vectors in order, from the first on; called when a slice is made.
        mark: Changes when the source does.
        queries: The queries.
        truth: Rows and file of given true neighbours.
        file: The vectors as a big-ann file that can be used where it is, when there is one.
    """

    name: str
    metric: str
    n: int
    dim: int
    dtype: str
    blocks: Callable[[], Iterable[NDArray[Any]]]
    mark: str
    queries: NDArray[Any]
    truth: dict[int, Path]
    file: Path | None = None


def prepare(source: Source, rows: int | None, most_queries: int | None, cache: Path, progress: Progress) -> Dataset:
    """Makes what is missing in the cache and opens the data set.

    Raises:
        InvalidArgumentError: More rows than the source has, or given neighbours of other vectors.
        ResourceExhaustedError: The disk is full.
    """
    if rows is not None and rows > source.n:
        raise InvalidArgumentError(f"{source.name} has {source.n:,} vectors; a slice of {rows:,} is more than that")
    count = source.n if rows is None else rows
    vectors_path, checksum = _vectors(source, count, cache, progress)
    queries = source.queries if most_queries is None else source.queries[:most_queries]
    queries_path, queries_checksum = _queries(queries, cache)
    truth = _truth(source, open_vectors(vectors_path), (checksum, queries_checksum), len(queries), cache, progress)
    key = DatasetKey(
        name=source.name,
        slice=rows,
        n=count,
        dim=source.dim,
        dtype=source.dtype,
        metric=source.metric,
        queries=len(queries),
        checksum=checksum,
        queries_checksum=queries_checksum,
        ground_truth_checksum=_checksum(truth),
    )
    return Dataset(key=key, vectors_path=vectors_path, queries_path=queries_path, queries=queries, ground_truth=truth)


def _vectors(source: Source, count: int, cache: Path, progress: Progress) -> tuple[Path, str]:
    folder = cache / "datasets" / _file_name(source.name)
    in_place = source.file if count == source.n else None
    path = in_place or folder / f"vectors-{count}{_SUFFIXES[source.dtype]}"
    note = folder / f"vectors-{count}.json"
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(note.read_bytes())
        if known["mark"] == source.mark and known["path"] == str(path) and known["bytes"] == path.stat().st_size:
            return path, str(known["checksum"])
    if in_place is None:
        checksum, size = _write_slice(source, count, path, progress)
    else:
        with storage_errors(f"reading {path}", path.parent), open(path, "rb") as file:
            size, checksum = checksum_of(file)
    document = {"mark": source.mark, "path": str(path), "bytes": size, "checksum": checksum}
    with _made(note) as file:
        file.write(json.dumps(document).encode())
    return path, checksum


def _write_slice(source: Source, count: int, path: Path, progress: Progress) -> tuple[str, int]:
    size = 8 + count * source.dim * np.dtype(source.dtype).itemsize
    checksum, done = xxhash.xxh3_64(), 0
    with _made(path, size) as file:
        write_blocks(file, memoryview(np.array([count, source.dim], "<u4").tobytes()), checksum)
        for block in source.blocks():
            part = np.ascontiguousarray(block[: count - done])
            write_blocks(file, part.reshape(-1).view(np.uint8).data, checksum)
            done += len(part)
            progress(f"preparing {source.name}", done, count, None)
            if done == count:
                break
    return checksum.hexdigest(), size


def _queries(queries: NDArray[Any], cache: Path) -> tuple[Path, str]:
    checksum = _checksum(queries)
    path = cache / "queries" / f"{checksum}.npy"
    if not path.exists():
        with _made(path) as file:
            np.save(file, queries)
    return path, checksum


def _truth(
    source: Source, vectors: VectorFile, checksums: tuple[str, str], queries: int, cache: Path, progress: Progress
) -> NDArray[np.int64]:
    if (given := source.truth.get(vectors.shape[0])) is not None:
        return _given_truth(source, vectors, checksums[0], given, cache)[:queries]
    path = cache / "ground_truth" / f"{'-'.join(checksums)}-{source.metric}.bin"
    if not path.exists():
        ids, distances = exact_neighbours(
            vectors,
            source.queries[:queries],
            source.metric,
            progress=lambda done, total: progress(f"true neighbours of {source.name}", done, total, None),
        )
        with storage_errors(f"making {path.parent}", cache):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_ground_truth(path, ids, distances)
    return read_ground_truth(path).ids


def _given_truth(source: Source, vectors: VectorFile, checksum: str, path: Path, cache: Path) -> NDArray[np.int64]:
    """Neighbours that came with the data. Nothing in such a file says what it belongs to, so some are computed."""
    ids = read_ground_truth(path).ids[:, :MOST_NEIGHBOURS]
    if len(ids) < len(source.queries):
        raise InvalidArgumentError(
            f"{path} has the neighbours of {len(ids):,} queries, but {source.name} has {len(source.queries):,}"
        )
    file_checksum = _checksum(ids)
    # Of all queries, not of those that a run takes.
    of = f"{checksum}-{_checksum(source.queries)}-{source.metric}-{file_checksum}"
    seal = cache / "ground_truth" / f"{of}.checked"
    if seal.exists():
        return ids
    wrong = f"{path} does not hold the nearest neighbours among the {vectors.shape[0]:,} vectors of {source.name}"
    if ids.max() >= vectors.shape[0]:
        raise InvalidArgumentError(f"{wrong}: it names vector {ids.max()}")
    step = max(1, len(source.queries) // _CHECKED_QUERIES)
    queries, claimed = source.queries[::step], ids[: len(source.queries) : step]
    true_ids, _ = exact_neighbours(vectors, queries, source.metric, claimed.shape[1])
    expected = distances_of(vectors, queries, source.metric, true_ids)
    found = distances_of(vectors, queries, source.metric, np.maximum(claimed, 0))[:, : expected.shape[1]]
    # They were computed in float32, and ties have no order.
    far = ~np.isclose(np.sort(found, axis=1), expected, rtol=1e-3, atol=1e-4).all(axis=1)
    if far.any():
        raise InvalidArgumentError(f"{wrong}: those of query {int(np.argmax(far)) * step} are others")
    with _made(seal):
        pass
    return ids


@contextlib.contextmanager
def _made(path: Path, needed_bytes: int | None = None) -> Iterator[BinaryIO]:
    with storage_errors(f"making {path.parent}", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing_file(path, needed_bytes) as file:
        yield file


def _checksum(matrix: NDArray[Any]) -> str:
    return xxhash.xxh3_64_hexdigest(np.ascontiguousarray(matrix).reshape(-1).view(np.uint8).data)


def _file_name(name: str) -> str:
    """A folder name; long ones are cut and told apart by a checksum."""
    plain = re.sub(r"[^A-Za-z0-9._=,-]+", "-", name)
    return plain if len(plain) <= 100 else f"{plain[:80]}-{xxhash.xxh3_64_hexdigest(name.encode())}"
