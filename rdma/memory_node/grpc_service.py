"""The gRPC adapter of the memory node: tokens, messages to calls of `MemoryNode`, our errors to status codes."""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Iterator
from threading import BoundedSemaphore
from typing import Any, Final

import numpy as np

from tiervec.errors import (
    CancelledError,
    InvalidArgumentError,
    PermissionDeniedError,
    ResourceExhaustedError,
    TiervecError,
    UnsupportedError,
)
from tiervec.installed_version import installed_version
from tiervec.rdma.memory_node._generated import memory_node_pb2 as pb
from tiervec.rdma.memory_node._generated import memory_node_pb2_grpc
from tiervec.rdma.memory_node.names import EXTENT_BYTES, PROTOCOL_VERSION
from tiervec.rdma.memory_node.node import MemoryNode
from tiervec.rdma.memory_node.region import Region, RegionState
from tiervec.rdma.memory_node.scrubber import Scrubber
from tiervec.rdma.memory_node.tokens import Tokens
from tiervec.rpc.answering import with_status

__all__ = ["CONCURRENT_UPLOADS", "MemoryNodeService"]

_log = logging.getLogger(__name__)
CONCURRENT_UPLOADS: Final = 8
_LONGEST_HEADER: Final = 1024


class MemoryNodeService(memory_node_pb2_grpc.MemoryNodeServiceServicer):
    """``tiervec.v1.MemoryNodeService``.

    Args:
        node: What it speaks for.
        scrubber: For its rate.
        tokens: Who may do what; None: everybody everything.
        advertised_host: What readers are told about the data planes' host.
    """

    def __init__(self, node: MemoryNode, scrubber: Scrubber, tokens: Tokens | None, advertised_host: str) -> None:
        self._node = node
        self._scrubber = scrubber
        self._tokens = tokens
        self._advertised_host = advertised_host
        self._uploads = BoundedSemaphore(CONCURRENT_UPLOADS)
        self._began_at = time.monotonic()

    @with_status
    def Describe(self, _request: pb.DescribeNodeRequest, context: Any) -> pb.Node:  # noqa: N802
        """What this node is."""
        self._admit(context)
        return pb.Node(
            protocol=PROTOCOL_VERSION,
            version=installed_version(),
            capacity_bytes=self._node.capacity_bytes,
            used_bytes=self._node.used_bytes,
            transports=[plane.transport for plane in self._node.planes],
            extent_bytes=EXTENT_BYTES,
            persistent=self._node.persistent,
        )

    @with_status
    def Create(self, request: pb.CreateRegionRequest, context: Any) -> pb.Region:  # noqa: N802
        """Reserves memory, or says how far an upload got."""
        self._admit(context, to_write=True)
        return self._message(self._node.create(request.name, request.version, request.size_bytes), with_extents=True)

    @with_status
    def Upload(self, requests: Iterator[pb.UploadRequest], context: Any) -> pb.UploadResponse:  # noqa: N802
        """Takes extents."""
        self._admit(context, to_write=True)  # before a byte of the stream is read
        if not self._uploads.acquire(blocking=False):
            raise ResourceExhaustedError(f"{CONCURRENT_UPLOADS} uploads run at once, the most this node takes")
        try:
            return pb.UploadResponse(extents=self._take_extents(requests))
        except TiervecError:
            raise
        except Exception:
            if context.is_active():
                raise
            raise CancelledError("the client went away in the middle of an upload") from None
        finally:
            self._uploads.release()

    @with_status
    def Load(self, request: pb.LoadRegionRequest, context: Any) -> pb.Region:  # noqa: N802
        """Takes a file of the node's own disk."""
        self._admit(context, to_write=True)
        self._node.load(request.name, request.version, request.path, request.checksum)
        return self._message(self._node.seal(request.name, request.version), with_extents=True)

    @with_status
    def Seal(self, request: pb.SealRegionRequest, context: Any) -> pb.Region:  # noqa: N802
        """Verifies a region and lets readers in."""
        self._admit(context, to_write=True)
        return self._message(self._node.seal(request.name, _required(request.version)), with_extents=True)

    @with_status
    def Switch(self, request: pb.SwitchRegionRequest, context: Any) -> pb.Region:  # noqa: N802
        """Makes a version the current one."""
        self._admit(context, to_write=True)
        return self._message(self._node.switch(request.name, _required(request.version)))

    @with_status
    def Get(self, request: pb.GetRegionRequest, context: Any) -> pb.Region:  # noqa: N802
        """Describes a version."""
        self._admit(context)
        return self._message(self._node.get(request.name, request.version), with_extents=request.with_extents)

    @with_status
    def List(self, request: pb.ListRegionsRequest, context: Any) -> pb.ListRegionsResponse:  # noqa: N802
        """Describes all versions."""
        self._admit(context)
        return pb.ListRegionsResponse(regions=[self._message(region) for region in self._node.list(request.name)])

    @with_status
    def Delete(self, request: pb.DeleteRegionRequest, context: Any) -> pb.DeleteRegionResponse:  # noqa: N802
        """Removes a version."""
        self._admit(context, to_write=True)
        return pb.DeleteRegionResponse(freed_bytes=self._node.delete(request.name, request.version))

    @with_status
    def Attach(self, request: pb.AttachRegionRequest, context: Any) -> pb.Attachment:  # noqa: N802
        """Tells a reader where and how to read."""
        self._admit(context)
        attached = self._node.attach(request.name, request.version, request.transport)
        region = attached.region
        return pb.Attachment(
            version=region.version,
            transport=attached.transport,
            host=self._advertised_host,
            port=attached.port,
            region_id=region.region_id,
            size_bytes=region.size_bytes,
            token=region.token,
            remote_address=attached.key.remote_address,
            remote_key=attached.key.remote_key,
            checksum=region.digest(),
        )

    @with_status
    def Stats(self, _request: pb.NodeStatsRequest, context: Any) -> pb.NodeStats:  # noqa: N802
        """Counts."""
        self._admit(context)
        usage, counters = resource.getrusage(resource.RUSAGE_SELF), self._node.counters
        regions = self._node.list()
        return pb.NodeStats(
            capacity_bytes=self._node.capacity_bytes,
            used_bytes=self._node.used_bytes,
            regions=len(regions),
            damaged_regions=sum(region.state is RegionState.DAMAGED for region in regions),
            locked_bytes=sum(region.size_bytes for region in regions if region.is_locked),
            uptime_s=time.monotonic() - self._began_at,
            cpu_s=usage.ru_utime + usage.ru_stime,
            uploaded_extents=counters.uploaded_extents,
            refused_extents=counters.refused_extents,
            attaches=counters.attaches,
            refused_calls=counters.refused_calls,
            scrub=pb.Scrub(
                bytes_per_s=self._scrubber.bytes_per_s,
                extents_verified=counters.extents_verified,
                passes=counters.scrub_passes,
                extents_damaged=counters.extents_damaged,
                extents_repaired=counters.extents_repaired,
            ),
            data_planes=[
                pb.DataPlane(transport=plane.transport, port=plane.port, counters=dict(plane.stats()))
                for plane in self._node.planes
            ],
        )

    def _take_extents(self, requests: Iterator[pb.UploadRequest]) -> int:
        region: Region | None = None
        taken = 0
        for request in requests:
            if region is None:
                region = self._node.get(request.name, _required(request.version))
            elif request.name or request.version:
                raise InvalidArgumentError("only the first message of an upload names its region; a stream has one")
            self._node.write_extent(region, request.extent, request.checksum, request.data)
            taken += 1
        return taken

    def _admit(self, context: Any, *, to_write: bool = False) -> None:
        """Refuses other protocols and whoever shows no right token."""
        metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        protocol = metadata.get("tiervec-protocol")
        if protocol is not None and protocol != str(PROTOCOL_VERSION):
            self._node.counters.refused_calls += 1
            raise UnsupportedError(
                f"the client speaks version {protocol[:20]!r} of the control protocol and this memory node "
                f"{PROTOCOL_VERSION}; bring tiervec to the same version on both"
            )
        if self._tokens is None:
            return
        kind, _, given = metadata.get("authorization", "")[:_LONGEST_HEADER].partition(" ")
        try:
            self._tokens.check(given if kind.lower() == "bearer" else None, to_write=to_write)
        except PermissionDeniedError:
            self._node.counters.refused_calls += 1
            _log.warning("a call from %s was refused: no right token", context.peer())
            raise

    def _message(self, region: Region, *, with_extents: bool = False) -> pb.Region:
        whole = region.whole()
        sealed = region.state in (RegionState.READY, RegionState.DAMAGED)
        message = pb.Region(
            name=region.name,
            version=region.version,
            state=_STATES[region.state],
            size_bytes=region.size_bytes,
            current=self._node.is_current(region),
            extents_present=int(whole.sum()),
            extents=region.extents,
            checksum=region.digest() if sealed else 0,
            sealed_at_s=region.sealed_at_s,
            locked=region.is_locked,
            damage=region.damage,
        )
        if with_extents:
            message.extent_checksums.extend(np.where(whole, region.checksums, 0).tolist())
            message.present = np.packbits(whole, bitorder="little").tobytes()
        return message


_STATES: Final = {
    RegionState.RECEIVING: pb.REGION_STATE_RECEIVING,
    RegionState.LOADING: pb.REGION_STATE_LOADING,
    RegionState.READY: pb.REGION_STATE_READY,
    RegionState.DAMAGED: pb.REGION_STATE_DAMAGED,
    RegionState.DELETED: pb.REGION_STATE_UNSPECIFIED,
}


def _required(version: str) -> str:
    if not version:
        raise InvalidArgumentError("the call names no region version; it needs one")
    return version
