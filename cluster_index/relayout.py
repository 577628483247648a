"""Another layout of the same clusters: reads an index's vectors and clusters, and writes a new index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiervec.calibration import CalibrationQueries
from tiervec.cluster_index.bit_packing import packed_bytes, unpack
from tiervec.cluster_index.clustering import Clustering
from tiervec.cluster_index.layout_writer import LayoutTask, write_layout
from tiervec.cluster_index.opened import described, tier_section
from tiervec.cluster_index.params import ClusterBuildParams
from tiervec.errors import DataLossError
from tiervec.index_directory import IndexDirectory, IndexDirectoryWriter
from tiervec.index_kind import changed_params
from tiervec.interruptible import BuildProgress

__all__ = ["relayout_cluster_index"]

_CHANGEABLE = ("layout", "code", "code_bits", "spill", "align")
_CHECK_BYTES = 2
_POSITION_BYTES = 4


def relayout_cluster_index(
    directory: IndexDirectory,
    out: Path,
    changes: Mapping[str, Any],
    *,
    threads: int = 0,
    progress: BuildProgress | None = None,
) -> None:
    """Writes `directory`'s clusters at `out` with other parameters, whole or not at all.

    Raises:
        InvalidArgumentError: A parameter that cannot change without a new build.
        DataLossError: The index is not what was written.
    """
    manifest = directory.manifest
    params = changed_params(directory, ClusterBuildParams, changes, _CHANGEABLE)
    layout, clusters = described(directory)
    width = manifest.details.get("probes_width")
    if type(width) is not int or not 1 <= width <= clusters:
        raise DataLossError(f"{directory.path}: the manifest has probes_width {width!r}")
    with IndexDirectoryWriter(out) as writer:
        rows, labels = _read_ids(directory)
        task = LayoutTask(
            vectors=_read_vectors(directory, layout, rows),
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
        writer.commit(
            manifest.description(params=asdict(params), calibration=written.calibration, details=written.details)
        )


def _read_ids(directory: IndexDirectory) -> tuple[NDArray[np.uint32], NDArray[np.int64] | None]:
    """(row at each position, the user's id of each row or None)."""
    manifest = directory.manifest
    count, bits = manifest.vectors, manifest.details["id_bits"]
    order = directory.read_array("order", np.uint32, (count,)) if manifest.details.get("has_labels") else None
    ids = unpack(directory.read_array("ids", np.uint8, (packed_bytes(count, bits),)), count, bits)
    rows = ids if order is None else order.astype(np.int64)
    seen = np.zeros(count, bool)
    seen[rows[rows < count]] = True
    if not seen.all():
        raise DataLossError(f"{directory.path}: the vectors are not each stored once")
    if order is None:
        return rows.astype(np.uint32), None
    labels = np.empty(count, np.int64)
    labels[rows] = ids
    return rows.astype(np.uint32), labels


def _read_vectors(directory: IndexDirectory, layout: str, rows: NDArray[np.uint32]) -> NDArray[Any]:
    """The vectors in the order of the data."""
    manifest = directory.manifest
    dtype = np.dtype(manifest.dtype)
    vector_bytes = manifest.dim * dtype.itemsize
    name = tier_section(layout)
    content = directory.map_section(name)
    directory.verify_bytes(name, content)
    vectors = np.empty((manifest.vectors, manifest.dim), dtype)
    if layout == "replicated":
        _gather_postings(directory, content, vectors, rows)
        return vectors
    record = vector_bytes + _CHECK_BYTES
    if len(content) < manifest.vectors * record:
        raise DataLossError(f"{directory.path}: section {name} is too short for {manifest.vectors:,} vectors")
    records = content[: manifest.vectors * record].reshape(manifest.vectors, record)
    vectors.view(np.uint8).reshape(manifest.vectors, -1)[rows] = records[:, :vector_bytes]
    return vectors


def _gather_postings(
    directory: IndexDirectory, content: NDArray[np.uint8], vectors: NDArray[Any], rows: NDArray[np.uint32]
) -> None:
    """Vectors of a replicated layout; every vector is in at least one posting."""
    vector_bytes = vectors.shape[1] * vectors.dtype.itemsize
    record = vector_bytes + _CHECK_BYTES + _POSITION_BYTES
    offsets = directory.read_section("posting_offsets").view(np.uint64)
    counts = directory.read_section("posting_counts").view(np.uint32)
    raw = vectors.view(np.uint8).reshape(len(vectors), -1)
    found = np.zeros(len(vectors), bool)
    for offset, count in zip(offsets.tolist(), counts.tolist(), strict=False):
        if offset + count * record > len(content):
            raise DataLossError(f"{directory.path}: a posting lies beyond the section postings")
        entries = content[offset : offset + count * record].reshape(count, record)
        positions = entries[:, -_POSITION_BYTES:].copy().view(np.uint32)[:, 0]
        if count and positions.max() >= len(vectors):
            raise DataLossError(f"{directory.path}: a posting names a vector that does not exist")
        raw[rows[positions]] = entries[:, :vector_bytes]
        found[rows[positions]] = True
    if not found.all():
        raise DataLossError(f"{directory.path}: a vector is in no posting")


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
