"""The public Python interface: build an index, open it on a tier, search it."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Awaitable, Iterator, Mapping
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiervec import _core
from tiervec.arguments.parameter_checks import (
    check_bytes,
    check_instance,
    check_k,
    check_path,
    check_text,
    check_threads,
    check_timeout,
)
from tiervec.arguments.sizes import format_size
from tiervec.attributes.row_filters import CompiledFilter, RowFilters
from tiervec.attributes.section import read_attributes
from tiervec.building import build, import_diskann, relayout
from tiervec.cluster_index.params import ClusterSearchParams
from tiervec.engine.receipt import Receipt
from tiervec.errors import (
    ResourceExhaustedError,
    UnavailableError,
)
from tiervec.graph_index.params import GraphSearchParams
from tiervec.index_files.directory import IndexDirectory
from tiervec.index_files.equal_rows import ListedCopies
from tiervec.index_files.info import IndexInfo
from tiervec.kinds.far_queries import SearchDrift
from tiervec.kinds.index_kind import IndexKind, NativeResult, OpenedIndex, begin_on_loop, search_natively
from tiervec.kinds.registry import index_kind
from tiervec.machine.processes import native_work, refuse_pickling, renew_in_children
from tiervec.rdma.remote_url import is_remote
from tiervec.search_plan import SearchPlan, SearchPlanner
from tiervec.vectors.arrays import as_queries

__all__ = ["Index", "IndexInfo", "SearchResult", "build", "import_diskann", "open", "relayout"]

_SIGNALS_S = 0.1  # so often a wait looks for signals

SearchParams = GraphSearchParams | ClusterSearchParams


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


def open(  # noqa: A001 - the contract's name
    path: str | os.PathLike[str], *, tier: str = "dram:", fast_memory: int | None = None, threads: int = 0
) -> Index:
    """Opens a saved index on a tier.

    Args:
        path: The index directory.
        tier: URL of the tier that holds the records: ``dram:``, ``mmap:``, ``emulated:rdma-200g``, ... or of memory
            nodes that the index was published to (``tcp://HOST:PORT/REGION``): the records then need not be at `path`.
        fast_memory: Bytes of fast memory that the index may take; refused when its codes alone need more. What the
            codes of a graph leave is filled with the records that searches read most. Clusters do not use it, and
            receipts note that. None: codes only.
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
    where = check_path("path", path)
    tier = check_text("tier", tier, "dram:")
    fast_memory, threads = check_bytes("fast_memory", fast_memory), check_threads(threads)
    directory = IndexDirectory.open(where, remote_tier=is_remote(tier))
    return Index(directory, tier=tier, fast_memory=fast_memory, threads=threads)


class Index:
    """An open index. Searches from several threads may run at the same time.

    Use `tiervec.open`. A context manager: leaving it closes the index.
    """

    def __init__(self, directory: IndexDirectory, *, tier: str, fast_memory: int | None, threads: int) -> None:
        self._info = IndexInfo.from_manifest(directory.path, directory.manifest)
        self._kind = index_kind(self._info.kind)
        if fast_memory is not None and fast_memory < self._info.fast_bytes:
            raise ResourceExhaustedError(
                f"fast_memory is {format_size(fast_memory)}; the codes of {directory.path} need "
                f"{format_size(self._info.fast_bytes)}"
            )
        self._threads = _core.resolve_threads(threads)
        with native_work():
            opened = self._kind.open(directory, tier)
        self._copies = ListedCopies.read(directory)
        self._notes: tuple[str, ...] = ()
        if fast_memory is not None:
            spare = fast_memory - self._info.fast_bytes
            taken = opened.fill_fast_memory(spare, self._threads)
            self._info = _with_fast_bytes(self._info, self._info.fast_bytes + taken)
            if taken == 0 < spare:
                self._notes = (
                    f"fast_memory is {format_size(fast_memory)}, of which the {self._info.kind} index takes "
                    f"{format_size(self._info.fast_bytes)}: it holds no records in the rest",
                )
        self._opened: OpenedIndex[Any] | None = opened
        self._url = str(opened.tier.url)  # not the tier itself: closing gives its memory back
        self._device: dict[str, Any] = dict(opened.tier.profile)
        self._emulated = bool(self._device["emulated"])
        self._drift = SearchDrift()
        self._filters = _filters(directory, self._kind, self._copies)
        self._planner: SearchPlanner | None = SearchPlanner(self._kind, self._info, opened, directory.manifest.vectors)
        self.renew_after_fork()
        renew_in_children(self)

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
        return self._emulated

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
            queries: (nq, dim), or (dim,) for one; float for float indexes, integers of the index's own range for
                integer ones.
            k: Neighbours per query.
            target_recall: Choose parameters from the calibration instead of giving them. A search that gives neither
                this nor a parameter that the calibration chooses aims at the index's own target, 0.95 unless the
                build set another. The receipt says which recall is expected.
            params: A mapping of search keys, or `GraphSearchParams` or `ClusterSearchParams`; with target_recall only
                keys that it does not choose.
            filter: Finds only vectors whose attributes match: a text such as ``year >= 2020 and lang in ["en", "de"]``,
                or the same as a tree of dicts; see docs/reference.md. There are k results whenever k vectors match.
            timeout_s: Seconds after which the search fails. None or infinity: no deadline.
            cancel: A `tiervec.CancelToken`; once another thread cancels it, the search ends.

        Returns:
            ids, distances and the receipt; see `SearchResult`.

        Raises:
            InvalidArgumentError: Wrong dim, dtype, NaN, k, parameters or filter.
            UnavailableError: The index is closed, or its tier cannot answer.
            DeadlineExceededError: timeout_s is over.
            CancelledError: `cancel` was cancelled.
            DataLossError: A record is not what was written.
        """
        matrix, k, timeout_s, compiled = self._asked(queries, k, filter, timeout_s, cancel)
        opened, planner = self._enter()
        try:
            plan = _filtered(planner.plan(k, target_recall, params), compiled)
            began = time.perf_counter()

            def find(asked: NDArray[Any], used: Any, left_s: float | None) -> NativeResult:
                return search_natively(
                    opened.searcher,
                    asked,
                    k,
                    used,
                    threads=self._threads if used.pipeline else 1,
                    timeout_s=left_s,
                    cancel=cancel,
                    latency_us=self._device["latency_us"],
                    row_filter=None if compiled is None else compiled.rows,
                )

            found = find(matrix, plan.params, timeout_s)
            far_queries = 0
            if plan.far is not None and plan.far.has_far(found, matrix, self._info.metric):
                found, far_queries = plan.far.search_again(
                    found, matrix, self._info.metric, lambda far, used: find(far, used, _time_left(timeout_s, began))
                )
            return self._result(opened, plan, matrix, k, found, far_queries, began, compiled)
        finally:
            self._leave()

    async def search_async(
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
        """Does what `search` does while the event loop goes on; any number of coroutines may wait, with no thread each.

        Worker threads of the index answer the queries of all callers together. Cancelling the task cancels its
        queries. The queries must not change before it has ended.

        Args:
            queries: As for `search`.
            k: As for `search`.
            target_recall: As for `search`.
            params: As for `search`; ``split`` of a cluster index changes nothing here.
            filter: As for `search`.
            timeout_s: As for `search`.
            cancel: As for `search`.

        Returns:
            ids, distances and the receipt; see `SearchResult`.

        Raises:
            TiervecError: As `search`.
            ResourceExhaustedError: Too many searches wait for a worker (4,096), or the system gives no thread.
            UnsupportedError: No event loop runs, or it was made before this process was forked.

        Example:
            >>> import asyncio, tempfile
            >>> import numpy as np
            >>> import tiervec
            >>> vectors = np.random.default_rng(0).random((1000, 16), np.float32)
            >>> async def ask(path):
            ...     with tiervec.open(path) as index:
            ...         return await asyncio.gather(*(index.search_async(vector, k=1) for vector in vectors[:3]))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     _ = tiervec.build(vectors, f"{folder}/index", kind="cluster")
            ...     [int(found.ids[0, 0]) for found in asyncio.run(ask(f"{folder}/index"))]
            [0, 1, 2]
        """
        matrix, k, timeout_s, compiled = self._asked(queries, k, filter, timeout_s, cancel)
        opened, planner = self._enter()
        try:
            plan = _filtered(planner.plan(k, target_recall, params), compiled)
            began = time.perf_counter()
            search = self._begin(opened, matrix, k, plan.params, timeout_s, cancel, compiled)
        finally:
            self._leave()
        found = await search
        far_queries = 0
        if plan.far is not None and plan.far.has_far(found, matrix, self._info.metric):
            # A close meanwhile did not wait for these: `opened` lives as long as it is used here.
            for batch in plan.far.far_batches(found, matrix, self._info.metric):
                left_s = _time_left(timeout_s, began)
                again = await self._begin(opened, batch.queries, k, batch.params, left_s, cancel)
                found, far_queries = batch.put(found, again), far_queries + len(batch.rows)
        return self._result(opened, plan, matrix, k, found, far_queries, began, compiled)

    def close(self) -> None:
        """Closes the index after the searches that run have ended. Closing twice is fine."""
        with self._state:
            opened, self._opened, self._planner = self._opened, None, None
            self._state.wait_for(lambda: self._running == 0)
        for search in list(self._pending):
            while not search.wait(_SIGNALS_S):
                pass  # a signal handler may run
        self._pending.clear()
        del opened

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def renew_after_fork(self) -> None:
        """In a forked child the searches of other threads do not run, and hold no lock."""
        self._lock = threading.RLock()  # a signal handler may search on the thread that holds it
        self._state = threading.Condition(self._lock)
        self._running = 0
        self._pending: set[_core.PendingSearch] = set()  # of coroutines

    def __reduce_ex__(self, protocol: Any) -> Any:
        refuse_pickling(
            f"the index {self._info.path}",
            f"pass the path and the tier, and call tiervec.open(path, tier={self.tier!r}) in the other process",
        )

    def __repr__(self) -> str:
        return f"<{self._info.kind} index {self._info.path!r} of {self._info.vectors:,} vectors on {self.tier}>"

    def _enter(self) -> tuple[OpenedIndex[Any], SearchPlanner]:
        with self._lock:
            if self._opened is None or self._planner is None:
                raise UnavailableError(f"the index {self._info.path} is closed")
            self._running += 1
            return self._opened, self._planner

    def _leave(self) -> None:
        with self._lock:
            # A search that was under way at a fork is not counted in the child.
            self._running = max(0, self._running - 1)
            if self._opened is None:
                self._state.notify_all()

    def _asked(
        self, queries: Any, k: int, filter: Any, timeout_s: float | None, cancel: _core.CancelToken | None
    ) -> tuple[NDArray[Any], int, float | None, CompiledFilter | None]:
        """(queries, k, timeout_s, filter), checked."""
        k = check_k(k)
        if timeout_s is not None:
            timeout_s = check_timeout("timeout_s", timeout_s)
        if cancel is not None:
            check_instance("cancel", cancel, _core.CancelToken, type(None))
        matrix = as_queries(queries, self._info.dtype, self._info.dim)
        return matrix, k, timeout_s, None if filter is None else self._filters.compiled(filter)

    def _begin(
        self,
        opened: OpenedIndex[Any],
        queries: NDArray[Any],
        k: int,
        used: Any,
        timeout_s: float | None,
        cancel: _core.CancelToken | None,
        compiled: CompiledFilter | None = None,
    ) -> Awaitable[NativeResult]:
        return begin_on_loop(
            opened.searcher,
            queries,
            k,
            used,
            threads=self._threads,
            timeout_s=timeout_s,
            cancel=cancel,
            running=self._pending,
            row_filter=None if compiled is None else compiled.rows,
        )

    def _result(
        self,
        opened: OpenedIndex[Any],
        plan: SearchPlan,
        queries: NDArray[Any],
        k: int,
        found: NativeResult,
        far_queries: int,
        began: float,
        compiled: CompiledFilter | None,
    ) -> SearchResult:
        drift = None
        if plan.far is not None:
            drift = self._drift.note(len(queries), far_queries, plan.far.usual_share)
        answer = found.ids, found.distances
        copies = self._copies if compiled is None else compiled.copies
        if copies is not None:
            answer = copies.expand(*answer)
        receipt = Receipt.of_fields(
            queries=len(queries),
            k=k,
            threads=found.threads,
            params=plan.shown.copy(),
            tier=self._url,
            emulated=self._emulated,
            reads=found.reads,
            bytes_read=found.bytes_read,
            rounds=found.rounds,
            code_distances=found.code_distances,
            hot_records=found.hot_records,
            rereads=found.rereads,
            cpu_us=found.cpu_us,
            waiting_us=found.waiting_us,
            wall_us=(time.perf_counter() - began) * 1e6,
            latency_us=found.latency_us,
            device=self._device,
            expected_recall=plan.expected_recall,
            matching=None if compiled is None else compiled.matching,
            plan=None if compiled is None else opened.filter_plan(compiled.rows, plan.params, k),
            notes=(*plan.notes, *([] if drift is None else [drift]), *self._notes, *self._notes_of(opened, found)),
        )
        return SearchResult(*answer, receipt)

    def _notes_of(self, opened: OpenedIndex[Any], found: NativeResult) -> Iterator[str]:
        # Of now: what a tier could not do may be known only since the search has opened its queues.
        if note := opened.tier.note:
            yield note
        if found.threads_refused:
            yield (
                f"{found.threads_refused} threads fewer worked than asked for: the system gave no more (ulimit -u, or "
                "pids.max of the container)"
            )
        if found.rescans:
            yield (
                f"{found.rescans} queries found too few matching vectors near them, and looked at more, or at all that "
                "match"
            )
        if found.rereads:
            yield (
                f"{found.rereads} of the reads repeated others on another replica, because a record was not what was "
                "written: a replica is damaged"
            )


def _filters(directory: IndexDirectory, kind: IndexKind[Any, Any], copies: ListedCopies | None) -> RowFilters:
    table = read_attributes(directory)
    order = None if table is None else kind.row_order(directory)
    return RowFilters(table, directory.manifest.vectors, order, copies, f"the index {directory.path}")


def _filtered(plan: SearchPlan, compiled: CompiledFilter | None) -> SearchPlan:
    """With a filter neighbours are farther than usual because nearer vectors do not match: none is searched again."""
    return plan if compiled is None else plan._replace(far=None)


def _time_left(timeout_s: float | None, began: float) -> float | None:
    return None if timeout_s is None else max(timeout_s - (time.perf_counter() - began), 1e-6)


def _with_fast_bytes(info: IndexInfo, fast_bytes: int) -> IndexInfo:
    return dataclasses.replace(info, fast_bytes=fast_bytes, fast_bytes_per_vector=fast_bytes / info.vectors)
