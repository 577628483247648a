"""A small client of a TierVec server: the same results, receipts and errors as a local index.

Example:
    >>> from tiervec.client import Client
    >>> with Client("127.0.0.1:7700") as client:  # doctest: +SKIP
    ...     print(client.indexes())
    ...     result = client.search("peps", queries, k=5, target_recall=0.95)
    ...     print(result.ids[0], result.receipt.reads_per_query)
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tiervec.api import SearchResult
from tiervec.arguments.parameter_checks import check_fraction, check_instance, check_k, check_text, check_timeout, shown
from tiervec.errors import InvalidArgumentError
from tiervec.machine.processes import refuse_pickling
from tiervec.rpc.calling import ClientTls, Connection, grpc_timeout, translated
from tiervec.service import wire
from tiervec.service._generated import index_pb2, index_pb2_grpc, search_pb2, search_pb2_grpc
from tiervec.vectors.arrays import as_matrix

__all__ = ["Client"]


class Client:
    """A connection to a server; connects on the first call, reconnects by itself, is safe to use from many threads.

    In a forked child it connects anew; it cannot be pickled, but its address can.

    Args:
        address: ``HOST:PORT``.
        timeout_s: Seconds that a call may take unless the call says otherwise; None or infinity: no deadline.
        tls_ca: PEM file of the authorities to trust; given, the connection is encrypted. None: plain text.

    Raises:
        NotFoundError: The file ``tls_ca`` does not exist.
    """

    def __init__(
        self, address: str, *, timeout_s: float | None = 30.0, tls_ca: str | os.PathLike[str] | None = None
    ) -> None:
        address = check_text("address", address, "127.0.0.1:7700")
        self._timeout_s = check_timeout("timeout_s", timeout_s)
        # The server's limits bound what it sends; gRPC's default of 4 MiB would refuse legitimate responses.
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        kinds = (search_pb2_grpc.SearchServiceStub, index_pb2_grpc.IndexServiceStub, health_pb2_grpc.HealthStub)
        tls = None if tls_ca is None else ClientTls(ca=tls_ca)
        self._connection = Connection(address, tls, options, *kinds)
        self._address = address
        self._search, self._indexes, self._health = (functools.partial(self._connection.stub, kind) for kind in kinds)

    def search(
        self,
        index: str,
        queries: Any,
        k: int = 10,
        *,
        target_recall: float | None = None,
        params: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> SearchResult:
        """Asks an index of the server for the nearest neighbours of a batch of queries.

        Args:
            index: Name of the index on the server.
            queries: One query per row (a single one may be 1-d), as ``tiervec.vectors.arrays.as_matrix`` takes them.
            k: Neighbours per query.
            target_recall: Recall to aim at, above 0 and at most 1.
            params: Search parameters, for example ``{"search_list": 64, "pipeline": False}``.
            timeout_s: Seconds that the call may take, infinity for no deadline; None means the client's.

        Returns:
            ids (int64) and distances (float32) of shape (queries, k), padded with -1 and +inf, and the receipt.

        Raises:
            TiervecError: The subclass that a local index would raise, or UnavailableError without a server,
                DeadlineExceededError without an answer in time, ResourceExhaustedError above the server's limits.
        """
        k = check_k(k)
        if target_recall is not None:
            target_recall = check_fraction("target_recall", target_recall)
        check_instance("params", params, Mapping, type(None))
        deadline_s = self._timeout_s if timeout_s is None else check_timeout("timeout_s", timeout_s)
        matrix = as_matrix(np.atleast_2d(queries) if _is_one_vector(queries) else queries, what="queries")
        request = search_pb2.SearchRequest(
            index=check_text("index", index, "docs"),
            queries=wire.vectors_message(matrix),
            k=k,
            target_recall=target_recall,
            params=_texts({} if params is None else params),
        )
        response = self._call(self._search().Search, request, deadline_s)
        ids, distances = wire.result_arrays(response, len(matrix), k)
        return SearchResult(ids, distances, wire.receipt_from_message(response.receipt))

    def indexes(self) -> list[str]:
        """Names of the indexes that the server has open."""
        response = self._call(self._indexes().List, index_pb2.ListIndexesRequest(), self._timeout_s)
        return [index.name for index in response.indexes]

    def info(self, index: str) -> dict[str, Any]:
        """Describes an index: ``name``, ``tier``, ``emulated`` and the keys of ``tiervec info --json``.

        Raises:
            NotFoundError: The server has no index of that name.
        """
        request = index_pb2.GetIndexRequest(name=check_text("index", index, "docs"))
        return wire.index_document(self._call(self._indexes().Get, request, self._timeout_s))

    def is_serving(self, index: str = "") -> bool:
        """Whether the server says that an index can answer now; the empty name asks about the server as a whole.

        Raises:
            NotFoundError: The server has no index of that name.
            UnavailableError: No server answers at the address.
        """
        request = health_pb2.HealthCheckRequest(service=check_text("index", index, "docs"))
        response = self._call(self._health().Check, request, self._timeout_s)
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)

    def close(self) -> None:
        """Closes the connection; calls that run are cancelled."""
        self._connection.close()

    def __reduce_ex__(self, protocol: Any) -> Any:
        refuse_pickling(
            f"the client of {self._address}", f"make a Client({self._address!r}) in the other process, from its address"
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, method: Callable[..., Any], request: Any, timeout_s: float | None) -> Any:
        try:
            with self._connection.calling():
                return method(request, timeout=grpc_timeout(timeout_s))
        except grpc.RpcError as error:
            raise translated(error, self._address) from None
        except ValueError as error:
            raise InvalidArgumentError(f"the client of {self._address} cannot send this call: {error}") from None


def _is_one_vector(queries: Any) -> bool:
    return getattr(queries, "ndim", 0) == 1 or (isinstance(queries, list) and bool(queries) and np.isscalar(queries[0]))


def _texts(params: Mapping[str, Any]) -> dict[str, str]:
    return {check_text("a key of params", key, "search_list"): _as_text(value) for key, value in params.items()}


def _as_text(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "on" if value else "off"
    return shown(value) if not isinstance(value, str) else check_text("a value of params", value, "packed")
