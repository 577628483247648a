"""Servers to attack, and a client that writes HTTP/2 frames by hand."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import h2.config
import h2.connection
import h2.events
import h2.settings
import numpy as np
import pytest

import tiervec
from tiervec.rdma.memory_node.configuration import MemoryNodeConfig
from tiervec.rdma.memory_node.server import MemoryNodeServer
from tiervec.rpc.limits import CallLimits
from tiervec.rpc.tokens import Tokens
from tiervec.service.catalogue import IndexCatalogue
from tiervec.service.configuration import Limits, ServeConfig
from tiervec.service.server import Server

TOKENS = Tokens(write="the-write-token-0001", read="the-read-token-00002")


@pytest.fixture
def rounds() -> range:
    """One round of an attack, or many where the attacks are to run for hours."""
    return range(max(1, int(os.environ.get("TIERVEC_FUZZ_ROUNDS", "0")) // 1000))


@pytest.fixture
def node() -> Callable[..., contextlib.AbstractContextManager[MemoryNodeServer]]:
    """``with node(max_streams=8) as server:`` a memory node that wants tokens."""

    @contextlib.contextmanager
    def factory(**limits: Any) -> Iterator[MemoryNodeServer]:
        config = MemoryNodeConfig(
            listen="127.0.0.1:0", capacity_bytes=64 << 20, lock_memory="no", scrub_bytes_per_s=0, tokens=TOKENS,
            limits=CallLimits(**limits),
        )  # fmt: skip
        with MemoryNodeServer(config) as server:
            yield server

    return factory


@pytest.fixture(scope="session")
def index_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("attacked") / "index"
    tiervec.build(np.random.default_rng(3).standard_normal((500, 8)).astype(np.float32), path)
    return path


@pytest.fixture
def search_server(index_path: Path) -> Callable[..., contextlib.AbstractContextManager[Server]]:
    """``with search_server(max_streams=8) as server:`` serves the index ``i`` of dim 8."""

    @contextlib.contextmanager
    def factory(**limits: Any) -> Iterator[Server]:
        index = tiervec.open(index_path, threads=1)
        config = ServeConfig(listen="127.0.0.1:0", probe_interval_s=3600, limits=Limits(**limits))
        with Server(IndexCatalogue({"i": index}), config) as server:
            yield server

    return factory


class RawConnection:
    """One HTTP/2 connection that sends what it is told.

    Args:
        address: ``HOST:PORT``.
        window: Bytes that the server may send on each stream; 0: none.
    """

    def __init__(self, address: str, window: int = 65535) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=60)
        config = h2.config.H2Configuration(header_encoding="utf-8")
        self._h2 = h2.connection.H2Connection(config)
        self._h2.initiate_connection()
        self._h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self._authority = address
        self.statuses: dict[int, tuple[int, str]] = {}
        self._flush()

    def open(self, method: str, data: bytes = b"", *, whole: bool = False, token: str | None = None) -> int:
        """Begins a call and sends `data` of its message; the stream's number. `whole` ends the client's side."""
        stream = self._h2.get_next_available_stream_id()
        headers = [
            (":method", "POST"), (":scheme", "http"), (":path", method), (":authority", self._authority),
            ("te", "trailers"), ("content-type", "application/grpc"),
        ]  # fmt: skip
        if token is not None:
            headers.append(("authorization", f"Bearer {token}"))
        self._h2.send_headers(stream, headers)
        if data or whole:
            self._h2.send_data(stream, data, end_stream=whole)
        self._flush()
        return stream

    def status(self, stream: int) -> tuple[int, str]:
        """Waits for the end of a call: its gRPC status and message."""
        while stream not in self.statuses:
            received = self.socket.recv(65536)
            assert received, "the server closed the connection"
            for event in self._h2.receive_data(received):
                if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                    headers = dict(event.headers)
                    if "grpc-status" in headers:
                        message = unquote(str(headers.get("grpc-message", "")))
                        self.statuses[event.stream_id] = (int(headers["grpc-status"]), message)
                elif isinstance(event, h2.events.StreamReset):
                    self.statuses.setdefault(event.stream_id, (-1, f"reset {event.error_code}"))
            self._flush()
        return self.statuses[stream]

    def close(self) -> None:
        """Drops the connection."""
        self.socket.close()

    def _flush(self) -> None:
        self.socket.sendall(self._h2.data_to_send())


@pytest.fixture
def raw() -> Iterator[Callable[..., RawConnection]]:
    """``raw(address, window=0)`` connects."""
    with contextlib.ExitStack() as opened:

        def connect(address: str, window: int = 65535) -> RawConnection:
            connection = RawConnection(address, window)
            opened.callback(connection.close)
            return connection

        yield connect
