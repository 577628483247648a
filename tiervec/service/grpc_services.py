"""The gRPC adapter: messages to handlers, our errors to status codes. Nothing is decided here."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import grpc

from tiervec._core import CancelToken
from tiervec.errors import TiervecError
from tiervec.service import wire
from tiervec.service._generated import index_pb2, index_pb2_grpc, search_pb2, search_pb2_grpc
from tiervec.service.handlers import IndexHandler, SearchHandler
from tiervec.service.status_codes import status_code

__all__ = ["IndexService", "SearchService"]

_log = logging.getLogger(__name__)
_INTERNAL_MESSAGE = "internal error; the server's log has the details"
_LONGEST_MESSAGE = 1000  # characters; the status travels in a header, which gRPC limits to 8 KiB

Response = TypeVar("Response")


def _with_status(method: Callable[[Any, Any, Any], Response]) -> Callable[[Any, Any, Any], Response]:
    """Ends the call with the status code of the error that `method` raised; a client never sees a traceback."""

    @functools.wraps(method)
    def call(self: Any, request: Any, context: Any) -> Response:
        try:
            return method(self, request, context)
        except TiervecError as error:
            code, message = status_code(error), str(error)[:_LONGEST_MESSAGE]
            if code is grpc.StatusCode.INTERNAL:
                _log.exception("%s failed", method.__qualname__)
        except Exception:
            _log.exception("%s failed", method.__qualname__)
            code, message = grpc.StatusCode.INTERNAL, _INTERNAL_MESSAGE
        context.abort(code, message)
        raise AssertionError("abort raises")

    return call


class SearchService(search_pb2_grpc.SearchServiceServicer):
    """``tiervec.v1.SearchService``."""

    def __init__(self, handler: SearchHandler) -> None:
        self._handler = handler

    @_with_status
    def Search(self, request: search_pb2.SearchRequest, context: Any) -> search_pb2.SearchResponse:  # noqa: N802
        """Answers a batch of queries."""
        cancel = CancelToken()
        context.add_callback(cancel.cancel)  # when the call ends, also by a client that went away
        return wire.search_response(self._handler.search(wire.search_call(request, context.time_remaining(), cancel)))


class IndexService(index_pb2_grpc.IndexServiceServicer):
    """``tiervec.v1.IndexService``."""

    def __init__(self, handler: IndexHandler) -> None:
        self._handler = handler

    @_with_status
    def List(self, _request: index_pb2.ListIndexesRequest, _context: Any) -> index_pb2.ListIndexesResponse:  # noqa: N802
        """Describes all indexes."""
        return index_pb2.ListIndexesResponse(indexes=[wire.index_message(served) for served in self._handler.list()])

    @_with_status
    def Get(self, request: index_pb2.GetIndexRequest, _context: Any) -> index_pb2.Index:  # noqa: N802
        """Describes one index."""
        return wire.index_message(self._handler.get(request.name))
