"""A stranger on the network of a memory node or of `tiervec serve`."""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tiervec.client import Client
from tiervec.errors import TiervecError
from tiervec.rdma.memory_node._generated import memory_node_pb2 as pb
from tiervec.rdma.memory_node.client import MemoryNodeClient
from tiervec.rpc.credentials import Credentials
from tiervec.rpc.tokens import Tokens
from tiervec.service._generated import search_pb2, vectors_pb2

WRITE, READ = "the-write-token-0001", "the-read-token-00002"
REFLECT: Final = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
WATCH: Final = "/grpc.health.v1.Health/Watch"
CHECK: Final = "/grpc.health.v1.Health/Check"
DESCRIBE: Final = "/tiervec.v1.MemoryNodeService/Describe"
LIST: Final = "/tiervec.v1.IndexService/List"
SEARCH: Final = "/tiervec.v1.SearchService/Search"
OK, DEADLINE_EXCEEDED, NOT_FOUND, PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNAVAILABLE = 0, 4, 5, 7, 8, 14
QUERY: Final = np.ones((1, 8), np.float32)
STREAMS: Final = 100  # of one connection; the servers take 128


def framed(message: bytes) -> bytes:
    """A message as gRPC sends it."""
    return struct.pack(">BI", 0, len(message)) + message


def named(service: str) -> bytes:
    return framed(health_pb2.HealthCheckRequest(service=service).SerializeToString())


EMPTY: Final = framed(b"")
HALF: Final = framed(b"x" * 1000)[:100]
WHOLE_SEARCH: Final = framed(
    search_pb2.SearchRequest(
        index="i", k=5, queries=vectors_pb2.Vectors(dtype=vectors_pb2.DTYPE_FLOAT32, dim=8, data=QUERY.tobytes())
    ).SerializeToString()
)


def health(address: str, service: str = "", token: str | None = None) -> int:
    metadata = None if token is None else [("authorization", f"Bearer {token}")]
    with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=service)
        return int(stub.Check(request, timeout=60, metadata=metadata).status)


