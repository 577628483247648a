"""The public Python interface: build an index, open it on a tier, search it."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiervec import _core
from tiervec.calibration import choose
from tiervec.errors import InvalidArgumentError, ResourceExhaustedError, UnavailableError, UnsupportedError
from tiervec.graph_index.build import (
    GraphBuild,
    check_buildable,
    estimate_memory_bytes,
    write_graph_index,
)
from tiervec.graph_index.opened import open_graph, search_graph
from tiervec.graph_index.params import GraphBuildParams, GraphSearchParams
from tiervec.index_directory import IndexDirectory, Manifest, check_out
from tiervec.interruptible import BuildProgress, run_interruptibly
from tiervec.rdma.remote_url import is_remote
from tiervec.receipt import Receipt
from tiervec.sizes import format_size
from tiervec.vector_files import open_vectors
from tiervec.vectors import as_matrix, as_queries, check_finite, check_ids

__all__ = ["Index", "IndexInfo", "SearchResult", "build", "open"]

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
        fast_bytes: Bytes that live in fast memory: codes, factors, record location, navigation sample, parameters.
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
    params: Mapping[str, Any] | GraphBuildParams | None = None,
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
        kind: ``graph``.
        metric: ``l2`` (squared), ``ip`` or ``cosine``.
        ids: n unique non-negative integers to return instead of 0, 1, 2, ...
        params: A mapping of build keys, or `GraphBuildParams`.
        memory_limit: Refuse the build when it is estimated to need more bytes than this.
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
    if kind != "graph":
        raise UnsupportedError(f"kind is {kind!r}; this version builds graph")
    if metric not in METRICS:
        raise InvalidArgumentError(f"metric is {metric!r}; it must be one of {', '.join(METRICS)}")
    build_params = _build_params(params)
    threads = _check_threads(threads)
    seed = _check_seed(seed)
    _check_bytes("memory_limit", memory_limit)
    target = check_out(out)
    vectors = _load(data, build_params, memory_limit, threads, progress)
    check_finite(vectors)
    _check_range(vectors, "data", least=_SMALLEST_VALUE)
    queries = None
    if calibration_queries is not None:
        queries = _load_queries(calibration_queries, vectors)
    labels = None if ids is None else check_ids(ids, len(vectors))
    write_graph_index(
        GraphBuild(
            vectors=vectors,
            metric=metric,
            params=build_params,
            labels=labels,
            threads=threads,
            seed=seed,
            progress=progress,
            calibration_queries=queries,
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


class Index:
    """An open index. Searches from several threads may run at the same time.

    Use `tiervec.open`. A context manager: leaving it closes the index.
    """

    def __init__(self, directory: IndexDirectory, *, tier: str, fast_memory: int | None, threads: int) -> None:
        self._info = IndexInfo.from_manifest(directory.path, directory.manifest)
        if self._info.kind != "graph":
            raise UnsupportedError(f"{directory.path} is a {self._info.kind} index; this version opens graph")
        if not isinstance(tier, str):
            raise InvalidArgumentError(f"tier is {tier!r}; it must be a URL such as dram:")
        _check_bytes("fast_memory", fast_memory)
        if fast_memory is not None and fast_memory < self._info.fast_bytes:
            raise ResourceExhaustedError(
                f"fast_memory is {format_size(fast_memory)}; the codes of {directory.path} need "
                f"{format_size(self._info.fast_bytes)}"
            )
        self._threads = _core.resolve_threads(threads)
        searcher, opened = open_graph(directory, tier)
        if fast_memory is not None:
            self._info = _with_hot_set(self._info, searcher, fast_memory, self._threads)
        self._searcher: _core.GraphSearcher | None = searcher
        self._url = str(opened.url)  # not the tier itself: closing gives its memory back
        self._device: dict[str, Any] = dict(opened.profile)
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
        params: Mapping[str, Any] | GraphSearchParams | None = None,
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
            params: A mapping of search keys, or `GraphSearchParams`; with target_recall only beam_width and pipeline.
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
        used, notes = self._search_params(k, target_recall, params)
        searcher = self._enter()
        try:
            began = time.perf_counter()
            threads = min(self._threads, len(matrix)) if used.pipeline else 1
            found = search_graph(
                searcher,
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
            searcher, self._searcher = self._searcher, None
            self._state.wait_for(lambda: self._running == 0)
        del searcher

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{self._info.kind} index {self._info.path!r} of {self._info.vectors:,} vectors on {self.tier}>"

    def _enter(self) -> _core.GraphSearcher:
        with self._state:
            if self._searcher is None:
                raise UnavailableError(f"the index {self._info.path} is closed")
            self._running += 1
            return self._searcher

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
        self, k: int, target_recall: float | None, params: Mapping[str, Any] | GraphSearchParams | None
    ) -> tuple[GraphSearchParams, tuple[str, ...]]:
        given = params if isinstance(params, GraphSearchParams) else _search_params({} if params is None else params)
        notes: tuple[str, ...] = ()
        used = given
        if target_recall is not None:
            fixed = [key for key in ("search_list", "stop_margin") if isinstance(params, Mapping) and key in params]
            if fixed:
                raise InvalidArgumentError(f"target_recall chooses {fixed[0]} itself; give one of the two")
            chosen = choose(self._info.calibration, k, target_recall, self._info.vectors)
            used = dataclasses.replace(given, search_list=chosen.search_list, stop_margin=chosen.stop_margin)
            notes = () if chosen.note is None else (chosen.note,)
        if not used.pipeline:
            used = dataclasses.replace(used, beam_width=1)
        # The list cannot hold more than there is, and must hold k.
        length = max(min(used.search_list, self._info.vectors), min(k, self._info.vectors))
        return dataclasses.replace(used, search_list=length), notes


def _with_hot_set(info: IndexInfo, searcher: _core.GraphSearcher, fast_memory: int, threads: int) -> IndexInfo:
    """Fills what the codes leave of `fast_memory` with hot records, and counts them."""
    before = searcher.fast_bytes
    token = _core.CancelToken()
    run_interruptibly(lambda: searcher.fill_hot_set(fast_memory - info.fast_bytes, threads, token), token.cancel)
    fast_bytes = info.fast_bytes + searcher.fast_bytes - before
    return dataclasses.replace(info, fast_bytes=fast_bytes, fast_bytes_per_vector=fast_bytes / info.vectors)


def _build_params(params: Mapping[str, Any] | GraphBuildParams | None) -> GraphBuildParams:
    if isinstance(params, GraphBuildParams):
        return params
    given = {} if params is None else params
    _check_keys(given, GraphBuildParams, "build")
    return GraphBuildParams(**given)


def _search_params(params: Mapping[str, Any]) -> GraphSearchParams:
    _check_keys(params, GraphSearchParams, "search")
    return GraphSearchParams(**params)


def _check_keys(given: Mapping[str, Any], params_class: type, what: str) -> None:
    if not isinstance(given, Mapping):
        raise InvalidArgumentError(f"params is a {type(given).__name__}; pass a mapping or {params_class.__name__}")
    known = [field.name for field in dataclasses.fields(params_class)]
    for key in given:
        if key not in known:
            raise InvalidArgumentError(f"unknown {what} parameter {key!r}; a graph index has {', '.join(known)}")


def _load(
    data: Any, params: GraphBuildParams, memory_limit: int | None, threads: int, progress: BuildProgress | None
) -> NDArray[Any]:
    """The vectors in memory, once. The memory of the build is estimated and checked before they are read."""
    if not isinstance(data, (str, os.PathLike)):
        matrix = as_matrix(data)
        _check_memory(matrix.shape, matrix.itemsize, params, memory_limit, threads, progress)
        return matrix
    file = open_vectors(data)
    _check_memory(file.shape, file.dtype.itemsize, params, memory_limit, threads, progress)
    vectors = np.empty(file.shape, file.dtype)

    def report(done: int, total: int) -> None:
        if progress is not None:
            progress("reading vectors", done, total, None)

    file.read_into(vectors, report)
    return vectors


def _check_memory(
    shape: tuple[int, ...],
    itemsize: int,
    params: GraphBuildParams,
    memory_limit: int | None,
    threads: int,
    progress: BuildProgress | None,
) -> None:
    check_buildable(shape[0], shape[1])
    estimate = estimate_memory_bytes(shape[0], shape[1], itemsize, params, threads)
    if progress is not None:
        progress(f"estimated peak memory {format_size(estimate)}", 1, 1, None)
    if memory_limit is not None and estimate > memory_limit:
        raise ResourceExhaustedError(
            f"memory_limit is {format_size(memory_limit)}; building {shape[0]:,} vectors of dimension {shape[1]} with "
            f"graph_degree={params.graph_degree} and code_bits={params.code_bits:g} needs about {format_size(estimate)}"
        )


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
