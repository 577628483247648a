"""The gRPC adapter: messages to handlers, our errors to status codes. Nothing is decided here."""

from __future__ import annotations

from typing import Any

from tiervec._core import CancelToken
from tiervec.rpc.answering import with_status
from tiervec.service import wire
from tiervec.service._generated import index_pb2, index_pb2_grpc, search_pb2, search_pb2_grpc
from tiervec.service.handlers import IndexHandler, SearchHandler

__all__ = ["IndexService", "SearchService"]


class SearchService(search_pb2_grpc.SearchServiceServicer):
    """``tiervec.v1.SearchService``."""

    def __init__(self, handler: SearchHandler) -> None:
        self._handler = handler

    @with_status
    def Search(self, request: search_pb2.SearchRequest, context: Any) -> search_pb2.SearchResponse:  # noqa: N802
        """Answers a batch of queries."""
        cancel = CancelToken()
        context.add_callback(cancel.cancel)  # when the call ends, also by a client that went away
        return wire.search_response(self._handler.search(wire.search_call(request, context.time_remaining(), cancel)))


class IndexService(index_pb2_grpc.IndexServiceServicer):
    """``tiervec.v1.IndexService``."""

    def __init__(self, handler: IndexHandler) -> None:
        self._handler = handler

    @with_status
    def List(self, _request: index_pb2.ListIndexesRequest, _context: Any) -> index_pb2.ListIndexesResponse:  # noqa: N802
        """Describes all indexes."""
        return index_pb2.ListIndexesResponse(indexes=[wire.index_message(served) for served in self._handler.list()])

    @with_status
    def Get(self, request: index_pb2.GetIndexRequest, _context: Any) -> index_pb2.Index:  # noqa: N802
        """Describes one index."""
        return wire.index_message(self._handler.get(request.name))