@pytest.fixture(params=["node", "serve"])
def attacked(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """``with attacked(max_streams=8) as server:`` either server; `rightful_call` calls it."""
    factory: Callable[..., Any] = request.getfixturevalue({"node": "node", "serve": "search_server"}[request.param])
    return factory


def rightful_call(server: Any) -> None:
    """A client with the right token is answered; so is a health check."""
    assert health(server.address) == health_pb2.HealthCheckResponse.SERVING
    if hasattr(server, "node"):
        with MemoryNodeClient(server.address, Credentials(tokens=Tokens(write=WRITE)), timeout_s=60) as client:
            assert client.describe().protocol == 1
            client.create("rightful", "v1", 1000)
    else:
        with Client(server.address, timeout_s=60) as client:
            assert client.search("i", QUERY, 3).ids.shape == (1, 3)
            assert client.indexes() == ["i"]


def method_of(server: Any) -> str:
    return DESCRIBE if hasattr(server, "node") else LIST


def token_of(server: Any) -> str | None:
    return READ if hasattr(server, "node") else None


# ---- calls that hold something ---------------------------------------------------------------------------------------


def test_idle_reflection_streams(attacked: Any, raw: Any, rounds: range) -> None:
    with attacked(max_streams=64, max_streams_per_peer=32) as server:
        for _ in rounds:
            connection = raw(server.address)
            streams = [connection.open(REFLECT, token=token_of(server)) for _ in range(STREAMS)]
            code, message = connection.status(streams[0])
            assert (code, "32 calls wait for theirs" in message) == (RESOURCE_EXHAUSTED, True), message
            rightful_call(server)
            assert len(server._server._streams) <= 32
            with grpc.insecure_channel(server.address) as channel:
                stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
                request = reflection_pb2.ServerReflectionRequest(list_services="")
                metadata = [("authorization", f"Bearer {READ}")]
                (answer,) = list(stub.ServerReflectionInfo(iter([request]), timeout=60, metadata=metadata))
            assert len(answer.list_services_response.service) >= 3
            connection.close()


@pytest.mark.parametrize("sent", [b"", HALF], ids=["headers only", "half a message"])
def test_messages_that_never_come(attacked: Any, raw: Any, rounds: range, sent: bytes) -> None:
    with attacked() as server:
        for _ in rounds:
            connections = [raw(server.address) for _ in range(4)]
            for connection in connections:
                for _ in range(STREAMS):
                    connection.open(method_of(server), sent, token=token_of(server))
            code, message = connections[0].status(1)
            assert (code, "256 calls wait for theirs" in message) == (RESOURCE_EXHAUSTED, True), message
            rightful_call(server)
            assert len(server._server._messages) <= 256
            assert not any(lane.count.total for lane in server._server._lanes), "they hold no thread"
            for connection in connections:
                connection.close()


@pytest.mark.parametrize("method", [DESCRIBE, CHECK, WATCH])
def test_a_message_gets_a_bounded_time(node: Any, raw: Any, method: str) -> None:
    with node(message_timeout_s=0.01) as server:
        connection = raw(server.address)
        stream = connection.open(method, HALF, token=READ)
        assert connection.status(stream) == (DEADLINE_EXCEEDED, "the call's message did not come within 0.01 s")


def test_an_idle_stream_gets_a_bounded_time(node: Any, raw: Any) -> None:
    with node(message_timeout_s=0.01) as server:
        connection = raw(server.address)
        for method, token in ((REFLECT, READ), ("/tiervec.v1.MemoryNodeService/Upload", WRITE)):
            stream = connection.open(method, token=token)
            assert connection.status(stream)[0] == DEADLINE_EXCEEDED


def test_idle_uploads_end_and_make_room(node: Any, raw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with node(message_timeout_s=0.01) as server:
        connection = raw(server.address)
        streams = [connection.open("/tiervec.v1.MemoryNodeService/Upload", token=WRITE) for _ in range(20)]
        codes = {connection.status(stream)[0] for stream in streams}
        assert codes <= {RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED}
        for reads in (server._server._messages, server._server._streams):
            assert not len(reads)
            monkeypatch.setattr(reads, "_timeout_s", 60.0)  # the rightful upload has time, however busy the machine
        with MemoryNodeClient(server.address, Credentials(tokens=Tokens(write=WRITE)), timeout_s=60) as client:
            assert client.upload([]) == 0


def test_a_flood_of_watches(attacked: Any, raw: Any, rounds: range) -> None:
    with attacked(max_streams=64, max_streams_per_peer=8) as server:
        for _ in rounds:
            connection = raw(server.address)
            streams = [connection.open(WATCH, named(""), whole=True) for _ in range(STREAMS)]
            code, message = connection.status(streams[-1])
            assert code == RESOURCE_EXHAUSTED
            assert message == "the client 127.0.0.1 has 8 health Watches here, the most that one client may have"
            assert server._server.health._watches.total == 8
            rightful_call(server)
            connection.close()
            while server._server.health._watches.total:
                time.sleep(0.001)


def test_clients_that_read_nothing(attacked: Any, raw: Any, rounds: range) -> None:
    with attacked() as server:
        for _ in rounds:
            connections = [raw(server.address, window=0) for _ in range(2)]
            call = (DESCRIBE, EMPTY) if hasattr(server, "node") else (SEARCH, WHOLE_SEARCH)
            for connection in connections:
                for _ in range(STREAMS):
                    connection.open(*call, whole=True, token=token_of(server))
            while any(lane.count.total for lane in server._server._lanes):  # answers that are not read hold no place
                time.sleep(0.001)
            rightful_call(server)
            for connection in connections:
                connection.close()


def test_bytes_that_are_not_read_are_bounded(attacked: Any, raw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiervec.rpc.serving._MAX_UNREAD_BYTES", 2048)
    with attacked() as server:
        unread = server._server._unread
        call = (DESCRIBE, EMPTY) if hasattr(server, "node") else (SEARCH, WHOLE_SEARCH)
        rightful_call(server)
        while unread.total:  # what was read is not counted any more
            time.sleep(0.001)
        greedy = raw(server.address, window=0)
        for _ in range(STREAMS):
            greedy.open(*call, whole=True, token=token_of(server))
        while unread.total < 1000:
            time.sleep(0.001)
        unread._limit_per_peer = unread.total  # exactly full, whatever the size of a response
        with pytest.raises(TiervecError, match="bytes of responses that are not read"):
            rightful_call(server)  # of the same address
        assert unread.total <= 2048 * 3 // 4
        greedy.close()
        while unread.total:
            time.sleep(0.001)
        rightful_call(server)


# ---- tokens and names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [None, "a-token-of-somebody-else", "x" * 5000])
def test_wrong_tokens_are_refused_at_their_headers(
    node: Any, raw: Any, rounds: range, caplog: pytest.LogCaptureFixture, token: str | None
) -> None:
    with caplog.at_level(logging.WARNING), node() as server:
        for _ in rounds:
            connection = raw(server.address)
            for method in (DESCRIBE, REFLECT, "/tiervec.v1.MemoryNodeService/Upload"):
                streams = [connection.open(method, HALF, token=token) for _ in range(STREAMS)]
                assert {connection.status(stream)[0] for stream in streams} == {PERMISSION_DENIED}
            rightful_call(server)
            connection.close()
        assert server.node.counters.refused_calls >= 3 * STREAMS
    assert "no right token" in caplog.text
    assert len(caplog.records) < 30, "strangers do not fill the log"


def test_health_tells_strangers_no_names(node: Any, raw: Any) -> None:
    with node() as server:
        with MemoryNodeClient(server.address, Credentials(tokens=Tokens(write=WRITE)), timeout_s=60) as client:
            client.create("secret", "v1", 1000)
            client.upload(
                [pb.UploadRequest(name="secret", version="v1", checksum=checksum(bytes(1000)), data=bytes(1000))]
            )
            client.seal("secret", "v1", 1000)
            client.switch("secret", "v1")
        assert health(server.address, "secret", READ) == health_pb2.HealthCheckResponse.SERVING
        connection = raw(server.address)
        for method in (CHECK, WATCH):
            answers = {
                connection.status(connection.open(method, named(name), whole=True)) for name in ("secret", "nothing")
            }
            assert len(answers) == 1, "what is there and what is not look alike"
            assert answers.pop()[0] == PERMISSION_DENIED
        assert connection.status(connection.open(CHECK, named(""), whole=True))[0] == OK
        assert connection.status(connection.open(CHECK, named("nothing"), whole=True, token=READ))[0] == NOT_FOUND


def checksum(data: bytes) -> int:
    import xxhash

    return xxhash.xxh3_64_intdigest(data)


@pytest.mark.parametrize("name", ["\U0001f600" * 1000, "x" * 1_000_000, "%" * 3000, "a\nb\0c"])
def test_names_that_do_not_fit_a_status(search_server: Any, node: Any, name: str) -> None:
    with search_server() as server, grpc.insecure_channel(server.address) as channel:
        search = channel.unary_unary(SEARCH, lambda message: message.SerializeToString())
        queries = vectors_pb2.Vectors(dtype=vectors_pb2.DTYPE_FLOAT32, dim=8, data=QUERY.tobytes())
        with pytest.raises(grpc.RpcError) as caught:
            search(search_pb2.SearchRequest(index=name, k=1, queries=queries), timeout=60)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.RpcError) as caught:
            search(search_pb2.SearchRequest(index="i", k=1, queries=queries, params={name: name}), timeout=60)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        stub: Any = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=60)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    with node() as server, grpc.insecure_channel(server.address) as channel:
        metadata = [("authorization", f"Bearer {WRITE}")]
        for method, message in (
            ("Create", pb.CreateRegionRequest(name=name, version="v1", size_bytes=5)),
            ("Get", pb.GetRegionRequest(name=name)),
            ("Load", pb.LoadRegionRequest(name="a", version="v1", path=name)),
            ("Attach", pb.AttachRegionRequest(name="a", transport=name)),
        ):
            call = channel.unary_unary(f"/tiervec.v1.MemoryNodeService/{method}", lambda m: m.SerializeToString())
            with pytest.raises(grpc.RpcError) as caught:
                call(message, timeout=60, metadata=metadata)
            codes = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED)
            assert caught.value.code() in codes


