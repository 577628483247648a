"""A client of a memory node's control plane, for publishing, attaching and looking."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Final, TypeVar

import grpc

from tiervec.arguments.parameter_checks import check_text
from tiervec.errors import TiervecError, UnavailableError, UnsupportedError
from tiervec.rdma.memory_node._generated import memory_node_pb2 as pb
from tiervec.rdma.memory_node._generated import memory_node_pb2_grpc
from tiervec.rdma.memory_node.names import PROTOCOL_VERSION
from tiervec.rpc.calling import Connection, handshake_failure, proxy_note, translated
from tiervec.rpc.credentials import Credentials

__all__ = ["MemoryNodeClient"]

_SEAL_BYTES_PER_S: Final = 50e6  # a node that verifies, and stores on a slow disk
_LONGEST_S: Final = 86400.0  # gRPC takes a much longer deadline for one that is over
Response = TypeVar("Response")
_OPTIONS: Final = [
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", -1),
    # An upload notices a node that vanished.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
]


class MemoryNodeClient:
    """A connection to a memory node; connects on the first call. Safe to use from many threads.

    Args:
        address: ``HOST:PORT`` of the control plane.
        credentials: None: those of the environment.
        timeout_s: Seconds that a short call may take.

    Every method raises the error that the node raised, the address in front; UnavailableError when there is no node,
    UnsupportedError when what answers is not a memory node, or one of another version.
    """

    def __init__(self, address: str, credentials: Credentials | None = None, *, timeout_s: float = 5.0) -> None:
        self.address = address
        self._credentials = Credentials.from_environment() if credentials is None else credentials
        self._timeout_s = timeout_s
        stub: Any = memory_node_pb2_grpc.MemoryNodeServiceStub
        self._connection = Connection(address, self._credentials.tls, _OPTIONS, stub)

    def describe(self) -> pb.Node:
        """What the node is."""
        return self._call(pb.Node, self._stub.Describe, pb.DescribeNodeRequest())

    def create(self, name: str, version: str, size_bytes: int) -> pb.Region:
        """Reserves memory, or says which extents of the version are there."""
        request = pb.CreateRegionRequest(name=name, version=version, size_bytes=size_bytes)
        # Locking the memory of a large region takes a while.
        return self._call(
            pb.Region, self._stub.Create, request, to_write=True, timeout_s=self._seal_timeout_s(size_bytes)
        )

    def upload(self, requests: Iterable[pb.UploadRequest]) -> int:
        """Sends extents; the first message names the region. Returns how many were taken."""
        response = self._call(pb.UploadResponse, self._stub.Upload, iter(requests), to_write=True, timeout_s=None)
        return int(response.extents)

    def load(self, name: str, version: str, path: str, checksum: str = "", *, size_bytes: int = 0) -> pb.Region:
        """Lets the node fill and seal a region from a file below its data directory."""
        request = pb.LoadRegionRequest(name=name, version=version, path=path, checksum=checksum)
        timeout_s = self._seal_timeout_s(size_bytes) if size_bytes else 3600.0
        return self._call(pb.Region, self._stub.Load, request, to_write=True, timeout_s=timeout_s)

    def seal(self, name: str, version: str, size_bytes: int) -> pb.Region:
        """Lets the node verify a region in its memory, store it and let readers in."""
        request = pb.SealRegionRequest(name=name, version=version)
        return self._call(
            pb.Region, self._stub.Seal, request, to_write=True, timeout_s=self._seal_timeout_s(size_bytes)
        )

    def switch(self, name: str, version: str) -> pb.Region:
        """Makes a version the current one."""
        return self._call(
            pb.Region, self._stub.Switch, pb.SwitchRegionRequest(name=name, version=version), to_write=True
        )

    def get(self, name: str, version: str = "", *, with_extents: bool = False) -> pb.Region:
        """Describes a version, or the current one."""
        request = pb.GetRegionRequest(name=name, version=version, with_extents=with_extents)
        return self._call(pb.Region, self._stub.Get, request)

    def list(self, name: str = "") -> list[pb.Region]:
        """Describes all versions, of one name or of all."""
        return list(self._call(pb.ListRegionsResponse, self._stub.List, pb.ListRegionsRequest(name=name)).regions)

    def delete(self, name: str, version: str) -> int:
        """Removes a version; returns the bytes that are free again."""
        request = pb.DeleteRegionRequest(
            name=check_text("region", name, "docs"), version=check_text("version", version, "0123456789abcdef")
        )
        return int(self._call(pb.DeleteRegionResponse, self._stub.Delete, request, to_write=True).freed_bytes)

    def attach(self, name: str, version: str, transport: str) -> pb.Attachment:
        """What a reader needs."""
        request = pb.AttachRegionRequest(name=name, version=version, transport=transport)
        return self._call(pb.Attachment, self._stub.Attach, request)

    def stats(self) -> pb.NodeStats:
        """Counts."""
        return self._call(pb.NodeStats, self._stub.Stats, pb.NodeStatsRequest())

    @property
    def _stub(self) -> Any:
        stub: Any = memory_node_pb2_grpc.MemoryNodeServiceStub
        return self._connection.stub(stub)

    def close(self) -> None:
        """Closes the connection; calls that run are cancelled."""
        self._connection.close()

    def __enter__(self) -> MemoryNodeClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _seal_timeout_s(self, size_bytes: int) -> float:
        return min(60.0 + size_bytes / _SEAL_BYTES_PER_S, _LONGEST_S)

    def _call(
        self,
        _kind: type[Response],  # the generated stubs have no types
        method: Callable[..., Any],
        request: Any,
        *,
        to_write: bool = False,
        timeout_s: float | None = -1.0,
    ) -> Response:
        metadata = [("tiervec-protocol", str(PROTOCOL_VERSION)), *self._credentials.metadata(to_write=to_write)]
        try:
            timeout_s = self._timeout_s if timeout_s == -1.0 else timeout_s
            with self._connection.calling():
                response: Response = method(request, timeout=timeout_s, metadata=metadata)
            return response
        except grpc.RpcError as error:
            raise self._error(error) from None
        except ValueError as error:  # the channel was closed
            raise UnavailableError(f"{self.address}: {error}") from None

    def _error(self, error: Any) -> TiervecError:
        code, details = error.code(), error.details() or ""
        if code is grpc.StatusCode.UNIMPLEMENTED and "ethod not found" in details:
            return UnsupportedError(
                f"{self.address} speaks gRPC, but is not a memory node, or one of an older tiervec; "
                f"start one there with `tiervec memory-node`"
            )
        unanswered = code is grpc.StatusCode.UNAVAILABLE and "failed to connect" in details
        if unanswered and handshake_failure(details) is None:
            return UnavailableError(
                f"{self.address}: no memory node answers ({_last_reason(details)}){proxy_note(self.address)}"
            )
        return translated(error, self.address)


def _last_reason(details: str) -> str:
    return details.rpartition(": ")[2] or details
