"""The public Python interface: build an index, open it on a tier, search it."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiervec import _core
from tiervec.calibration import choose
from tiervec.cluster_index.params import ClusterBuildParams, ClusterSearchParams
from tiervec.cluster_index.relayout import relayout_cluster_index
from tiervec.durable_files import replaced_directory, require_free_space, storage_errors
from tiervec.errors import (
    DataLossError,
    InvalidArgumentError,
    ResourceExhaustedError,
    UnavailableError,
    UnsupportedError,
)
from tiervec.graph_index.diskann_files import open_diskann
from tiervec.graph_index.diskann_import import import_params, write_imported
from tiervec.graph_index.params import GraphBuildParams, GraphSearchParams
from tiervec.graph_index.relayout import relayout_graph_index
from tiervec.index_directory import IndexDirectory, Manifest, check_out
from tiervec.index_kind import IndexBuild, IndexKind, OpenedIndex
from tiervec.index_kinds import index_kind
from tiervec.interruptible import BuildProgress
from tiervec.rdma.remote_url import is_remote
from tiervec.receipt import Receipt
from tiervec.sizes import format_size
from tiervec.vector_files import VectorFile, open_vectors
from tiervec.vectors import as_matrix, as_queries, check_finite, check_ids

__all__ = ["Index", "IndexInfo", "SearchResult", "build", "import_diskann", "open", "relayout"]

BuildParams = GraphBuildParams | ClusterBuildParams
SearchParams = GraphSearchParams | ClusterSearchParams

METRICS = ("l2", "ip", "cosine")
# Distances are float32. Squares of larger values overflow; of smaller ones they lose their digits.
_LARGEST_SQUARED_DISTANCE = 3e38
_SMALLEST_VALUE = 1e-15
_LONGEST_TIMEOUT_S = 1e9  # the clock of the search counts nanoseconds in 64 bits


@dataclass(frozen=True, kw_only=True)
class IndexInfo:
    """What an index is and what it takes.

    Attributes:
        path: The index directory.
        format_version: Version of the directory's format.
        kind: ``graph`` or ``cluster``.
        metric: ``l2``, ``ip`` or ``cosine``.
        dtype: Element type of the vectors.
        dim: Columns of a vector.
        vectors: Number of vectors.
        dataset_bytes: Bytes of the raw vectors.
        tier_bytes: Bytes that live on the tier.
        fast_bytes: Bytes that live in fast memory: codes, where things are, navigation, parameters.
        amplification: tier_bytes / dataset_bytes.
        fast_bytes_per_vector: fast_bytes / vectors.
        sections: name, file, placement, bytes and checksum of each file.
        params: Build parameters.
        calibration: The table behind ``target_recall``, or None.
    """

    path: str
    format_version: int
    kind: str
    metric: str
    dtype: str
    dim: int
    vectors: int
    dataset_bytes: int
    tier_bytes: int
    fast_bytes: int
    amplification: float
    fast_bytes_per_vector: float
    sections: tuple[Mapping[str, Any], ...]
    params: Mapping[str, Any]
    calibration: Mapping[str, Any] | None

    @classmethod
    def from_manifest(cls, path: str | os.PathLike[str], manifest: Manifest) -> IndexInfo:
        """The description of a saved index."""
        tier_bytes = sum(section.bytes for section in manifest.sections if section.placement == "tier")
        fast_bytes = sum(section.bytes for section in manifest.sections if section.placement == "fast")
        return cls(
            path=os.fspath(path),
            format_version=manifest.format_version,
            kind=manifest.kind,
            metric=manifest.metric,
            dtype=manifest.dtype,
            dim=manifest.dim,
            vectors=manifest.vectors,
            dataset_bytes=manifest.dataset_bytes,
            tier_bytes=tier_bytes,
            fast_bytes=fast_bytes,
            amplification=tier_bytes / manifest.dataset_bytes,
            fast_bytes_per_vector=fast_bytes / manifest.vectors,
            sections=tuple(dataclasses.asdict(section) for section in manifest.sections),
            params=dict(manifest.params),
            calibration=manifest.calibration,
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON values, the keys of ``tiervec info --json``."""
        return {**dataclasses.asdict(self), "sections": [dict(section) for section in self.sections]}


