"""The daemon: binds, loads what the disk holds, scrubs, and stops without losing a running call."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent import futures
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from tiervec.rdma.memory_node._generated import memory_node_pb2, memory_node_pb2_grpc
from tiervec.rdma.memory_node.configuration import MemoryNodeConfig
from tiervec.rdma.memory_node.data_planes import DataPlane, open_data_plane
from tiervec.rdma.memory_node.grpc_service import CONCURRENT_UPLOADS, MemoryNodeService
from tiervec.rdma.memory_node.names import EXTENT_BYTES
from tiervec.rdma.memory_node.node import MemoryNode
from tiervec.rdma.memory_node.scrubber import Scrubber
from tiervec.rdma.memory_node.storage import RegionStorage
from tiervec.rpc.foreground import run_until_signalled
from tiervec.rpc.listening import bind
from tiervec.sizes import format_size

__all__ = ["MemoryNodeServer"]

_log = logging.getLogger(__name__)
_OTHER_CALLS: Final = 8  # beside uploads
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
        self._executor = futures.ThreadPoolExecutor(
            CONCURRENT_UPLOADS + _OTHER_CALLS, thread_name_prefix="tiervec-node"
        )
        self._server = grpc.server(
            self._executor, options=_OPTIONS, maximum_concurrent_rpcs=4 * (CONCURRENT_UPLOADS + _OTHER_CALLS)
        )
        self._health = health.HealthServicer()
        with ExitStack() as opened:
            opened.callback(self._server.stop, 0)
            self._port = bind(self._server, config.listen, config.tls, config.client_ca)
            storage = None if config.data_dir is None else RegionStorage(config.data_dir)
            if storage is not None:
                opened.callback(storage.close)
            planes = _open_planes(config, storage, opened)
            self._node = MemoryNode(config.capacity_bytes, planes, storage, lock_memory=config.lock_memory)
            opened.pop_all()
        self._node.on_health = self._set_health
        self._scrubber = Scrubber(self._node, config.scrub_bytes_per_s)
        self._loader = threading.Thread(target=self._load, name="tiervec-loader", daemon=True)
        self._add_services()

    @property
    def address(self) -> str:
        """``HOST:PORT`` of the control plane as bound."""
        return f"{self._config.host}:{self._port}"

    @property
    def node(self) -> MemoryNode:
        """What it serves."""
        return self._node

    def start(self) -> None:
        """Begins to answer; returns at once. Stored regions become ready one after another."""
        for line in self._warnings():
            _log.warning("%s", line)
        self._set_health("", True)
        self._server.start()
        self._loader.start()
        self._scrubber.start()
        planes = ", ".join(f"{plane.transport} on port {plane.port}" for plane in self._node.planes)
        _log.info("lending %s on %s; readers: %s", format_size(self._config.capacity_bytes), self.address, planes)

    def stop(self, drain_s: float | None = None) -> None:
        """Stops: health says NOT_SERVING, new calls are refused, running ones finish, then readers are let go."""
        self._health.enter_graceful_shutdown()
        self._node.begin_stop()
        self._server.stop(self._config.drain_s if drain_s is None else drain_s).wait()
        self._executor.shutdown(wait=True)
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
            cut_short=lambda: self._server.stop(0),
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

    def _set_health(self, name: str, serving: bool) -> None:
        states = health_pb2.HealthCheckResponse
        self._health.set(name, states.SERVING if serving else states.NOT_SERVING)

    def _add_services(self) -> None:
        service = MemoryNodeService(self._node, self._scrubber, self._config.tokens, self._config.advertised_host)
        add_service: Any = memory_node_pb2_grpc.add_MemoryNodeServiceServicer_to_server
        add_service(service, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = [
            memory_node_pb2.DESCRIPTOR.services_by_name["MemoryNodeService"].full_name,
            health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
            reflection.SERVICE_NAME,
        ]
        reflection.enable_server_reflection(names, self._server)

    def _warnings(self) -> list[str]:
        config = self._config
        if config.tokens is None:
            reach = "every process of this machine" if config.is_loopback else "everybody who reaches this address"
            return [f"no token file: {reach} may read and replace the regions"]
        if config.tls is None and not config.is_loopback:
            return ["no TLS: tokens travel in plain text on the control plane; give --tls-cert and --tls-key"]
        return []


def _open_planes(config: MemoryNodeConfig, storage: RegionStorage | None, opened: ExitStack) -> list[DataPlane]:
    before = {} if storage is None else storage.ports()
    planes: list[DataPlane] = []
    for transport in config.transports:
        plane = open_data_plane(
            transport,
            config.bare_data_host,
            config.data_port,
            threads=config.data_threads,
            device=config.device,
            preferred_port=before.get(transport),
        )
        opened.callback(plane.close)
        planes.append(plane)
    if storage is not None:
        # A reader that lost its node comes back to the port it knows.
        storage.save_ports({**before, **{plane.transport: plane.port for plane in planes}})
    return planes


_OPTIONS: Final = [
    ("grpc.max_receive_message_length", _LARGEST_REQUEST),
    ("grpc.max_send_message_length", _LARGEST_RESPONSE),
    # Otherwise two servers on one port share it silently.
    ("grpc.so_reuseport", 0),
    # An upload whose client vanished does not hold its slot for ever.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
]
