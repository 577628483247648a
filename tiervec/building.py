"""Building an index, and writing another layout of one."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiervec.arguments.parameter_checks import (
    check_bytes,
    check_callback,
    check_choice,
    check_keys,
    check_path,
    check_seed,
    check_threads,
    checked_params,
)
from tiervec.attributes.columns import read_columns
from tiervec.attributes.section import arranged
from tiervec.cluster_index.params import ClusterBuildParams
from tiervec.engine.calibration import DEFAULT_TARGET_RECALL, reached
from tiervec.graph_index.diskann_files import open_diskann
from tiervec.graph_index.diskann_import import import_params, write_imported
from tiervec.graph_index.params import GraphBuildParams
from tiervec.index_files.directory import IndexDirectory, check_out
from tiervec.index_files.equal_rows import EqualRows, find_equal_rows
from tiervec.index_files.info import IndexInfo
from tiervec.kinds.index_kind import IndexBuild, IndexKind
from tiervec.kinds.registry import index_kind
from tiervec.machine.durable_files import replaced_directory
from tiervec.machine.interruptible import BuildProgress
from tiervec.vectors.arrays import as_matrix, as_queries, check_ids, check_range
from tiervec.vectors.memory_limit import choose_within, map_rows
from tiervec.vectors.vector_files import VectorFile, open_vectors
from tiervec.vectors.vector_files.file_access import allocated

__all__ = ["build", "import_diskann", "relayout"]

_logger = logging.getLogger(__name__)

BuildParams = GraphBuildParams | ClusterBuildParams

METRICS = ("l2", "ip", "cosine")
_KEPT_BLOCK_BYTES = 16 << 20
_SMALLEST_VALUE = 1e-15  # squared distances of smaller ones lose their digits


def build(
    data: Any,
    out: str | os.PathLike[str],
    *,
    kind: str = "graph",
    metric: str = "l2",
    ids: Any = None,
    params: Mapping[str, Any] | BuildParams | None = None,
    memory_limit: int | None = None,
    threads: int = 0,
    seed: int = 0,
    progress: BuildProgress | None = None,
    calibration_queries: Any = None,
    attributes: Any = None,
) -> IndexInfo:
    """Builds an index and saves it at `out`, whole or not at all.

    Args:
        data: Vectors (n, dim) as an array (numpy, DLPack, Arrow) or the path of a .npy .fbin .u8bin .i8bin .fvecs
            .bvecs .parquet .hdf5 file; float32, float16, int8 or uint8. An array is used where it is; a file is read
            once, and not held twice.
        out: The directory to create; it must not exist.
        kind: ``graph`` or ``cluster``.
        metric: ``l2`` (squared), ``ip`` or ``cosine``.
        ids: n unique non-negative integers to return instead of 0, 1, 2, ...
        params: A mapping of build keys, or `GraphBuildParams` or `ClusterBuildParams`.
        memory_limit: Refuse the build when it is estimated to need more bytes than this. A cluster index of a file
            that does not fit is built with the vectors left in the file. Pages of mapped files come on top of it as
            far as there is memory for them; the system takes them back.
        threads: 0 means all allowed CPUs. One thread and one seed always give the same index.
        seed: Seed for all randomness.
        progress: Called with (stage, steps done, steps in all, seconds left or None), a few times a second.
        calibration_queries: Vectors like the queries to come; ``target_recall`` is calibrated on the first 500. For
            clusters the first 8,000 also choose the groups of layout ``grouped`` and their order, now or by `relayout`.
            Without them some of the base vectors stand for queries.
        attributes: What ``Index.search(filter=...)`` can ask for: a dict of columns, a list of n dicts, an Arrow table,
            or the path of a .parquet or .jsonl file. Values are integers, floats, texts, truth values, datetimes or
            lists of texts, one type in a column; None is null. They take fast memory: 4 bytes for each value of a row,
            the different values, and of clusters 4 bytes more for each vector.

    Returns:
        The description of the index.

    Raises:
        InvalidArgumentError: Data, ids or parameters are not usable; the sentence says which and why.
        AlreadyExistsError: `out` exists.
        ResourceExhaustedError: memory_limit is too small, or the disk is.

    Example:
        >>> import tempfile, numpy as np, tiervec
        >>> vectors = np.random.default_rng(0).normal(size=(500, 16)).astype(np.float32)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     info = tiervec.build(vectors, folder + "/index", params={"graph_degree": 16})
        ...     with tiervec.open(info.path) as index:
        ...         found = index.search(vectors[:3], k=1, target_recall=0.95)
        >>> found.ids.ravel().tolist()
        [0, 1, 2]
    """
    chosen = index_kind(kind)
    check_choice("metric", metric, METRICS)
    build_params = checked_params(params, chosen.build_params, "build", kind)
    threads = check_threads(threads)
    seed = check_seed(seed)
    memory_limit = check_bytes("memory_limit", memory_limit)
    check_callback("progress", progress)
    target = check_out(out)
    vectors = _load(data, _MemoryCheck(chosen, build_params, memory_limit, threads, progress), target.parent)
    check_range(vectors, "data", least=_SMALLEST_VALUE)
    queries = None
    if calibration_queries is not None:
        queries = _load_queries(calibration_queries, vectors)
    labels = None if ids is None else check_ids(ids, len(vectors))
    columns = None if attributes is None else read_columns(attributes, len(vectors))
    given = len(vectors)
    given_labels = labels
    copies = None
    if (equal := find_equal_rows(vectors, chosen.least_vectors(build_params))) is not None:
        _report_copies(equal, progress)
        copies = equal.section(labels)
        vectors = _kept(vectors, equal, None if memory_limit is None else target.parent)
        labels = None if labels is None else labels[equal.kept]
    chosen.write(
        IndexBuild(
            vectors=vectors,
            copies=copies,
            attributes=None if columns is None else arranged(columns, given, given_labels, equal),
            metric=metric,
            params=build_params,
            labels=labels,
            threads=threads,
            seed=seed,
            progress=progress,
            calibration_queries=queries,
            memory_limit=memory_limit,
        ),
        target,
    )
    info = IndexInfo.from_manifest(target, IndexDirectory.open(target).manifest)
    _warn_of_low_recall(info)
    return info


def relayout(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    params: Mapping[str, Any] | None = None,
    memory_limit: int | None = None,
    threads: int = 0,
    progress: BuildProgress | None = None,
) -> IndexInfo:
    """Writes an index in another layout, with the same clusters or the same graph.

    Args:
        path: An index.
        out: The directory to create; it must not exist. None: the new index takes the place of the old one, which is
            removed when the new one is complete. Readers that have the old index open keep using it.
        params: Build keys that change: ``layout``; of a cluster index also ``code``, ``code_bits``, ``align``. Without
            any change, and without `out`, nothing is written.
        memory_limit: Refuse the conversion when it is estimated to need more bytes than this. Vectors of a cluster
            index that do not fit are put into a file beside the new index while it is written; graphs never hold
            theirs. As in `build`, pages of mapped files come on top.
        threads: 0 means all allowed CPUs.
        progress: As in `build`.

    Returns:
        The description of the new index.

    Raises:
        NotFoundError: There is no index at `path`.
        InvalidArgumentError: A key that cannot change without a new build.
        AlreadyExistsError: `out` exists.
        ResourceExhaustedError: memory_limit is too small, or the disk is.
    """
    directory = IndexDirectory.open(path)
    given = {} if params is None else params
    kind = index_kind(directory.manifest.kind)
    check_keys(given, kind.build_params, "build", kind.name)
    threads = check_threads(threads)
    memory_limit = check_bytes("memory_limit", memory_limit)
    check_callback("progress", progress)

    def write(target: Path) -> None:
        kind.relayout(directory, target, given, memory_limit=memory_limit, threads=threads, progress=progress)

    if out is not None:
        target = check_out(out)
        write(target)
    else:
        target = directory.path
        if directory.manifest.params == {**directory.manifest.params, **given}:
            return IndexInfo.from_manifest(target, directory.manifest)
        with replaced_directory(target) as beside:
            write(beside)
    return IndexInfo.from_manifest(target, IndexDirectory.open(target).manifest)


def import_diskann(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    params: Mapping[str, Any] | None = None,
    dtype: str | None = None,
    metric: str | None = None,
    ids: Any = None,
    threads: int = 0,
    seed: int = 0,
    progress: BuildProgress | None = None,
    calibration_queries: Any = None,
) -> IndexInfo:
    """Writes an index that Microsoft's DiskANN built as a graph index: its graph and vectors, with codes of our own.

    Args:
        path: The folder that holds ``*_disk.index`` and the files beside it, or their common prefix.
        out: The directory to create; it must not exist.
        params: Build keys ``layout`` (``packed``, ``plain`` or ``sectors``), ``code``, ``code_bits``.
        dtype: ``float32``, ``int8`` or ``uint8``; needed only without diskannpy's ``_metadata.bin``.
        metric: ``l2`` or ``cosine``, likewise.
        ids: As in `build`.
        threads: As in `build`.
        seed: As in `build`.
        progress: As in `build`.
        calibration_queries: As in `build`.

    Returns:
        The description of the index.

    Raises:
        NotFoundError: There is no DiskANN index at `path`.
        DataLossError: A file of it is not what its header says.
        UnsupportedError: It holds compressed vectors, inner products, or longer lists than a graph index.
        InvalidArgumentError: A parameter of the graph itself; dtype or metric missing or wrong.
        AlreadyExistsError: `out` exists.
        DiskFullError: The disk is full.
    """
    given = {} if params is None else params
    check_keys(given, GraphBuildParams, "build", "graph")
    source = open_diskann(path, dtype=dtype, metric=metric)
    used = import_params(source, given)
    threads, seed, target = check_threads(threads), check_seed(seed), check_out(out)
    check_callback("progress", progress)
    vectors, neighbors, degrees = source.read()
    check_range(vectors, "data", least=_SMALLEST_VALUE)
    build_ = IndexBuild(
        vectors=vectors,
        metric=source.metric,
        params=used,
        labels=None if ids is None else check_ids(ids, len(vectors)),
        threads=threads,
        seed=seed,
        progress=progress,
        calibration_queries=None if calibration_queries is None else _load_queries(calibration_queries, vectors),
    )
    write_imported(source, build_, neighbors, degrees, target)
    return IndexInfo.from_manifest(target, IndexDirectory.open(target).manifest)


@dataclass(frozen=True)
class _MemoryCheck:
    """Whether a build fits into the memory that it may take."""

    kind: IndexKind[Any, Any]
    params: Any
    limit: int | None
    threads: int
    progress: BuildProgress | None

    def fits_in_memory(self, shape: tuple[int, ...], itemsize: int, *, may_stream: bool) -> bool:
        """True: with the vectors in memory; False: with the vectors left in their file.

        Raises:
            InvalidArgumentError: The sizes are beyond what the kind of index holds.
            ResourceExhaustedError: It does not fit either way.
        """
        self.kind.check_buildable(shape[0], shape[1], self.params)
        ways = (False, True) if may_stream and self.kind.streams else (False,)
        estimates = [
            self.kind.estimate_memory_bytes(shape[0], shape[1], itemsize, self.params, self.threads, streamed=streamed)
            for streamed in ways
        ]
        settings = self.kind.largest_settings(dataclasses.asdict(self.params))
        act = f"building {shape[0]:,} vectors of dimension {shape[1]} with {settings}"
        return not ways[choose_within(self.limit, estimates, act, self.progress)]


def _load(data: Any, memory: _MemoryCheck, folder: Path) -> NDArray[Any]:
    """The vectors, once, in memory or mapped. The memory of the build is checked before they are read."""
    if not isinstance(data, (str, os.PathLike)):
        matrix = as_matrix(data)
        memory.fits_in_memory(matrix.shape, matrix.itemsize, may_stream=False)
        return matrix
    file = open_vectors(check_path("data", data))
    if not memory.fits_in_memory(file.shape, file.dtype.itemsize, may_stream=True):
        return _mapped(file, folder, memory.progress)
    vectors: NDArray[Any] = allocated(file.shape, file.dtype, file.path)
    file.read_into(vectors, _reading(memory.progress))
    return vectors


def _mapped(file: VectorFile, folder: Path, progress: BuildProgress | None) -> NDArray[Any]:
    """The vectors of a file without holding them; a format that cannot be mapped is copied to `folder` first."""
    mapped = file.mapped
    if mapped is not None and mapped.flags.c_contiguous:
        return mapped
    report = _reading(progress)

    def blocks() -> Iterator[NDArray[Any]]:
        for first, block in file.chunks():
            yield block
            report(first + len(block), file.shape[0])

    return map_rows(blocks(), file.dtype, file.shape, folder, f"copying {file.path}")


def _reading(progress: BuildProgress | None) -> Callable[[int, int], None]:
    return lambda done, total: None if progress is None else progress("reading vectors", done, total, None)


def _report_copies(equal: EqualRows, progress: BuildProgress | None) -> None:
    kinds = len(np.unique(equal.stand_ins))
    text = f"{len(equal.copies):,} vectors are equal to one of {kinds:,} others, and only listed"
    _logger.info("%s", text)
    if progress is not None:
        progress(text, 1, 1, None)


def _kept(vectors: NDArray[Any], equal: EqualRows, folder: Path | None) -> NDArray[Any]:
    """The vectors that are kept, in memory, or under a limit of memory in a file in `folder`, mapped."""
    rows = equal.kept
    if folder is None:
        return np.ascontiguousarray(vectors[rows])
    step = max(1, _KEPT_BLOCK_BYTES // (vectors.shape[1] * vectors.itemsize))
    blocks = (np.ascontiguousarray(vectors[rows[at : at + step]]) for at in range(0, len(rows), step))
    return map_rows(blocks, vectors.dtype, (len(rows), vectors.shape[1]), folder, "leaving out equal vectors")


def _load_queries(queries: Any, vectors: NDArray[Any]) -> NDArray[Any]:
    if isinstance(queries, (str, os.PathLike)):
        file = open_vectors(check_path("calibration_queries", queries))
        queries = file.rows(0, file.shape[0])
    return as_queries(queries, vectors.dtype, vectors.shape[1], what="calibration_queries")


def _warn_of_low_recall(info: IndexInfo) -> None:
    target = info.params.get("target_recall", DEFAULT_TARGET_RECALL)
    for k, recall in ({} if info.calibration is None else reached(info.calibration)).items():
        if recall < target:
            _logger.warning(
                "%s: the calibration reached recall %.3f with k=%d, below the target of %g",
                info.path,
                recall,
                k,
                target,
            )
