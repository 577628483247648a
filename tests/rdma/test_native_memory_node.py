from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytest

from tiervec import _core
from tiervec.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnavailableError,
    UnsupportedError,
)

TOKEN = bytes(range(16))
REGION_BYTES = 1 << 20
URL = "tcp://node.example:7000/region"


@pytest.fixture
def memory() -> _core.NodeMemory:
    memory = _core.NodeMemory(REGION_BYTES + 4096, False)
    np.frombuffer(cast("Any", memory), dtype=np.uint8)[:] = np.arange(REGION_BYTES + 4096) % 251
    return memory


@pytest.fixture
def server(memory: _core.NodeMemory) -> Iterator[_core.RegionServer]:
    server = _core.RegionServer("127.0.0.1")
    server.serve(7, TOKEN, memory, 4096, REGION_BYTES)
    yield server
    server.stop()


def attachment(server: _core.RegionServer, **other: Any) -> _core.Attachment:
    given: dict[str, Any] = {
        "transport": "tcp",
        "host": "127.0.0.1",
        "port": server.port,
        "region_id": 7,
        "size_bytes": REGION_BYTES,
        "token": TOKEN,
    }
    return _core.Attachment(**(given | other))


def test_memory_is_a_writable_buffer() -> None:
    memory = _core.NodeMemory(100_000, False)
    view = memoryview(cast("Any", memory))
    assert (len(view), view.readonly, bytes(view[:3])) == (100_000, False, b"\0\0\0")
    view[10:14] = b"abcd"
    assert bytes(np.frombuffer(cast("Any", memory), dtype=np.uint8)[10:14]) == b"abcd"
    assert memory.address % 4096 == 0
    assert not memory.locked
    del memory  # the view keeps it alive
    assert bytes(view[10:14]) == b"abcd"


def test_memory_refuses_what_there_is_not() -> None:
    with pytest.raises(InvalidArgumentError, match="at least 1 byte, got 0"):
        _core.NodeMemory(0, False)
    with pytest.raises(ResourceExhaustedError, match=r"lend \d+ MiB, but only \d+ MiB are available"):
        _core.NodeMemory(1 << 50, False)


def test_a_tier_reads_through_the_server(server: _core.RegionServer) -> None:
    tier = _core.open_tcp_tier(URL, attachment(server))
    assert tier.url == URL
    assert tier.size_bytes == REGION_BYTES
    assert not tier.verified_at_open
    assert not tier.emulated
    assert tier.profile["source"] == "measured"
    before = server.stats()
    assert len(tier.measure_latency_ns(256, 20, 1)) == 20
    after = server.stats()
    assert after["reads"] == before["reads"] + 20
    assert after["bytes"] == before["bytes"] + 20 * 256
    kept = {"connections", "reads", "bytes", "refused", "over_share", "dropped", "cpu_seconds"}
    assert set(after) == kept | {
        "strangers",
        "max_connections",
        "max_connections_per_address",
        "max_strangers",
        "cut_turns",
        "largest_turn_bytes",
    }


def test_refusals_are_errors_of_their_class(server: _core.RegionServer) -> None:
    with pytest.raises(NotFoundError, match="does not serve the region of tcp://node"):
        _core.open_tcp_tier(URL, attachment(server, region_id=8))
    with pytest.raises(PermissionDeniedError, match="refuses the attach token"):
        _core.open_tcp_tier(URL, attachment(server, token=bytes(16)))
    assert server.stats()["refused"] == 2
    server.stop()
    with pytest.raises(UnavailableError, match=f"memory node 127.0.0.1:{server.port} does not answer"):
        _core.open_tcp_tier(URL, attachment(server), timeout_ms=1000)
    assert _core.open_tcp_tier(URL, attachment(server), check_at_open=False).profile["source"] == "nominal"


@pytest.mark.parametrize("size", [0, 15, 17])
def test_a_token_has_16_bytes(server: _core.RegionServer, memory: _core.NodeMemory, size: int) -> None:
    with pytest.raises(InvalidArgumentError, match=f"an attach token has 16 bytes, got {size}"):
        attachment(server, token=bytes(size))
    with pytest.raises(InvalidArgumentError, match=f"got {size}"):
        server.serve(9, bytes(size), memory, 0, 1)


def test_regions_come_and_go(server: _core.RegionServer, memory: _core.NodeMemory) -> None:
    with pytest.raises(AlreadyExistsError, match="region 7 is served already"):
        server.serve(7, TOKEN, memory, 0, 1)
    with pytest.raises(InvalidArgumentError, match="region 8 of 4097 bytes at 1048576 does not lie in a memory"):
        server.serve(8, TOKEN, memory, REGION_BYTES, 4097)
    server.withdraw(7)
    with pytest.raises(NotFoundError, match="region 7 is not served"):
        server.withdraw(7)
    server.serve(7, TOKEN, memory, 0, REGION_BYTES)
    _core.open_tcp_tier(URL, attachment(server))


def test_a_server_says_why_it_cannot_listen(server: _core.RegionServer) -> None:
    with pytest.raises(UnavailableError, match=f"cannot listen at 127.0.0.1:{server.port}"):
        _core.RegionServer("127.0.0.1", server.port)
    with pytest.raises(InvalidArgumentError, match="at least 1 thread"):
        _core.RegionServer("127.0.0.1", threads=0)


def test_a_browser_is_turned_away(server: _core.RegionServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as browser:
        browser.sendall(b"GET / HTTP/1.1\r\nHost: node\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert browser.recv(100) == b""
    assert server.stats()["refused"] == 1


def test_a_region_is_not_opened_like_a_file() -> None:
    assert _core.check_tier_url(URL)["scheme"] == "tcp"
    with pytest.raises(UnsupportedError, match="attached through the memory node's control plane"):
        _core.open_tier(URL, "/tmp/file")
    with pytest.raises(InvalidArgumentError, match="names the node 'node' without a port"):
        _core.check_tier_url("tcp://node/region")