def test_messages_of_another_type(attacked: Any, raw: Any) -> None:
    with attacked() as server:
        connection = raw(server.address)
        for method in (CHECK, WATCH, REFLECT, *([DESCRIBE] if hasattr(server, "node") else [SEARCH, LIST])):
            stream = connection.open(method, framed(b"\xff" * 50), whole=True, token=token_of(server))
            code, message = connection.status(stream)
            assert (code, "not of its type" in message) == (3, True), (method, message)
            stream = connection.open(method, whole=True, token=token_of(server))
            if method != REFLECT:
                assert connection.status(stream)[1].endswith("ended without a message")
        rightful_call(server)


# ---- connections, a stop ---------------------------------------------------------------------------------------------


def test_silent_connections(attacked: Any, rounds: range) -> None:
    with attacked(max_connections=8) as server:
        host, _, port = server.address.rpartition(":")
        for _ in rounds:
            rightful_call(server)
            with grpc.insecure_channel(server.address) as channel:  # connected before the strangers come
                stub: Any = health_pb2_grpc.HealthStub(channel)
                stub.Check(health_pb2.HealthCheckRequest(), timeout=60)
                strangers = [socket.create_connection((host, int(port)), timeout=60) for _ in range(40)]
                for stranger in strangers[20:]:
                    wait_for_the_end(stranger)  # what is above the bound is closed at once
                assert stub.Check(health_pb2.HealthCheckRequest(), timeout=60).status == 1
                for stranger in strangers:
                    stranger.close()
            answered = False
            while not answered:  # as soon as the server has seen that they are gone
                with contextlib.suppress(grpc.RpcError):
                    answered = health(server.address) == health_pb2.HealthCheckResponse.SERVING


def wait_for_the_end(connection: socket.socket) -> None:
    with contextlib.suppress(ConnectionResetError):
        while connection.recv(4096):
            pass


def test_a_stop_waits_for_nobody_who_sends_nothing(attacked: Any) -> None:
    never = threading.Event()
    with attacked() as server, grpc.insecure_channel(server.address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=600)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        metadata = [("authorization", f"Bearer {READ}")]
        silent = [
            channel.stream_stream(method)(_nothing(never), timeout=600, metadata=metadata)
            for method in (method_of(server), REFLECT, WATCH)
        ]
        while len(server._server._messages) + len(server._server._streams) < len(silent):
            time.sleep(0.001)
        stopping = threading.Thread(target=server.stop, args=(86400.0,))
        stopping.start()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert list(watch) == []
        assert watch.code() is grpc.StatusCode.OK
        for call in silent:
            assert (call.code(), call.details()) == (grpc.StatusCode.UNAVAILABLE, "the server is stopping")
        stopping.join()
        never.set()


def _nothing(never: threading.Event) -> Iterator[bytes]:
    never.wait()
    yield from ()
