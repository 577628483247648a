"""The gRPC adapter: messages to handlers. Nothing is decided here; `tiervec.rpc.serving` calls it in threads."""

from __future__ import annotations

from tiervec._core import CancelToken
from tiervec.rpc.call import Call
from tiervec.service import wire
from tiervec.service._generated import index_pb2, index_pb2_grpc, search_pb2, search_pb2_grpc
from tiervec.service.handlers import IndexHandler, SearchHandler

__all__ = ["IndexService", "SearchService"]


class SearchService(search_pb2_grpc.SearchServiceServicer):
    """``tiervec.v1.SearchService``."""

    def __init__(self, handler: SearchHandler) -> None:
        self._handler = handler

    def Search(self, request: search_pb2.SearchRequest, call: Call) -> search_pb2.SearchResponse:  # noqa: N802
        """Answers a batch of queries."""
        cancel = CancelToken()
        call.on_end(cancel.cancel)  # also by a client that went away
        return wire.search_response(self._handler.search(wire.search_call(request, call.time_left_s(), cancel)))


class IndexService(index_pb2_grpc.IndexServiceServicer):
    """``tiervec.v1.IndexService``."""

    def __init__(self, handler: IndexHandler) -> None:
        self._handler = handler

    def List(self, _request: index_pb2.ListIndexesRequest, _call: Call) -> index_pb2.ListIndexesResponse:  # noqa: N802
        """Describes all indexes."""
        return index_pb2.ListIndexesResponse(indexes=[wire.index_message(served) for served in self._handler.list()])

    def Get(self, request: index_pb2.GetIndexRequest, _call: Call) -> index_pb2.Index:  # noqa: N802
        """Describes one index."""
        return wire.index_message(self._handler.get(request.name))
