"""Another layout of the same clusters: reads an index's vectors and clusters, and writes a new index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiervec.attributes.section import copy_attributes
from tiervec.cluster_index.bit_packing import packed_bytes, unpack
from tiervec.cluster_index.build import INTERPRETER_BYTES, estimate_memory_bytes
from tiervec.cluster_index.clustering import Clustering
from tiervec.cluster_index.layout_writer import LayoutTask, write_layout
from tiervec.cluster_index.opened import described, tier_section
from tiervec.cluster_index.params import ClusterBuildParams
from tiervec.engine.calibration import CalibrationQueries
from tiervec.errors import DataLossError
from tiervec.index_files.directory import IndexDirectory, IndexDirectoryWriter
from tiervec.index_files.equal_rows import read_copies, write_copies
from tiervec.kinds.index_kind import changed_params
from tiervec.machine.interruptible import BuildProgress
from tiervec.vectors.memory_limit import choose_within, map_rows

__all__ = ["estimate_conversion_bytes", "read_ids", "relayout_cluster_index"]

_CHANGEABLE = ("layout", "code", "code_bits", "spill", "ordered", "align")
_CHECK_BYTES = 3
_POSITION_BYTES = 4
_BLOCK_BYTES = 8 << 20
_READING_BYTES = 32  # of one vector, while ids are unpacked or vectors are found


def relayout_cluster_index(
    directory: IndexDirectory,
    out: Path,
    changes: Mapping[str, Any],
    *,
    memory_limit: int | None = None,
    threads: int = 0,
    progress: BuildProgress | None = None,
) -> None:
    """Writes `directory`'s clusters at `out` with other parameters, whole or not at all.

    Vectors that do not fit into `memory_limit` lie in a mapped file beside `out` meanwhile.

    Raises:
        InvalidArgumentError: A parameter that cannot change without a new build.
        ResourceExhaustedError: memory_limit is too small, or the disk is.
        DataLossError: The index is not what was written.
    """
    manifest = directory.manifest
    params = changed_params(directory, ClusterBuildParams, changes, _CHANGEABLE)
    layout, clusters = described(directory)
    width = manifest.details.get("probes_width")
    if type(width) is not int or not 1 <= width <= clusters:
        raise DataLossError(f"{directory.path}: the manifest has probes_width {width!r}")
    estimates = [
        estimate_conversion_bytes(directory, params, threads=threads, streamed=streamed) for streamed in (False, True)
    ]
    act = f"converting {manifest.vectors:,} vectors of dimension {manifest.dim} to layout={params.layout}"
    streamed = choose_within(memory_limit, estimates, act, progress) == 1
    with IndexDirectoryWriter(out) as writer:
        vectors, labels = _read_data(directory, layout, out.parent if streamed else None)
        task = LayoutTask(
            vectors=vectors,
            metric=manifest.metric,
            labels=labels,
            params=params,
            clustering=Clustering.read(directory, width, clusters),
            queries=_read_queries(directory),
            threads=threads,
            seed=manifest.seed,
            progress=progress,
        )
        written = write_layout(writer, task)
        write_copies(writer, read_copies(directory))
        copy_attributes(writer, directory)
        writer.commit(
            manifest.description(
                params=asdict(replace(params, code_bits=written.code_bits)),
                salt=written.salt,
                calibration=written.calibration,
                details=written.details,
            )
        )


def estimate_conversion_bytes(
    directory: IndexDirectory, params: ClusterBuildParams, *, threads: int, streamed: bool
) -> int:
    """Peak memory of a conversion to `params` in bytes; `streamed`: the vectors lie in a mapped file.

    It is that of a build, where clustering takes no more than reading what an index has; and the user's ids.
    """
    manifest = directory.manifest
    count, itemsize = manifest.vectors, np.dtype(manifest.dtype).itemsize
    raw = 0 if streamed else count * manifest.dim * itemsize
    labels = 8 * count if manifest.details.get("has_labels") else 0
    writing = estimate_memory_bytes(count, manifest.dim, itemsize, params, threads, streamed=streamed)
    return labels + max(writing, INTERPRETER_BYTES + raw + _READING_BYTES * count + 2 * _BLOCK_BYTES)


def _read_data(
    directory: IndexDirectory, layout: str, folder: Path | None
) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
    """(the vectors in the order of the data, in a file in `folder` if it is given; the user's id of each or None)."""
    manifest = directory.manifest
    dtype, shape = np.dtype(manifest.dtype), (manifest.vectors, manifest.dim)
    rows, labels = read_ids(directory)
    content = directory.map_section(tier_section(layout))
    directory.verify_bytes(tier_section(layout), content)
    locate = _locate_entries if layout == "replicated" else _locate_records
    locations = locate(directory, content, rows, shape[1] * dtype.itemsize)
    blocks = (block.view(dtype) for block in _rows_at(content, locations, shape[1] * dtype.itemsize))
    if folder is not None:
        return map_rows(blocks, dtype, shape, folder, f"converting {directory.path}"), labels
    vectors, done = np.empty(shape, dtype), 0
    for block in blocks:
        vectors[done : done + len(block)] = block
        done += len(block)
    return vectors, labels


def read_ids(directory: IndexDirectory) -> tuple[NDArray[np.uint32], NDArray[np.int64] | None]:
    """(row at each position, the user's id of each row or None)."""
    manifest = directory.manifest
    count, bits = manifest.vectors, manifest.details["id_bits"]
    ids = unpack(directory.read_array("ids", np.uint8, (packed_bytes(count, bits),)), count, bits)
    labelled = bool(manifest.details.get("has_labels"))
    rows: NDArray[Any] = directory.read_array("order", np.uint32, (count,)) if labelled else ids
    seen = np.zeros(count, bool)
    if rows.max() < count:
        seen[rows] = True
    if not seen.all():
        raise DataLossError(f"{directory.path}: the vectors are not each stored once")
    if not labelled:
        return rows.astype(np.uint32), None
    labels = np.empty(count, np.int64)
    labels[rows] = ids
    return rows, labels


def _locate_records(
    directory: IndexDirectory, content: NDArray[np.uint8], rows: NDArray[np.uint32], vector_bytes: int
) -> NDArray[np.int64]:
    """Where each row's vector lies in the section."""
    record = vector_bytes + _CHECK_BYTES
    if len(content) < len(rows) * record:
        raise DataLossError(f"{directory.path}: section vectors is too short for {len(rows):,} vectors")
    locations = np.empty(len(rows), np.int64)
    locations[rows] = np.arange(0, len(rows) * record, record)
    return locations


def _locate_entries(
    directory: IndexDirectory, content: NDArray[np.uint8], rows: NDArray[np.uint32], vector_bytes: int
) -> NDArray[np.int64]:
    """Where one copy of each row's vector lies in the postings; every vector is in at least one."""
    record = vector_bytes + _CHECK_BYTES + _POSITION_BYTES
    offsets = directory.read_section("posting_offsets").view(np.uint64)
    counts = directory.read_section("posting_counts").view(np.uint32)
    locations = np.full(len(rows), -1, np.int64)
    for offset, count in zip(offsets.tolist(), counts.tolist(), strict=False):
        if offset + count * record > len(content):
            raise DataLossError(f"{directory.path}: a posting lies beyond the section postings")
        entries = content[offset : offset + count * record].reshape(count, record)
        positions = entries[:, vector_bytes : vector_bytes + _POSITION_BYTES].copy().view(np.uint32)[:, 0]
        if count and positions.max() >= len(rows):
            raise DataLossError(f"{directory.path}: a posting names a vector that does not exist")
        locations[rows[positions]] = offset + record * np.arange(count)
    if locations.min() < 0:
        raise DataLossError(f"{directory.path}: a vector is in no posting")
    return locations


def _rows_at(
    content: NDArray[np.uint8], locations: NDArray[np.int64], vector_bytes: int
) -> Iterator[NDArray[np.uint8]]:
    """Copies of the vectors at these places, in blocks of about 8 MiB."""
    vectors = np.lib.stride_tricks.sliding_window_view(content, vector_bytes)
    block = max(1, _BLOCK_BYTES // vector_bytes)
    for start in range(0, len(locations), block):
        yield vectors[locations[start : start + block]]


def _read_queries(directory: IndexDirectory) -> CalibrationQueries:
    manifest = directory.manifest
    dtype = np.float32 if manifest.dtype == "float16" else np.dtype(manifest.dtype)
    content = directory.read_section("calibration_queries")
    excluded = directory.read_section("calibration_excluded").view(np.int64)
    row_bytes = manifest.dim * np.dtype(dtype).itemsize
    if len(content) % row_bytes or (len(excluded) and len(excluded) != len(content) // row_bytes):
        raise DataLossError(f"{directory.path}: the calibration queries are not what was written")
    return CalibrationQueries(
        vectors=content.view(dtype).reshape(-1, manifest.dim),
        source=str(manifest.details.get("calibration_source")),
        rows=excluded if len(excluded) else None,
    )
