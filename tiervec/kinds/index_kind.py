"""What the public API needs of a kind of index; `tiervec.kinds.registry` has the table of them."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from tiervec import _core
from tiervec.engine.calibration import CalibrationGrid
from tiervec.errors import DataLossError, InvalidArgumentError
from tiervec.index_files.directory import IndexDirectory
from tiervec.machine.interruptible import BuildProgress, run_search
from tiervec.machine.loop_searches import loop_searches
from tiervec.machine.processes import NoThreadError, native_work

__all__ = [
    "IndexBuild",
    "IndexKind",
    "NativeResult",
    "NativeSearcher",
    "OpenedIndex",
    "begin_on_loop",
    "changed_params",
    "search_natively",
]

B = TypeVar("B")
S = TypeVar("S")


@dataclass(frozen=True, kw_only=True, eq=False)
class IndexBuild(Generic[B]):
    """What a build works on.

    Attributes:
        vectors: (n, dim), C-contiguous, one of the four dtypes; for kinds that stream, it may be a mapped file.
        metric: ``l2``, ``ip`` or ``cosine``.
        labels: The user's id of each vector, or None for 0, 1, 2, ...
        params: Build parameters.
        threads: 0 means all allowed CPUs.
        seed: Seed for all randomness.
        progress: Progress callback or None.
        calibration_queries: Vectors like the queries to come, or None: some of the base vectors stand for them.
        memory_limit: Bytes that the build may take, or None.
        copies: What `write_copies` stores; None: no vector was left out as equal to another.
        attributes: What `write_attributes` stores, or None.
    """

    vectors: NDArray[Any]
    metric: str
    params: B
    labels: NDArray[np.int64] | None = None
    threads: int = 0
    seed: int = 0
    progress: BuildProgress | None = None
    calibration_queries: NDArray[Any] | None = field(default=None)
    memory_limit: int | None = None
    copies: NDArray[np.int64] | None = None
    attributes: NDArray[np.uint8] | None = None


class NativeResult(NamedTuple):
    """What the engine returned for one call: results and counters over all queries.

    Fields are in the order of the tuple that a native search returns, which `_core.search_result_fields()` names.

    Attributes:
        threads_refused: Threads that the system did not give; the others did all the work.
        rescans: Filtered queries that found too little as planned, and then looked at more or all of what matches.
    """

    ids: NDArray[np.int64]
    distances: NDArray[np.float32]
    latency_us: NDArray[np.float32]
    threads: int
    threads_refused: int
    cpu_us: float
    waiting_us: float
    reads: int
    rounds: int
    code_distances: int
    bytes_read: int
    hot_records: int
    rereads: int
    rescans: int


class NativeSearcher(Protocol):
    """The engine of one kind of index; its search takes the fields of the search parameters by name."""

    @property
    def search(self) -> Callable[..., tuple[Any, ...]]:
        """``search(queries, k, threads=..., cancel=..., timeout_s=..., **parameters)``; clusters: ``exclude``, too."""
        ...

    @property
    def plan(self) -> Callable[..., str]:
        """``plan(filter, k, *parameters)``: how such a search finds what a filter admits."""
        ...

    @property
    def submit(self) -> Callable[..., _core.PendingSearch]:
        """The same, and ``ended=..., ticket=...``: returns at once, with a search that workers answer meanwhile."""
        ...


def changed_params(
    directory: IndexDirectory, params: type[B], changes: Mapping[str, Any], changeable: tuple[str, ...]
) -> B:
    """The build parameters of an index, some of them changed.

    Raises:
        InvalidArgumentError: A parameter that cannot change without a new build.
        DataLossError: The manifest does not hold such parameters.
    """
    try:
        stored = params(**directory.manifest.params)
    except (TypeError, InvalidArgumentError) as error:
        raise DataLossError(f"{directory.path}: the manifest does not hold parameters of a build: {error}") from error
    for key, value in changes.items():
        if key not in changeable and value != getattr(stored, key):
            raise InvalidArgumentError(
                f"{key} cannot change without a new build; of a {directory.manifest.kind} index "
                f"{', '.join(changeable)} can"
            )
    return params(**{**directory.manifest.params, **changes})


def search_natively(
    searcher: NativeSearcher,
    queries: NDArray[Any],
    k: int,
    params: object,
    *,
    threads: int,
    exclude: NDArray[np.int64] | None = None,
    timeout_s: float | None = None,
    cancel: _core.CancelToken | None = None,
    latency_us: float = 0.0,
    row_filter: _core.RowFilter | None = None,
) -> NativeResult:
    """Answers queries (nq, dim) of the index's query dtype on a device with this latency of a read.

    Ctrl-C stops a long search within a moment. `exclude`, for clusters only, has one position per query
    that must not be found, or -1. With `row_filter` only rows that it admits are found.
    """
    token = _core.CancelToken() if cancel is None else cancel
    settings = vars(params) if exclude is None else {"exclude": exclude, **vars(params)}
    if row_filter is not None:
        settings = {"filter": row_filter, **settings}
    call = functools.partial(
        searcher.search, queries, k, threads=threads, cancel=token, timeout_s=timeout_s, **settings
    )
    try:
        return NativeResult._make(run_search(call, token.cancel, len(queries), latency_us))
    except NoThreadError:
        # Here it needs none: one worker, and Ctrl-C has to wait.
        with native_work(token.cancel):
            found = NativeResult._make(call())
        return found._replace(threads_refused=found.threads_refused + 1)


def begin_on_loop(
    searcher: NativeSearcher,
    queries: NDArray[Any],
    k: int,
    params: object,
    *,
    threads: int,
    timeout_s: float | None,
    cancel: _core.CancelToken | None,
    running: set[_core.PendingSearch],
    row_filter: _core.RowFilter | None = None,
) -> Awaitable[NativeResult]:
    """Begins what `search_natively` does; the running event loop goes on while the answer is awaited.

    The search is in `running` until it has ended.
    """
    submit = functools.partial(
        searcher.submit,
        queries,
        k,
        threads=threads,
        cancel=cancel,
        timeout_s=timeout_s,
        filter=row_filter,
        **vars(params),
    )
    return _native_result(loop_searches().begin(submit, timeout_s, running))


async def _native_result(answers: Awaitable[tuple[Any, ...]]) -> NativeResult:
    return NativeResult._make(await answers)


class OpenedIndex(ABC, Generic[S]):
    """An index on a tier.

    Attributes:
        tier: Where its big part is read.
        searcher: The engine.
        grid: The search parameters that ``target_recall`` chooses.
    """

    tier: _core.Tier
    searcher: NativeSearcher
    grid: CalibrationGrid

    @abstractmethod
    def fitted(self, params: S, k: int) -> S:
        """The parameters as the engine takes them for this index and `k`."""

    @abstractmethod
    def filter_plan(self, rows: _core.RowFilter, params: S, k: int) -> str:
        """How a search with these parameters finds what the filter admits: a word for the receipt."""

    def fill_fast_memory(self, spare_bytes: int, threads: int) -> int:
        """Uses fast memory that the codes leave; returns how many bytes it took."""
        del spare_bytes, threads
        return 0


class IndexKind(ABC, Generic[B, S]):
    """One kind of index.

    Attributes:
        name: As in ``kind=`` and the manifest.
        build_params: Dataclass of build parameters.
        search_params: Dataclass of search parameters.
        streams: True when `write` works on a mapped file that is larger than memory.
    """

    name: ClassVar[str]
    build_params: type[B]
    search_params: type[S]
    streams: ClassVar[bool] = False

    @abstractmethod
    def check_buildable(self, vectors: int, dim: int, params: B) -> None:
        """Refuses sizes that the formats cannot hold.

        Raises:
            InvalidArgumentError: It says which, and what would be right.
        """

    def least_vectors(self, params: B) -> int:
        """Vectors that an index with these parameters needs; see `check_buildable`."""
        del params
        return 2

    @abstractmethod
    def estimate_memory_bytes(
        self, vectors: int, dim: int, itemsize: int, params: B, threads: int, *, streamed: bool = False
    ) -> int:
        """Peak memory of a build in bytes, pages of mapped files apart; `streamed`: the vectors stay in their file."""

    @abstractmethod
    def write(self, build: IndexBuild[B], out: Path) -> None:
        """Builds the index and puts it at `out`, whole or not at all."""

    @abstractmethod
    def open(self, directory: IndexDirectory, tier_url: str) -> OpenedIndex[S]:
        """Verifies and loads the fast sections, opens the big part on the tier."""

    def row_order(self, directory: IndexDirectory) -> NDArray[np.uint32] | None:
        """(vectors,): the row of the data at each row of the engine, which filters count; None: they are the same."""
        del directory
        return None

    @abstractmethod
    def relayout(
        self,
        directory: IndexDirectory,
        out: Path,
        changes: Mapping[str, Any],
        *,
        memory_limit: int | None,
        threads: int,
        progress: BuildProgress | None,
    ) -> None:
        """Writes the index at `out` with other build parameters, whole or not at all.

        Raises:
            InvalidArgumentError: A parameter that cannot change without a new build.
        """

    def largest_settings(self, params: Mapping[str, Any]) -> str:
        """The build parameters that decide about memory, as an error names them."""
        return " and ".join(f"{key}={value}" for key, value in params.items())

    def facts(self, details: Mapping[str, Any]) -> list[tuple[str, str]]:
        """What `tiervec info` says of this kind only: names and sentences, from the details of the manifest."""
        del details
        return []
