"""Building a cluster index: clusters, then one layout of them, each part a section of the directory."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from pathlib import Path

from tiervec import _core
from tiervec.attributes.section import write_attributes
from tiervec.cluster_index.bit_packing import bits_for
from tiervec.cluster_index.clustering import cluster_vectors
from tiervec.cluster_index.faiss_kmeans import load_faiss
from tiervec.cluster_index.layout_writer import LayoutTask, write_layout
from tiervec.cluster_index.opened import calibration_grid
from tiervec.cluster_index.params import LARGEST_DIM, MOST_VECTORS, ClusterBuildParams
from tiervec.cluster_index.residual_code import residual_training_bytes
from tiervec.codes import code_parameter_bytes, code_row_bytes, largest_code_bits, training_bytes
from tiervec.engine.calibration import CalibrationQueries
from tiervec.errors import InvalidArgumentError
from tiervec.index_files.directory import IndexDescription, IndexDirectoryWriter
from tiervec.index_files.equal_rows import write_copies
from tiervec.kinds.index_kind import IndexBuild

__all__ = [
    "INTERPRETER_BYTES",
    "ClusterBuild",
    "check_buildable",
    "estimate_memory_bytes",
    "expected_index_bytes",
    "write_cluster_index",
]

_logger = logging.getLogger(__name__)

ClusterBuild = IndexBuild[ClusterBuildParams]

#: Python, numpy, faiss, its BLAS and buffers.
INTERPRETER_BYTES = 176 << 20

_BLOCKS_BYTES = 64 << 20  # converted rows, their candidates, and a coarse cell
_TRAINING_ROWS = 65_536
_NAVIGATION_BYTES = 68  # of one centroid
_TYPICAL_REPLICATION = 2.0
_CHECK_BYTES = 3
_QUERIES_PER_THREAD = 2  # in flight while it is calibrated
_LISTED_BYTES = 24  # of a query, for one member of the clusters that it searches
_SKEW = 4  # the largest cluster lists about so many times the mean


def write_cluster_index(build: ClusterBuild, out: Path) -> None:
    """Builds the index and puts it at `out`; nothing is left there when it fails or is stopped.

    Raises:
        TiervecError: Whatever stopped it: the disk is full, the code cannot be trained, faiss is not installed.
        KeyboardInterrupt: Ctrl-C; within a second.
    """
    vectors, params = build.vectors, build.params
    count, dim = vectors.shape
    load_faiss(build.threads)
    needed = expected_index_bytes(count, dim, vectors.itemsize, params)
    with IndexDirectoryWriter(out, needed_bytes=needed) as writer:
        clustering = cluster_vectors(build)
        sizes = clustering.details()
        if build.progress is not None:
            posting = sizes["posting_sizes"]
            build.progress(
                f"{sizes['clusters']:,} clusters of {posting['least']} to {posting['most']} vectors, "
                f"median {posting['median']:g}",
                1,
                1,
                None,
            )
        if build.calibration_queries is not None:
            queries = CalibrationQueries.given(build.calibration_queries)
        else:
            queries = CalibrationQueries.held_out(vectors, build.seed)
        task = LayoutTask(
            vectors=vectors,
            metric=build.metric,
            labels=build.labels,
            params=params,
            clustering=clustering,
            queries=queries,
            threads=build.threads,
            seed=build.seed,
            progress=build.progress,
        )
        written = write_layout(writer, task)
        write_copies(writer, build.copies)
        write_attributes(writer, build.attributes)
        writer.commit(
            IndexDescription(
                kind="cluster",
                metric=build.metric,
                dtype=str(vectors.dtype),
                dim=dim,
                vectors=count,
                dataset_bytes=vectors.nbytes,
                params=asdict(
                    replace(params, clusters=params.clusters or len(clustering.centroids), code_bits=written.code_bits)
                ),
                seed=build.seed,
                salt=written.salt,
                calibration=written.calibration,
                details=written.details,
            )
        )


def check_buildable(vectors: int, dim: int, params: ClusterBuildParams) -> None:
    """Refuses sizes that the formats cannot hold.

    Raises:
        InvalidArgumentError: Fewer than two vectors, more than 2^31 - 1, a dimension above 16384, or more clusters than
            vectors.
    """
    if vectors < 2:
        raise InvalidArgumentError(f"data has {vectors} vector; a cluster index needs at least 2")
    if vectors > MOST_VECTORS:
        raise InvalidArgumentError(f"data has {vectors:,} vectors; a cluster index holds at most {MOST_VECTORS:,}")
    if dim > LARGEST_DIM:
        raise InvalidArgumentError(f"data has dimension {dim}; a cluster index takes up to {LARGEST_DIM}")
    if params.clusters is not None and params.clusters > vectors:
        raise InvalidArgumentError(
            f"clusters is {params.clusters:,}, but there are {vectors:,} vectors; give at most as many clusters"
        )


def expected_index_bytes(vectors: int, dim: int, itemsize: int, params: ClusterBuildParams) -> int:
    """About the bytes on disk of an index; how many clusters list a vector is what is typical."""
    clusters = params.count_for(vectors)
    record = dim * itemsize + _CHECK_BYTES
    replication = _replication(params)
    ids = (vectors * bits_for(vectors - 1) + 7) // 8
    tier = vectors * record
    if params.layout == "replicated":
        tier = int(vectors * replication * (record + 4)) + clusters * (params.align - 1)
    fast = ids + clusters * (_NAVIGATION_BYTES + code_row_bytes("rabitq", 3, dim) + 16)
    if params.layout == "coded":
        fast += _code_bytes(vectors, dim, params)
    elif params.layout != "replicated":
        fast += int(ids * replication)
    disk = clusters * dim * 4 + int(vectors * (1 + 4 * replication)) + (1 << 20)
    return tier + fast + disk + 2 * code_parameter_bytes(dim) + (1 << 16)


def estimate_memory_bytes(
    vectors: int, dim: int, itemsize: int, params: ClusterBuildParams, threads: int = 0, *, streamed: bool = False
) -> int:
    """Peak memory of a build in bytes; `streamed`: the vectors stay in a mapped file.

    Pages of mapped files are not counted, neither those of the vectors nor those of the section that is calibrated:
    the system takes them back when it needs them.

    Example:
        >>> round(estimate_memory_bytes(1_000_000, 128, 1, ClusterBuildParams(), threads=2) / 2**20) < 4 * 123
        True
    """
    clusters = params.count_for(vectors)
    raw = 0 if streamed else vectors * dim * itemsize
    lists = vectors * 4 * min(params.replicas, clusters)
    centroids = 3 * clusters * dim * 4
    entries = int(vectors * _replication(params))
    if params.layout == "coded":
        arranging = (12 + 16 * params.spill) * vectors + _code_bytes(vectors, dim, params)
    else:
        arranging = 12 * vectors + 24 * entries
    calibrating = 0
    if params.layout in ("grouped", "decoupled"):
        # Queries in flight have room for all that so many of the largest clusters list.
        probed = _SKEW * calibration_grid(params.layout, clusters).values("nprobe", 1)[-1] / clusters
        in_flight = _core.resolve_threads(threads) * _QUERIES_PER_THREAD
        calibrating = 12 * vectors + 8 * entries + int(in_flight * _LISTED_BYTES * entries * min(1, probed))
    if params.layout == "coded":
        training = residual_training_bytes(min(vectors, _TRAINING_ROWS), dim)
    else:  # of the centroids' code
        training = training_bytes(clusters, dim)
    return (
        INTERPRETER_BYTES
        + raw
        + lists
        + centroids
        + max(_BLOCKS_BYTES + 4 * vectors, arranging + training, calibrating)
    )


def _code_bytes(vectors: int, dim: int, params: ClusterBuildParams) -> int:
    bits = largest_code_bits(params.code_bits, name=params.code, use="scan", dim=dim)
    once = vectors * code_row_bytes(params.code, bits, dim)
    return once if not params.spill else 2 * once + (vectors * bits_for(vectors - 1) + 7) // 8


def _replication(params: ClusterBuildParams) -> float:
    """Clusters that list a vector: by the plain rule hardly two, by a relaxed one as many as may."""
    return params.replicas if params.rng_factor > 1 else min(params.replicas, _TYPICAL_REPLICATION)
