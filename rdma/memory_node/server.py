"""The daemon: binds, loads what the disk holds, scrubs, and stops without losing a running call."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Final

from tiervec.arguments.sizes import format_size
from tiervec.machine.processes import starting_threads
from tiervec.rdma.memory_node._generated import memory_node_pb2_grpc
from tiervec.rdma.memory_node.configuration import MemoryNodeConfig
from tiervec.rdma.memory_node.data_planes import DataPlane, open_data_plane
from tiervec.rdma.memory_node.grpc_service import CONCURRENT_UPLOADS, WRITING_METHODS, MemoryNodeService
from tiervec.rdma.memory_node.names import EXTENT_BYTES
from tiervec.rdma.memory_node.node import MemoryNode
from tiervec.rdma.memory_node.scrubber import Scrubber
from tiervec.rdma.memory_node.storage import RegionStorage
from tiervec.rpc.certificates import certificate_problem
from tiervec.rpc.foreground import run_until_signalled
from tiervec.rpc.lanes import Lane
from tiervec.rpc.limits import CallLimits
from tiervec.rpc.serving import RpcServer

__all__ = ["MemoryNodeServer"]

_log = logging.getLogger(__name__)
_CALLS_PER_THREAD: Final = 8  # that run or wait for it
_LARGEST_REQUEST: Final = EXTENT_BYTES + (64 << 10)
_LARGEST_RESPONSE: Final = 64 << 20  # checksums of the extents of an 8 TiB region


class MemoryNodeServer:
    """A memory node that answers until it is stopped.

    Binding happens on construction, so that a taken port is an error before anything runs.

    Args:
        config: Checked already.

    Raises:
        UnavailableError: A port is taken, or another node uses the data directory.
        UnsupportedError: rdma was asked for and cannot be had.
        NotFoundError, InvalidArgumentError: A TLS file is missing or unusable.
        ResourceExhaustedError: The stored regions do not fit the capacity.
    """

    def __init__(self, config: MemoryNodeConfig) -> None:
        self._config = config
        with ExitStack() as opened:
            self._server = RpcServer(
                config.listen,
                tls=config.tls,
                client_ca=config.client_ca,
                limits=config.limits,
                max_request_bytes=_LARGEST_REQUEST,
                max_response_bytes=_LARGEST_RESPONSE,
                authorize=lambda call: self._service.authorize(call),
            )
            opened.callback(self._server.stop, 0.0)
            storage = None if config.data_dir is None else RegionStorage(config.data_dir)
            if storage is not None:
                opened.callback(storage.close)
            planes = _open_planes(config, storage, opened)
            self._node = MemoryNode(config.capacity_bytes, planes, storage, lock_memory=config.lock_memory)
            opened.pop_all()
        self._node.on_health = self._server.health.set
        self._scrubber = Scrubber(self._node, config.scrub_bytes_per_s)
        self._loader = threading.Thread(target=self._load, name="tiervec-loader", daemon=True)
        self._service = MemoryNodeService(self._node, self._scrubber, config.tokens, config.advertised_host)
        self._add_service(config.limits)

    @property
    def address(self) -> str:
        """``HOST:PORT`` of the control plane as bound."""
        return self._server.address

    @property
    def node(self) -> MemoryNode:
        """What it serves."""
        return self._node

    def start(self) -> None:
        """Begins to answer; returns at once. Stored regions become ready one after another."""
        for line in self._warnings():
            _log.warning("%s", line)
        self._server.start()
        with starting_threads("loading regions"):
            self._loader.start()
        self._scrubber.start()
        planes = ", ".join(f"{plane.transport} on port {plane.port}" for plane in self._node.planes)
        _log.info("lending %s on %s; readers: %s", format_size(self._config.capacity_bytes), self.address, planes)

    def stop(self, drain_s: float | None = None) -> None:
        """Stops: health says NOT_SERVING, new calls are refused, running ones finish, then readers are let go."""
        self._node.begin_stop()
        self._server.stop(self._config.drain_s if drain_s is None else drain_s)
        self._scrubber.stop()
        if self._loader.is_alive():
            self._loader.join()
        self._node.close()

    def run_until_signalled(self, on_ready: Callable[[], None]) -> None:
        """Starts, and stops at SIGTERM or SIGINT; a second signal ends the draining at once. Main thread only.

        Args:
            on_ready: Called once calls are answered.
        """
        run_until_signalled(
            start=self.start,
            stop=self.stop,
            cut_short=self._server.cut_short,
            on_ready=on_ready,
            drain_s=self._config.drain_s,
        )

    def __enter__(self) -> MemoryNodeServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _load(self) -> None:
        try:
            self._node.load_stored()
        except Exception:
            _log.exception("loading the stored regions failed")

    def _add_service(self, limits: CallLimits) -> None:
        def lane(what: str, threads: int) -> Lane:
            most = threads * _CALLS_PER_THREAD
            return self._server.lane(what, threads=threads, limit=most, limit_per_peer=limits.calls_per_peer(most))

        # Sealing and loading take long, and readers do not wait for them.
        reading, writing, uploads = lane("calls", 4), lane("calls that write", 8), lane("uploads", CONCURRENT_UPLOADS)

        def lane_of(method: str) -> Lane:
            return uploads if method == "Upload" else writing if method in WRITING_METHODS else reading

        add = memory_node_pb2_grpc.add_MemoryNodeServiceServicer_to_server
        self._server.add_service(add, self._service, lane_of)

    def _warnings(self) -> list[str]:
        config = self._config
        lines = [] if config.tls is None else config.tls.warnings()
        if config.tls is not None and (problem := certificate_problem(config.tls.cert, config.tls.key)) is not None:
            # Not refused: readers that were let in before go on, on the data plane, which knows no certificate.
            lines.append(
                f"{problem}: no client can publish or attach until the node is started with another certificate; "
                f"readers that are attached go on"
            )
        if config.tokens is None:
            reach = "every process of this machine" if config.is_loopback else "everybody who reaches this address"
            lines.append(f"no token file: {reach} may read and replace the regions")
        elif config.tls is None and not config.is_loopback:
            lines.append("no TLS: tokens travel in plain text on the control plane; give --tls-cert and --tls-key")
        return lines


def _open_planes(config: MemoryNodeConfig, storage: RegionStorage | None, opened: ExitStack) -> list[DataPlane]:
    before = {} if storage is None else storage.ports()
    planes: list[DataPlane] = []
    for transport in config.transports:
        plane = open_data_plane(
            transport,
            config.bare_data_host,
            config.data_port,
            threads=config.data_threads,
            max_per_address=config.max_readers_per_address,
            device=config.device,
            preferred_port=before.get(transport),
        )
        opened.callback(plane.close)
        planes.append(plane)
    if storage is not None:
        # A reader that lost its node comes back to the port it knows.
        storage.save_ports({**before, **{plane.transport: plane.port for plane in planes}})
    return planes
