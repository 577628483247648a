"""What the service does, without a transport: plain objects in, plain objects or our errors out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tiervec.errors import InvalidArgumentError, ResourceExhaustedError, TiervecError
from tiervec.kinds.parameters import parse_parameters, search_parameters_class

if TYPE_CHECKING:
    from tiervec._core import CancelToken
    from tiervec.api import Index, IndexInfo, SearchResult
    from tiervec.service.admission import Admission
    from tiervec.service.catalogue import IndexCatalogue
    from tiervec.service.configuration import Limits

__all__ = ["IndexHandler", "SearchCall", "SearchHandler", "ServedIndex"]

_RESULT_BYTES = np.dtype(np.int64).itemsize + np.dtype(np.float32).itemsize  # one neighbour: its id and its distance


@dataclass(frozen=True, kw_only=True)
class SearchCall:
    """A search as it arrived; nothing in it is checked yet.

    Attributes:
        index: Name of the index.
        dtype: ``"float32"``, ``"float16"``, ``"int8"`` or ``"uint8"``.
        dim: Components of one query.
        data: The queries, row-major and little-endian.
        k: Neighbours per query.
        target_recall: Recall to aim at, or None.
        params: Search parameters in text form.
        time_left_s: Seconds until the caller stops waiting, or None.
        cancel: Cancelled when the caller has gone, or None.
    """

    index: str
    dtype: str
    dim: int
    data: bytes
    k: int
    target_recall: float | None = None
    params: Mapping[str, str]
    time_left_s: float | None = None
    cancel: CancelToken | None = None


@dataclass(frozen=True, kw_only=True)
class ServedIndex:
    """An index of this server as its clients see it."""

    name: str
    tier: str
    emulated: bool
    info: IndexInfo


class SearchHandler:
    """Answers searches. Safe to call from many threads at once.

    Args:
        catalogue: The open indexes.
        limits: Bounds on a call.
        admission: Bounds on calls at once.
    """

    def __init__(self, catalogue: IndexCatalogue, limits: Limits, admission: Admission) -> None:
        self._catalogue = catalogue
        self._limits = limits
        self._admission = admission

    def search(self, call: SearchCall) -> SearchResult:
        """Checks a call and runs it; everything is checked before the first read.

        Raises:
            TiervecError: The subclass that says what is wrong; see ``search.proto`` for the list.
        """
        index = self._catalogue.get(call.index)
        queries = self._queries(call, index.info)
        self._check_k(call.k, len(queries))
        if call.target_recall is not None and not 0 < call.target_recall <= 1:
            raise InvalidArgumentError(f"target_recall is {call.target_recall}; it must be above 0 and at most 1")
        kind = index.info.kind
        params = parse_parameters(search_parameters_class(kind), call.params, f"search of a {kind} index")
        with self._admission.slot(call.time_left_s) as time_left_s:
            return self._run(call, index, queries, params, time_left_s)

    def _run(
        self,
        call: SearchCall,
        index: Index,
        queries: NDArray[Any],
        params: dict[str, Any],
        time_left_s: float | None,
    ) -> SearchResult:
        try:
            result = index.search(
                queries,
                call.k,
                target_recall=call.target_recall,
                params=params or None,
                timeout_s=time_left_s,
                cancel=call.cancel,
            )
        except TiervecError as error:
            self._catalogue.failed(call.index, error, queries[:1])
            raise
        self._catalogue.answered(call.index)
        return result

    def _queries(self, call: SearchCall, info: IndexInfo) -> NDArray[Any]:
        if call.dim != info.dim:
            raise InvalidArgumentError(f"queries have dim {call.dim}, but the index {call.index!r} has dim {info.dim}")
        dtype = np.dtype(call.dtype).newbyteorder("<")
        row_bytes = call.dim * dtype.itemsize
        if not call.data:
            raise InvalidArgumentError("queries have no rows; send at least one vector")
        if len(call.data) % row_bytes:
            raise InvalidArgumentError(
                f"queries have {len(call.data)} bytes; it must be a multiple of {row_bytes}, "
                f"the size of a {dtype.name} vector of dim {call.dim}"
            )
        rows = len(call.data) // row_bytes
        if rows > self._limits.max_batch_queries:
            raise ResourceExhaustedError(
                f"the call has {rows} queries; this server takes at most {self._limits.max_batch_queries} in one call"
            )
        # A view of the message's bytes. Index.search checks dtype and values against the index.
        return np.frombuffer(call.data, dtype=dtype).reshape(rows, call.dim)

    def _check_k(self, k: int, queries: int) -> None:
        if not 1 <= k <= self._limits.max_k:
            raise InvalidArgumentError(f"k is {k}; this server takes 1 to {self._limits.max_k}")
        response_bytes = queries * k * _RESULT_BYTES
        if response_bytes > self._limits.max_message_bytes:
            raise ResourceExhaustedError(
                f"{queries} queries with k={k} make a response of {response_bytes} bytes; this server sends at most "
                f"{self._limits.max_message_bytes}"
            )


class IndexHandler:
    """Describes the open indexes.

    Args:
        catalogue: The open indexes.
    """

    def __init__(self, catalogue: IndexCatalogue) -> None:
        self._catalogue = catalogue

    def list(self) -> list[ServedIndex]:
        """All indexes, by name."""
        return [_served(name, index) for name, index in self._catalogue]

    def get(self, name: str) -> ServedIndex:
        """One index.

        Raises:
            NotFoundError: There is none of that name.
        """
        return _served(name, self._catalogue.get(name))


def _served(name: str, index: Index) -> ServedIndex:
    return ServedIndex(name=name, tier=index.tier, emulated=index.emulated, info=index.info)
