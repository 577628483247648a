"""The gRPC adapter of the memory node: tokens, and messages to calls of `MemoryNode`."""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Callable
from threading import BoundedSemaphore
from typing import Final

import numpy as np

from tiervec.errors import InvalidArgumentError, PermissionDeniedError, ResourceExhaustedError, UnsupportedError
from tiervec.machine.installed_version import installed_version
from tiervec.rdma.memory_node._generated import memory_node_pb2 as pb
from tiervec.rdma.memory_node._generated import memory_node_pb2_grpc
from tiervec.rdma.memory_node.names import EXTENT_BYTES, PROTOCOL_VERSION
from tiervec.rdma.memory_node.node import MemoryNode
from tiervec.rdma.memory_node.region import Region, RegionState
from tiervec.rdma.memory_node.scrubber import Scrubber
from tiervec.rpc.call import Call
from tiervec.rpc.tokens import Tokens

__all__ = ["CONCURRENT_UPLOADS", "WRITING_METHODS", "MemoryNodeService", "RegionUpload"]

_log = logging.getLogger(__name__)
CONCURRENT_UPLOADS: Final = 8
WRITING_METHODS: Final = frozenset(("Create", "Upload", "Load", "Seal", "Switch", "Delete"))
_LONGEST_HEADER: Final = 1024
_REFUSALS_EVERY_S: Final = 10.0  # lines about them in the log


class RegionUpload:
    """One upload stream: its first message names the region.

    Args:
        node: Where the extents go.
        release: Called once, at the end.
    """

    def __init__(self, node: MemoryNode, release: Callable[[], None]) -> None:
        self._node = node
        self._release = release
        self._region: Region | None = None
        self._taken = 0

    def take(self, request: pb.UploadRequest) -> None:
        """Takes one extent."""
        if self._region is None:
            self._region = self._node.get(request.name, _required(request.version))
        elif request.name or request.version:
            raise InvalidArgumentError("only the first message of an upload names its region; a stream has one")
        self._node.write_extent(self._region, request.extent, request.checksum, request.data)
        self._taken += 1

    def finish(self) -> pb.UploadResponse:
        """How many were taken."""
        return pb.UploadResponse(extents=self._taken)

    def close(self) -> None:
        """Makes room for another upload."""
        self._release()


class _Refusals:
    """Says in the log that strangers were refused, without letting them fill it."""

    def __init__(self) -> None:
        self._count = 0
        self._next_at = 0.0

    def note(self, address: str) -> None:
        self._count += 1
        now = time.monotonic()
        if now >= self._next_at:
            self._next_at = now + _REFUSALS_EVERY_S
            _log.warning("a call from %s was refused: no right token (%d such calls so far)", address, self._count)


class MemoryNodeService(memory_node_pb2_grpc.MemoryNodeServiceServicer):
    """``tiervec.v1.MemoryNodeService``.

    Args:
        node: What it speaks for.
        scrubber: For its rate.
        tokens: Tokens that allow writing and reading; None: every client may do everything.
        advertised_host: What readers are told about the data planes' host.
    """

    def __init__(self, node: MemoryNode, scrubber: Scrubber, tokens: Tokens | None, advertised_host: str) -> None:
        self._node = node
        self._scrubber = scrubber
        self._tokens = tokens
        self._advertised_host = advertised_host
        self._uploads = BoundedSemaphore(CONCURRENT_UPLOADS)
        self._refusals = _Refusals()
        self._began_at = time.monotonic()

    def Describe(self, _request: pb.DescribeNodeRequest, _call: Call) -> pb.Node:  # noqa: N802
        """What this node is."""
        return pb.Node(
            protocol=PROTOCOL_VERSION,
            version=installed_version(),
            capacity_bytes=self._node.capacity_bytes,
            used_bytes=self._node.used_bytes,
            transports=[plane.transport for plane in self._node.planes],
            extent_bytes=EXTENT_BYTES,
            persistent=self._node.persistent,
        )

    def Create(self, request: pb.CreateRegionRequest, _call: Call) -> pb.Region:  # noqa: N802
        """Reserves memory, or says how far an upload got."""
        return self._message(self._node.create(request.name, request.version, request.size_bytes), with_extents=True)

    def Upload(self, _requests: None, _call: Call) -> RegionUpload:  # noqa: N802
        """Takes extents."""
        if not self._uploads.acquire(blocking=False):
            raise ResourceExhaustedError(f"{CONCURRENT_UPLOADS} uploads run at once, the most this node takes")
        return RegionUpload(self._node, self._uploads.release)

    def Load(self, request: pb.LoadRegionRequest, _call: Call) -> pb.Region:  # noqa: N802
        """Takes a file of the node's own disk."""
        self._node.load(request.name, request.version, request.path, request.checksum)
        return self._message(self._node.seal(request.name, request.version), with_extents=True)

    def Seal(self, request: pb.SealRegionRequest, _call: Call) -> pb.Region:  # noqa: N802
        """Verifies a region and lets readers in."""
        return self._message(self._node.seal(request.name, _required(request.version)), with_extents=True)

    def Switch(self, request: pb.SwitchRegionRequest, _call: Call) -> pb.Region:  # noqa: N802
        """Makes a version the current one."""
        return self._message(self._node.switch(request.name, _required(request.version)))

    def Get(self, request: pb.GetRegionRequest, _call: Call) -> pb.Region:  # noqa: N802
        """Describes a version."""
        return self._message(self._node.get(request.name, request.version), with_extents=request.with_extents)

    def List(self, request: pb.ListRegionsRequest, _call: Call) -> pb.ListRegionsResponse:  # noqa: N802
        """Describes all versions."""
        return pb.ListRegionsResponse(regions=[self._message(region) for region in self._node.list(request.name)])

    def Delete(self, request: pb.DeleteRegionRequest, _call: Call) -> pb.DeleteRegionResponse:  # noqa: N802
        """Removes a version."""
        return pb.DeleteRegionResponse(freed_bytes=self._node.delete(request.name, request.version))

    def Attach(self, request: pb.AttachRegionRequest, _call: Call) -> pb.Attachment:  # noqa: N802
        """Tells a reader where and how to read."""
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

    def Stats(self, _request: pb.NodeStatsRequest, _call: Call) -> pb.NodeStats:  # noqa: N802
        """Counts."""
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

    def authorize(self, call: Call) -> None:
        """Refuses other protocols, and clients that show no right token.

        Raises:
            UnsupportedError: The client speaks another version of the protocol.
            PermissionDeniedError: It shows no token that grants this.
        """
        headers = call.headers()
        protocol = headers.get("tiervec-protocol")
        if protocol is not None and protocol != str(PROTOCOL_VERSION):
            self._node.counters.refused_calls += 1
            raise UnsupportedError(
                f"the client speaks version {protocol[:20]!r} of the control protocol and this memory node "
                f"{PROTOCOL_VERSION}; bring tiervec to the same version on both"
            )
        if self._tokens is None:
            return
        kind, _, given = headers.get("authorization", "")[:_LONGEST_HEADER].partition(" ")
        try:
            self._tokens.check(given if kind.lower() == "bearer" else None, to_write=call.method in WRITING_METHODS)
        except PermissionDeniedError:
            self._node.counters.refused_calls += 1
            self._refusals.note(call.address)
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