class SearchResult(NamedTuple):
    """Neighbours of each query, nearest first, padded with -1 and +inf, and what they cost.

    Attributes:
        ids: int64 (nq, k).
        distances: float32 (nq, k): squared l2, minus the inner product, or 1 - cosine.
        receipt: Reads, bytes, rounds and CPU time of the call.
    """

    ids: NDArray[np.int64]
    distances: NDArray[np.float32]
    receipt: Receipt


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
            that does not fit is built with the vectors left in the file.
        threads: 0 means all allowed CPUs. One thread and one seed always give the same index.
        seed: Of everything random.
        progress: Called with (stage, steps done, steps in all, seconds left or None), a few times a second.
        calibration_queries: Vectors like the queries to come, on which ``target_recall`` is calibrated; without them
            some of the base vectors are held out.

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
    if metric not in METRICS:
        raise InvalidArgumentError(f"metric is {metric!r}; it must be one of {', '.join(METRICS)}")
    build_params = _checked_params(params, chosen.build_params, "build", kind)
    threads = _check_threads(threads)
    seed = _check_seed(seed)
    _check_bytes("memory_limit", memory_limit)
    target = check_out(out)
    vectors = _load(data, _MemoryCheck(chosen, build_params, memory_limit, threads, progress), target.parent)
    check_finite(vectors)
    _check_range(vectors, "data", least=_SMALLEST_VALUE)
    queries = None
    if calibration_queries is not None:
        queries = _load_queries(calibration_queries, vectors)
    labels = None if ids is None else check_ids(ids, len(vectors))
    chosen.write(
        IndexBuild(
            vectors=vectors,
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
    return IndexInfo.from_manifest(target, IndexDirectory.open(target).manifest)


def open(  # noqa: A001 - the contract's name
    path: str | os.PathLike[str], *, tier: str = "dram:", fast_memory: int | None = None, threads: int = 0
) -> Index:
    """Opens a saved index on a tier.

    Args:
        path: The index directory.
        tier: URL of the tier that holds the records: ``dram:``, ``mmap:``, ``emulated:rdma-200g``, ... or of memory
            nodes that the index was published to (``tcp://HOST:PORT/REGION``): the records then need not be at `path`.
        fast_memory: Bytes of fast memory that the index may take. What its codes leave is filled with the records that
            searches read most; refused when the codes alone need more. None: codes only.
        threads: Worker threads of a search; 0 means all allowed CPUs.

    Raises:
        NotFoundError: There is no index at `path`.
        DataLossError: A file is not what was written; the sentence names it.
        UnsupportedError: A newer format.
        InvalidArgumentError: An unknown tier or profile.
        ResourceExhaustedError: It does not fit.
        UnavailableError: No memory node of the tier answers.
        PermissionDeniedError: The memory node wants another token.
    """
    directory = IndexDirectory.open(path, remote_tier=is_remote(tier))
    return Index(directory, tier=tier, fast_memory=fast_memory, threads=_check_threads(threads))


def relayout(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    params: Mapping[str, Any] | None = None,
    threads: int = 0,
    progress: BuildProgress | None = None,
) -> IndexInfo:
    """Writes an index in another layout, with the same clusters or the same graph.

    Args:
        path: An index.
        out: The directory to create; it must not exist. None: the new index takes the place of the old one, which is
            removed when the new one is complete. Who has the old one open goes on with it.
        params: Build keys that change: ``layout``; of a cluster index also ``code``, ``code_bits``, ``align``.
        threads: 0 means all allowed CPUs.
        progress: As in `build`.

    Returns:
        The description of the new index.

    Raises:
        NotFoundError: There is no index at `path`.
        InvalidArgumentError: A key that cannot change without a new build.
        AlreadyExistsError: `out` exists.
        ResourceExhaustedError: The disk is full.
    """
    directory = IndexDirectory.open(path)
    given = {} if params is None else params
    kind = directory.manifest.kind
    _check_keys(given, index_kind(kind).build_params, "build", kind)
    threads = _check_threads(threads)

    def write(target: Path) -> None:
        if kind == "graph":
            relayout_graph_index(directory, target, given, progress=progress)
        else:
            relayout_cluster_index(directory, target, given, threads=threads, progress=progress)

    if out is None:
        with replaced_directory(directory.path) as beside:
            write(beside)
        return IndexInfo.from_manifest(directory.path, IndexDirectory.open(directory.path).manifest)
    checked = check_out(out)
    write(checked)
    return IndexInfo.from_manifest(checked, IndexDirectory.open(checked).manifest)


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
        params: Build keys ``layout`` (``packed`` or ``sectors``), ``code``, ``code_bits``.
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
        ResourceExhaustedError: The disk is full.
    """
    given = {} if params is None else params
    _check_keys(given, GraphBuildParams, "build", "graph")
    source = open_diskann(path, dtype=dtype, metric=metric)
    used = import_params(source, given)
    threads, seed, target = _check_threads(threads), _check_seed(seed), check_out(out)
    vectors, neighbors, degrees = source.read()
    check_finite(vectors)
    _check_range(vectors, "the vectors of the index", least=_SMALLEST_VALUE)
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


class Index:
    """An open index. Searches from several threads may run at the same time.

    Use `tiervec.open`. A context manager: leaving it closes the index.
    """

    def __init__(self, directory: IndexDirectory, *, tier: str, fast_memory: int | None, threads: int) -> None:
        self._info = IndexInfo.from_manifest(directory.path, directory.manifest)
        self._kind = index_kind(self._info.kind)
        if not isinstance(tier, str):
            raise InvalidArgumentError(f"tier is {tier!r}; it must be a URL such as dram:")
        _check_bytes("fast_memory", fast_memory)
        if fast_memory is not None and fast_memory < self._info.fast_bytes:
            raise ResourceExhaustedError(
                f"fast_memory is {format_size(fast_memory)}; the codes of {directory.path} need "
                f"{format_size(self._info.fast_bytes)}"
            )
        self._threads = _core.resolve_threads(threads)
        opened = self._kind.open(directory, tier)
        if fast_memory is not None:
            taken = opened.fill_fast_memory(fast_memory - self._info.fast_bytes, self._threads)
            self._info = _with_fast_bytes(self._info, self._info.fast_bytes + taken)
        self._opened: OpenedIndex[Any] | None = opened
        self._grid = opened.grid
        self._url = str(opened.tier.url)  # not the tier itself: closing gives its memory back
        self._device: dict[str, Any] = dict(opened.tier.profile)
        self._state = threading.Condition()
        self._running = 0

    @property
    def info(self) -> IndexInfo:
        """What the index is and what it takes."""
        return self._info

    @property
    def tier(self) -> str:
        """URL of the tier."""
        return self._url

    @property
    def emulated(self) -> bool:
        """True when the tier is a model of a device."""
        return bool(self._device["emulated"])

    @property
    def threads(self) -> int:
        """Worker threads of a search."""
        return self._threads

    def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        target_recall: float | None = None,
        params: Mapping[str, Any] | SearchParams | None = None,
        filter: Any = None,
        timeout_s: float | None = None,
        cancel: _core.CancelToken | None = None,
    ) -> SearchResult:
        """Finds the nearest neighbours of each query.

        Args:
            queries: (nq, dim), or (dim,) for one; float for float indexes, whole numbers of the index's own range for
                integer ones.
            k: Neighbours per query.
            target_recall: Choose parameters from the calibration instead of giving them.
            params: A mapping of search keys, or `GraphSearchParams` or `ClusterSearchParams`; with target_recall only
                keys that it does not choose.
            filter: Not part of this version.
            timeout_s: Seconds after which the search fails.
            cancel: A `tiervec.CancelToken`; once another thread cancels it, the search ends.

        Returns:
            ids, distances and the receipt; see `SearchResult`.

        Raises:
            InvalidArgumentError: Wrong dim, dtype, NaN, k or parameters.
            UnavailableError: The index is closed, or its tier cannot answer.
            DeadlineExceededError: timeout_s is over.
            CancelledError: `cancel` was cancelled.
            DataLossError: A record is not what was written.
        """
        if filter is not None:
            raise UnsupportedError("filter is not part of this version; leave it out")
        k = _check_k(k)
        timeout_s = _check_timeout(timeout_s)
        matrix = as_queries(queries, self._info.dtype, self._info.dim)
        check_finite(matrix, what="queries")
        _check_range(matrix, "queries")
        given, notes = self._search_params(k, target_recall, params)
        opened = self._enter()
        try:
            used = opened.fitted(given, k)
            began = time.perf_counter()
            threads = min(self._threads, len(matrix)) if used.pipeline else 1
            found = opened.search(
                matrix,
                k,
                used,
                threads=threads,
                timeout_s=timeout_s,
                cancel=cancel,
                latency_us=self._device["latency_us"],
            )
            wall_us = (time.perf_counter() - began) * 1e6
        finally:
            self._leave()
        receipt = Receipt(
            queries=len(matrix),
            k=k,
            threads=threads,
            params=dataclasses.asdict(used),
            tier=self.tier,
            emulated=self.emulated,
            reads=found.reads,
            bytes_read=found.bytes_read,
            rounds=found.rounds,
            code_distances=found.code_distances,
            hot_records=found.hot_records,
            rereads=found.rereads,
            cpu_us=found.cpu_us,
            wall_us=wall_us,
            latency_us=found.latency_us,
            device=self._device,
            notes=(*notes, *self._notes_of(found.rereads)),
        )
        return SearchResult(found.ids, found.distances, receipt)

    def close(self) -> None:
        """Closes the index after the searches that run have ended. Closing twice is fine."""
        with self._state:
            opened, self._opened = self._opened, None
            self._state.wait_for(lambda: self._running == 0)
        del opened

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{self._info.kind} index {self._info.path!r} of {self._info.vectors:,} vectors on {self.tier}>"

    def _enter(self) -> OpenedIndex[Any]:
        with self._state:
            if self._opened is None:
                raise UnavailableError(f"the index {self._info.path} is closed")
            self._running += 1
            return self._opened

    def _leave(self) -> None:
        with self._state:
            self._running -= 1
            self._state.notify_all()

    def _notes_of(self, rereads: int) -> Iterator[str]:
        if note := str(self._device["note"]):
            yield note
        if rereads:
            yield (
                f"{rereads} of the reads repeated others on another replica, because a record was not what was "
                "written: a replica is damaged"
            )

    def _search_params(
        self, k: int, target_recall: float | None, params: Mapping[str, Any] | SearchParams | None
    ) -> tuple[Any, tuple[str, ...]]:
        given = _checked_params(params, self._kind.search_params, "search", self._info.kind)
        if target_recall is None:
            return given, ()
        fixed = [key for key in self._grid.names if isinstance(params, Mapping) and key in params]
        if fixed:
            raise InvalidArgumentError(f"target_recall chooses {fixed[0]} itself; give one of the two")
        chosen = choose(self._grid, self._info.calibration, k, target_recall, self._info.vectors)
        try:
            used = dataclasses.replace(given, **_whole_numbers(chosen.params))
        except InvalidArgumentError as error:
            raise DataLossError(f"the calibration of the index is not what was written: {error}") from error
        return used, () if chosen.note is None else (chosen.note,)


def _with_fast_bytes(info: IndexInfo, fast_bytes: int) -> IndexInfo:
    return dataclasses.replace(info, fast_bytes=fast_bytes, fast_bytes_per_vector=fast_bytes / info.vectors)


def _whole_numbers(params: Mapping[str, float]) -> dict[str, float]:
    """JSON does not keep 64 and 64.0 apart."""
    return {key: int(value) if float(value).is_integer() else value for key, value in params.items()}


def _checked_params(params: Any, params_class: type[Any], what: str, kind: str) -> Any:
    if isinstance(params, params_class):
        return params
    given = {} if params is None else params
    _check_keys(given, params_class, what, kind)
    return params_class(**given)


def _check_keys(given: Mapping[str, Any], params_class: type, what: str, kind: str) -> None:
    if not isinstance(given, Mapping):
        raise InvalidArgumentError(f"params is a {type(given).__name__}; pass a mapping or {params_class.__name__}")
    known = [field.name for field in dataclasses.fields(params_class)]
    for key in given:
        if key not in known:
            raise InvalidArgumentError(f"unknown {what} parameter {key!r}; a {kind} index has {', '.join(known)}")


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
        for streamed in (False, True) if may_stream and self.kind.streams else (False,):
            estimate = self.kind.estimate_memory_bytes(
                shape[0], shape[1], itemsize, self.params, self.threads, streamed=streamed
            )
            if self.limit is None or estimate <= self.limit:
                if self.progress is not None:
                    self.progress(f"estimated peak memory {format_size(estimate)}", 1, 1, None)
                return not streamed
        assert self.limit is not None
        settings = self.kind.largest_settings(dataclasses.asdict(self.params))
        raise ResourceExhaustedError(
            f"memory_limit is {format_size(self.limit)}; building {shape[0]:,} vectors of dimension {shape[1]} with "
            f"{settings} needs about {format_size(estimate)}"
        )


def _load(data: Any, memory: _MemoryCheck, folder: Path) -> NDArray[Any]:
    """The vectors, once, in memory or mapped. The memory of the build is checked before they are read."""
    if not isinstance(data, (str, os.PathLike)):
        matrix = as_matrix(data)
        memory.fits_in_memory(matrix.shape, matrix.itemsize, may_stream=False)
        return matrix
    file = open_vectors(data)
    if not memory.fits_in_memory(file.shape, file.dtype.itemsize, may_stream=True):
        return _mapped(file, folder, memory.progress)
    vectors = np.empty(file.shape, file.dtype)
    file.read_into(vectors, _reading(memory.progress))
    return vectors


def _mapped(file: VectorFile, folder: Path, progress: BuildProgress | None) -> NDArray[Any]:
    """The vectors of a file without holding them; a format that cannot be mapped is copied to `folder` first."""
    mapped = file.mapped
    if mapped is not None and mapped.flags.c_contiguous:
        return mapped
    report = _reading(progress)
    require_free_space(folder, file.nbytes, f"copying {file.path}")
    with storage_errors(f"copying {file.path}", folder), tempfile.TemporaryFile(dir=folder) as copy:
        for first, block in file.chunks():
            copy.write(block.data)
            report(first + len(block), file.shape[0])
        copy.flush()
        # The file has no name any more and is gone with the last map of it.
        return np.asarray(np.memmap(copy, file.dtype, mode="r", shape=file.shape))


def _reading(progress: BuildProgress | None) -> Callable[[int, int], None]:
    return lambda done, total: None if progress is None else progress("reading vectors", done, total, None)


def _load_queries(queries: Any, vectors: NDArray[Any]) -> NDArray[Any]:
    if isinstance(queries, (str, os.PathLike)):
        file = open_vectors(queries)
        queries = file.rows(0, file.shape[0])
    matrix = as_queries(queries, vectors.dtype, vectors.shape[1], what="calibration_queries")
    check_finite(matrix, what="calibration_queries")
    _check_range(matrix, "calibration_queries")
    return matrix


def _check_threads(threads: int) -> int:
    if isinstance(threads, bool) or not isinstance(threads, int) or not 0 <= threads <= 1024:
        raise InvalidArgumentError(f"threads is {threads!r}; it must be 0 (all allowed CPUs) to 1024")
    return threads


def _check_seed(seed: int) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise InvalidArgumentError(f"seed is {seed!r}; it must be a whole number from 0 to 2^63 - 1")
    return seed


def _check_range(matrix: NDArray[Any], what: str, least: float = 0.0) -> None:
    if matrix.dtype != np.float32:  # the others' squares always fit
        return
    largest = max(float(matrix.max()), -float(matrix.min()))
    if 4 * matrix.shape[1] * largest**2 > _LARGEST_SQUARED_DISTANCE or 0 < largest < least:
        direction = "up" if largest < 1 else "down"
        raise InvalidArgumentError(
            f"{what} has values of up to {largest:g}; squared distances of such vectors leave the range of float32: "
            f"scale them {direction}"
        )


def _check_bytes(name: str, value: int | None) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0):
        raise InvalidArgumentError(f"{name} is {value!r}; it must be a whole number of bytes")


def _check_timeout(timeout_s: float | None) -> float | None:
    if timeout_s is None:
        return None
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)) or not timeout_s > 0:
        raise InvalidArgumentError(f"timeout_s is {timeout_s!r}; it must be a number above 0")
    return min(float(timeout_s), _LONGEST_TIMEOUT_S)


def _check_k(k: int) -> int:
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or not 1 <= k <= 10_000:
        raise InvalidArgumentError(f"k is {k!r}; it must be a whole number from 1 to 10000")
    return int(k)
