"""From a URL to what the nodes said; the data plane is tested elsewhere."""

from __future__ import annotations

import socket
from typing import Any

import numpy as np
import pytest

from tiervec.errors import (
    DataLossError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)
from tiervec.rdma import attach as module
from tiervec.rdma.attach import Content, attach
from tiervec.rdma.memory_node.client import MemoryNodeClient
from tiervec.rdma.memory_node.names import EXTENT_BYTES
from tiervec.rdma.remote_url import RemoteUrl
from tiervec.rpc.credentials import Credentials
from tiervec.rpc.tokens import Tokens

SIZE = 2 * EXTENT_BYTES + 10
DATA = np.random.default_rng(3).bytes(SIZE)
VERSION = "0123456789abcdef"
CONTENT = Content(size_bytes=SIZE, checksum=VERSION)


def url_of(*nodes: str) -> RemoteUrl:
    return RemoteUrl.parse(f"tcp://{','.join(nodes)}/sift")


@pytest.fixture
def nobody() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def put(sending: Any, address: str, version: str = VERSION, data: bytes = DATA) -> None:
    with MemoryNodeClient(address, Credentials()) as client:
        sending.put(client, "sift", version, data)


def test_two_replicas(lend: Any, sending: Any, anonymous: Credentials) -> None:
    with lend() as first, lend() as second:
        for server in (first, second):
            put(sending, server.address)
        attached = attach(url_of(first.address, second.address), CONTENT, anonymous)
        assert [[stripe.node for stripe in replica] for replica in attached] == [[first.address], [second.address]]
        one, other = attached[0][0], attached[1][0]
        assert (one.host, one.port, one.size_bytes) == ("127.0.0.1", first.node.planes[0].port, SIZE)
        assert one.token != other.token
        assert one.token.hex() not in repr(one)
        assert repr(one.token) not in repr(one)


def test_a_replica_that_is_down_is_left_out(
    lend: Any, sending: Any, anonymous: Credentials, nobody: str, caplog: pytest.LogCaptureFixture
) -> None:
    with lend() as server:
        put(sending, server.address)
        (replica,) = attach(url_of(nobody, server.address), CONTENT, anonymous)
        assert replica[0].node == server.address
    assert f"a replica of sift is left out: {nobody}: no memory node answers" in caplog.text
    with pytest.raises(UnavailableError, match=f"{nobody}: no memory node answers"):
        attach(url_of(nobody), CONTENT, anonymous)


def test_a_damaged_replica_is_left_out(lend: Any, sending: Any, anonymous: Credentials) -> None:
    with lend() as first, lend() as second:
        for server in (first, second):
            put(sending, server.address)
        region = first.node.get("sift")
        region.extent(0)[0] ^= 1
        first.node.verify_extent(region, 0)
        (replica,) = attach(url_of(first.address, second.address), CONTENT, anonymous)
        assert replica[0].node == second.address
        with pytest.raises(DataLossError, match=f"{first.address}: region sift version {VERSION} is damaged"):
            attach(url_of(first.address), CONTENT, anonymous)


def test_a_region_of_another_index(lend: Any, sending: Any, anonymous: Credentials) -> None:
    with lend() as server:
        put(sending, server.address)
        url = url_of(server.address)
        other = Content(size_bytes=SIZE, checksum="fedcba9876543210")
        with pytest.raises(NotFoundError, match=rf"in version {VERSION}, but not in version fedcba.*`tiervec publish`"):
            attach(url, other, anonymous)
        for size, word in ((SIZE + 1, "smaller"), (SIZE - 1, "larger")):
            with pytest.raises(InvalidArgumentError, match=f"{word} than the manifest says: {size:,}"):
                attach(url, Content(size_bytes=size, checksum=VERSION), anonymous)
        with pytest.raises(NotFoundError, match="no region 'deep'"):
            attach(RemoteUrl.parse(f"tcp://{server.address}/deep"), CONTENT, anonymous)


def test_a_replica_without_the_version_is_an_error_and_not_left_out(
    lend: Any, sending: Any, anonymous: Credentials
) -> None:
    with lend() as first, lend() as second:
        put(sending, first.address)
        with pytest.raises(NotFoundError, match=f"{second.address}: this memory node has no region 'sift'"):
            attach(url_of(first.address, second.address), CONTENT, anonymous)


@pytest.mark.parametrize(("given", "taken"), [("", 5.0), ("?timeout_ms=200", 5.0), ("?timeout_ms=7500", 7.5)])
def test_it_waits_as_long_as_the_url_says(
    given: str, taken: float, lend: Any, sending: Any, anonymous: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    class NotingClient(MemoryNodeClient):
        def __init__(self, *arguments: Any, timeout_s: float) -> None:
            waits.append(timeout_s)
            super().__init__(*arguments, timeout_s=timeout_s)

    with lend() as server:
        put(sending, server.address)
        monkeypatch.setattr(module, "MemoryNodeClient", NotingClient)
        assert attach(RemoteUrl.parse(f"tcp://{server.address}/sift{given}"), CONTENT, anonymous)
    assert waits == [taken]


def test_a_wrong_token(lend: Any, sending: Any) -> None:
    tokens = Tokens(write="the-write-token-0001", read="the-read-token-00002")
    with lend(tokens=tokens) as server:
        with MemoryNodeClient(server.address, Credentials(tokens=tokens)) as client:
            sending.put(client, "sift", VERSION, DATA)
        reader = Credentials(tokens=Tokens(write=tokens.read))
        assert attach(url_of(server.address), CONTENT, reader)
        wrong = Credentials(tokens=Tokens(write="some-other-token-0003"))
        with pytest.raises(PermissionDeniedError, match="not one of this memory node's"):
            attach(url_of(server.address), CONTENT, wrong)


def test_stripes(lend: Any, sending: Any, anonymous: Credentials) -> None:
    extents = [DATA[at : at + EXTENT_BYTES] for at in range(0, SIZE, EXTENT_BYTES)]
    with lend() as first, lend() as second:
        put(sending, first.address, f"{VERSION}-0of2", extents[0] + extents[2])
        put(sending, second.address, f"{VERSION}-1of2", extents[1])
        url = RemoteUrl.parse(f"tcp://{first.address}+{second.address}/sift")
        (replica,) = attach(url, CONTENT, anonymous)
        assert [stripe.size_bytes for stripe in replica] == [EXTENT_BYTES + 10, EXTENT_BYTES]
        (replica,) = attach(url, None, anonymous)  # as a profile does: nothing is expected
        swapped = RemoteUrl.parse(f"tcp://{second.address}+{first.address}/sift")
        with pytest.raises(NotFoundError, match=f"but not in version {VERSION}-0of2"):
            attach(swapped, CONTENT, anonymous)
        with pytest.raises(InvalidArgumentError, match=f"is {VERSION}-1of2; the other nodes of the URL need"):
            attach(swapped, None, anonymous)


def test_a_region_that_is_being_uploaded(lend: Any, anonymous: Credentials) -> None:
    with lend() as server, MemoryNodeClient(server.address, anonymous) as client:
        client.create("sift", VERSION, SIZE)
        with pytest.raises(UnavailableError, match="is not sealed: 0 of 3 extents are there"):
            attach(url_of(server.address), CONTENT, anonymous)
