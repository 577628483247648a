"""The control plane as clients see it: gRPC, tokens, TLS, limits."""

from __future__ import annotations

import logging
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tiervec.errors import (
    DataLossError,
    DeadlineExceededError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnavailableError,
    UnsupportedError,
)
from tiervec.rdma.memory_node._generated import memory_node_pb2 as pb
from tiervec.rdma.memory_node._generated import memory_node_pb2_grpc
from tiervec.rdma.memory_node.client import MemoryNodeClient
from tiervec.rdma.memory_node.configuration import MemoryNodeConfig
from tiervec.rdma.memory_node.grpc_service import CONCURRENT_UPLOADS
from tiervec.rdma.memory_node.names import EXTENT_BYTES
from tiervec.rdma.memory_node.server import MemoryNodeServer
from tiervec.rpc.calling import ClientTls
from tiervec.rpc.credentials import Credentials
from tiervec.rpc.listening import TlsFiles
from tiervec.rpc.tokens import Tokens, read_token_file

SIZE = 2 * EXTENT_BYTES + 1000  # two whole extents and a short one
DATA = np.random.default_rng(1).bytes(SIZE)


@pytest.fixture
def client(lend: Any, anonymous: Credentials) -> Iterator[MemoryNodeClient]:
    with lend() as server, MemoryNodeClient(server.address, anonymous) as connected:
        yield connected


def test_a_region_from_upload_to_attachment(client: MemoryNodeClient, sending: Any) -> None:
    described = client.describe()
    assert (described.protocol, described.capacity_bytes, described.extent_bytes) == (1, 64 << 20, 1 << 20)
    assert (list(described.transports), described.persistent) == (["tcp"], False)
    region = sending.put(client, "sift", "v1", DATA)
    assert (region.state, region.current, region.size_bytes) == (pb.REGION_STATE_READY, True, SIZE)
    attached = client.attach("sift", "v1", "tcp")
    assert (attached.version, attached.size_bytes, len(attached.token)) == ("v1", SIZE, 16)
    assert attached.host == "", "the host that the client reached"
    assert attached.port > 0
    assert attached.region_id > 0
    assert client.attach("sift", "", "tcp") == attached
    assert [listed.version for listed in client.list()] == [listed.version for listed in client.list("sift")] == ["v1"]
    assert client.list("other") == []
    assert client.delete("sift", "v1") >= SIZE
    with pytest.raises(NotFoundError, match=r"127\.0\.0\.1:[0-9]+: this memory node has no region 'sift'"):
        client.attach("sift", "", "tcp")


def test_checksums_are_computed_from_memory(client: MemoryNodeClient, sending: Any) -> None:
    import xxhash

    sending.put(client, "sift", "v1", DATA)
    expected = [xxhash.xxh3_64_intdigest(DATA[at : at + EXTENT_BYTES]) for at in range(0, SIZE, EXTENT_BYTES)]
    region = client.seal("sift", "v1", SIZE)
    assert list(region.extent_checksums) == expected
    assert region.present == b"\x07"
    assert client.get("sift", with_extents=True).extent_checksums == region.extent_checksums
    assert not client.get("sift").extent_checksums


def test_an_interrupted_upload_says_what_is_there(client: MemoryNodeClient, sending: Any) -> None:
    client.create("sift", "v1", SIZE)

    def broken() -> Iterator[pb.UploadRequest]:
        yield from sending.messages("sift", "v1", DATA, only=[2])
        request = next(sending.messages("", "", DATA, only=[0]))
        request.checksum ^= 1
        yield request

    with pytest.raises(DataLossError, match="extent 0 of region sift version v1 arrived with checksum"):
        client.upload(broken())
    again = client.create("sift", "v1", SIZE)
    assert (again.present, again.extents_present, again.state) == (b"\x04", 1, pb.REGION_STATE_RECEIVING)
    with pytest.raises(InvalidArgumentError, match="2 of 3 extents are missing"):
        client.seal("sift", "v1", SIZE)


def test_a_client_that_goes_away_leaves_what_it_sent(
    lend: Any, anonymous: Credentials, sending: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with lend() as server:
        waiting = threading.Event()

        def endless() -> Iterator[pb.UploadRequest]:
            yield from sending.messages("sift", "v1", DATA, only=[0, 1])
            waiting.wait(60)

        client = MemoryNodeClient(server.address, anonymous)
        client.create("sift", "v1", SIZE)
        with ThreadPoolExecutor(1) as pool:
            upload = pool.submit(client.upload, endless())
            deadline = time.monotonic() + 60
            while server.node.counters.uploaded_extents < 2:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            client.close()
            waiting.set()
            assert upload.exception(30) is not None
        with MemoryNodeClient(server.address, anonymous) as client:
            assert client.create("sift", "v1", SIZE).present == b"\x03"
            client.upload(sending.messages("sift", "v1", DATA, only=[2]))
            client.seal("sift", "v1", SIZE)
    assert "Traceback" not in caplog.text


def test_stats_count(client: MemoryNodeClient, sending: Any) -> None:
    sending.put(client, "sift", "v1", DATA)
    client.attach("sift", "", "tcp")
    stats = client.stats()
    assert (stats.regions, stats.damaged_regions, stats.uploaded_extents, stats.attaches) == (1, 0, 3, 1)
    assert stats.used_bytes >= SIZE
    assert stats.cpu_s > 0
    assert {"connections", "reads", "bytes", "refused", "cpu_seconds"} <= set(stats.data_planes[0].counters)


# ---- limits and bad messages -----------------------------------------------------------------------------------------


def test_capacity(client: MemoryNodeClient) -> None:
    with pytest.raises(ResourceExhaustedError, match=r"takes 100 MiB; the memory node has 64 MiB free of 64 MiB"):
        client.create("big", "v1", 100 << 20)
    for size in (0, 2**63):
        with pytest.raises(InvalidArgumentError, match="size of region big"):
            client.create("big", "v1", size)


def test_an_oversized_message_is_refused(client: MemoryNodeClient) -> None:
    client.create("sift", "v1", 8 << 20)
    with pytest.raises(ResourceExhaustedError, match="message"):
        client.upload([pb.UploadRequest(name="sift", version="v1", data=bytes(2 << 20))])
    with pytest.raises(InvalidArgumentError, match="arrived with 1,048,577 bytes"):
        client.upload([pb.UploadRequest(name="sift", version="v1", data=bytes(EXTENT_BYTES + 1))])


def test_an_upload_names_one_region(client: MemoryNodeClient, sending: Any) -> None:
    client.create("sift", "v1", SIZE)
    both = [*sending.messages("sift", "v1", DATA, only=[0]), *sending.messages("sift", "v1", DATA, only=[1])]
    with pytest.raises(InvalidArgumentError, match="only the first message"):
        client.upload(both)
    with pytest.raises(NotFoundError, match="no region 'deep'"):
        client.upload(sending.messages("deep", "v1", DATA))
    with pytest.raises(InvalidArgumentError, match="names no region version"):
        client.upload(sending.messages("sift", "", DATA))
    assert client.upload([]) == 0


def test_uploads_at_once_are_bounded(lend: Any, anonymous: Credentials, sending: Any) -> None:
    go_on = threading.Event()

    def slow() -> Iterator[pb.UploadRequest]:
        yield from sending.messages("sift", "v1", DATA, only=[2])
        go_on.wait(60)

    with lend() as server, MemoryNodeClient(server.address, anonymous) as client:
        client.create("sift", "v1", SIZE)
        with ThreadPoolExecutor(CONCURRENT_UPLOADS) as pool:
            running = [pool.submit(client.upload, slow()) for _ in range(CONCURRENT_UPLOADS)]
            deadline = time.monotonic() + 60
            while server.node.counters.uploaded_extents < CONCURRENT_UPLOADS:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            with pytest.raises(ResourceExhaustedError, match="8 uploads run at once, the most this node takes"):
                client.upload([])
            assert client.describe().protocol == 1, "other calls get through"
            go_on.set()
            assert [upload.result() for upload in running] == [1] * CONCURRENT_UPLOADS


def raw_call(client: MemoryNodeClient, metadata: list[tuple[str, str]]) -> Any:
    with grpc.insecure_channel(client.address) as channel:
        stub: Any = memory_node_pb2_grpc.MemoryNodeServiceStub
        return stub(channel).Describe(pb.DescribeNodeRequest(), metadata=metadata, timeout=60)


def test_another_protocol_version(client: MemoryNodeClient) -> None:
    assert raw_call(client, []).protocol == 1
    with pytest.raises(grpc.RpcError) as caught:
        raw_call(client, [("tiervec-protocol", "2")])
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "speaks version '2' of the control protocol and this memory node 1" in caught.value.details()


def test_garbage_does_no_harm(client: MemoryNodeClient) -> None:
    host, _, port = client.address.rpartition(":")
    for garbage in (b"\0" * 100, b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 5000, DATA[:3000]):
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(garbage)
    assert client.describe().protocol == 1


def test_what_is_no_memory_node(serve_nothing: str, anonymous: Credentials) -> None:
    with (
        MemoryNodeClient(serve_nothing, anonymous) as client,
        pytest.raises(UnsupportedError, match="speaks gRPC, but is not a memory node"),
    ):
        client.describe()


@pytest.fixture
def serve_nothing() -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0).wait()


def test_nobody_there(anonymous: Credentials) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (
        MemoryNodeClient(address, anonymous) as client,
        pytest.raises(UnavailableError, match=f"{address}: no memory node answers"),
    ):
        client.describe()


def test_a_taken_port(lend: Any) -> None:
    with lend() as server, pytest.raises(UnavailableError, match=f"cannot listen on {server.address}"):
        MemoryNodeServer(MemoryNodeConfig(listen=server.address, capacity_bytes=1 << 20))


def test_a_taken_data_port(lend: Any) -> None:
    with lend() as server:
        port = server.node.planes[0].port
        with pytest.raises(UnavailableError, match=str(port)):
            MemoryNodeServer(MemoryNodeConfig(listen="127.0.0.1:0", capacity_bytes=1 << 20, data_port=port))


# ---- health, reflection ----------------------------------------------------------------------------------------------


def health_of(address: str, name: str) -> int:
    with grpc.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub
        return int(stub(channel).Check(health_pb2.HealthCheckRequest(service=name), timeout=60).status)


def test_health(client: MemoryNodeClient, sending: Any) -> None:
    states = health_pb2.HealthCheckResponse
    assert health_of(client.address, "") == states.SERVING
    with pytest.raises(grpc.RpcError):
        health_of(client.address, "sift")
    sending.put(client, "sift", "v1", DATA)
    assert health_of(client.address, "sift") == states.SERVING
    client.delete("sift", "v1")
    assert health_of(client.address, "sift") == states.NOT_SERVING


def test_reflection(client: MemoryNodeClient) -> None:
    with grpc.insecure_channel(client.address) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub
        request = reflection_pb2.ServerReflectionRequest(file_containing_symbol="tiervec.v1.MemoryNodeService")
        (answer,) = list(stub(channel).ServerReflectionInfo(iter([request]), timeout=60))
    file = FileDescriptorProto.FromString(answer.file_descriptor_response.file_descriptor_proto[0])
    assert file.service[0].name == "MemoryNodeService"


# ---- tokens, TLS -----------------------------------------------------------------------------------------------------


def test_tokens(
    lend: Any, token_file: Path, anonymous: Credentials, caplog: pytest.LogCaptureFixture, sending: Any
) -> None:
    tokens = read_token_file(token_file)
    assert tokens.write is not None
    writer = Credentials(tokens=tokens)
    reader = Credentials(tokens=Tokens(write=tokens.read))
    stranger = Credentials(tokens=Tokens(write="a-token-of-somebody-else"))
    with caplog.at_level(logging.DEBUG), lend(tokens=tokens) as server:
        with MemoryNodeClient(server.address, writer) as client:
            sending.put(client, "sift", "v1", DATA)
            client.attach("sift", "", "tcp")
        with MemoryNodeClient(server.address, reader) as client:
            client.describe(), client.list(), client.stats(), client.get("sift"), client.attach("sift", "v1", "tcp")
            writing = [
                lambda: client.create("x", "v1", 5),
                lambda: client.upload(sending.messages("sift", "v1", DATA)),
                lambda: client.seal("sift", "v1", SIZE),
                lambda: client.switch("sift", "v1"),
                lambda: client.delete("sift", "v1"),
                lambda: client.load("sift", "v2", "records.bin"),
            ]
            for call in writing:
                with pytest.raises(PermissionDeniedError, match="the token grants reading only"):
                    call()
        for credentials, words in ((stranger, "is not one of this memory node's"), (anonymous, "shows no token")):
            with MemoryNodeClient(server.address, credentials) as client:
                for call in (client.describe, client.stats, client.list, lambda: client.attach("sift", "v1", "tcp")):
                    with pytest.raises(PermissionDeniedError, match=words):
                        call()
        with MemoryNodeClient(server.address, reader) as client:
            assert client.stats().refused_calls == 14
    for secret in (tokens.write, tokens.read, "a-token-of-somebody-else"):
        assert secret is not None
        assert secret not in caplog.text


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An authority, and certificates of a node and a client that it signed."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")

    def run(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], check=True, capture_output=True, cwd=folder)

    run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=ca", "-keyout", "ca.key",
        "-out", "ca.pem")  # fmt: skip
    (folder / "extensions").write_text("subjectAltName=IP:127.0.0.1\n")
    for name in ("node", "client"):
        run("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out",
            f"{name}.csr")  # fmt: skip
        run("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "extensions", "-out", f"{name}.pem")  # fmt: skip
    return {path.name: path for path in folder.iterdir()}


def test_tls(lend: Any, authority: dict[str, Path], anonymous: Credentials, sending: Any) -> None:
    node = TlsFiles(cert=authority["node.pem"], key=authority["node.key"])
    with lend(tls=node) as server:
        trusting = Credentials(tls=ClientTls(ca=authority["ca.pem"]))
        with MemoryNodeClient(server.address, trusting) as client:
            sending.put(client, "sift", "v1", DATA)
        with (
            MemoryNodeClient(server.address, anonymous, timeout_s=1) as client,
            pytest.raises((UnavailableError, DeadlineExceededError)),
        ):
            client.describe()


def test_mutual_tls(lend: Any, authority: dict[str, Path]) -> None:
    node = TlsFiles(cert=authority["node.pem"], key=authority["node.key"])
    ca = authority["ca.pem"]
    with lend(tls=node, client_ca=ca) as server:
        known = Credentials(tls=ClientTls(ca=ca, cert=authority["client.pem"], key=authority["client.key"]))
        with MemoryNodeClient(server.address, known) as client:
            assert client.describe().protocol == 1
        with (
            MemoryNodeClient(server.address, Credentials(tls=ClientTls(ca=ca)), timeout_s=1) as client,
            pytest.raises((UnavailableError, DeadlineExceededError)),
        ):
            client.describe()


def test_handshakes_that_fail_say_why(lend: Any, make_certificate: Any, anonymous: Credentials) -> None:
    cert, key = make_certificate()
    other, other_key = make_certificate()
    elsewhere, elsewhere_key = make_certificate("DNS:elsewhere.example")
    old, old_key = make_certificate(ends="20210101000000Z")
    cases: list[tuple[Any, Path | None, Credentials, str]] = [
        (
            (cert, key),
            None,
            Credentials(tls=ClientTls(ca=other)),
            "the server's certificate was not accepted: self.signed",
        ),
        ((old, old_key), None, Credentials(tls=ClientTls(ca=old)), "not accepted: certificate has expired; it must be"),
        (
            (elsewhere, elsewhere_key),
            None,
            Credentials(tls=ClientTls(ca=elsewhere)),
            "it is for another host than this",
        ),
        (None, None, Credentials(tls=ClientTls(ca=cert)), "the server does not speak TLS"),
        ((cert, key), None, anonymous, "it may speak TLS while this client does not"),
        ((cert, key), cert, Credentials(tls=ClientTls(ca=cert)), "want a certificate of the client"),
    ]
    for files, client_ca, credentials, words in cases:
        tls = None if files is None else TlsFiles(cert=files[0], key=files[1])
        with (
            lend(tls=tls, client_ca=client_ca) as server,
            MemoryNodeClient(server.address, credentials, timeout_s=60) as client,
            pytest.raises(UnavailableError, match=words) as caught,
        ):
            client.describe()
        assert str(caught.value).startswith(server.address)
        assert "no memory node answers" not in str(caught.value)
    assert other_key.exists()


def test_a_node_warns_of_its_files(lend: Any, make_certificate: Any, caplog: pytest.LogCaptureFixture) -> None:
    cert, key = make_certificate(ends="20210101000000Z")
    key.chmod(0o640)
    with caplog.at_level(logging.WARNING), lend(tls=TlsFiles(cert=cert, key=key)):
        pass
    assert f"TLS certificate {cert} has expired: no client can publish or attach" in caplog.text
    assert f"TLS key {key} is open to the users of its group" in caplog.text


def test_tls_files_that_cannot_be_used(lend: Any, authority: dict[str, Path], tmp_path: Path) -> None:
    node = TlsFiles(cert=authority["node.pem"], key=authority["node.key"])
    with (
        pytest.raises(NotFoundError, match=r"TLS file .*none does not exist"),
        lend(tls=node, client_ca=tmp_path / "none"),
    ):
        pass
    (tmp_path / "nonsense").write_text("nonsense")
    with (
        pytest.raises(InvalidArgumentError, match="must hold PEM certificates"),
        lend(tls=node, client_ca=tmp_path / "nonsense"),
    ):
        pass
    with pytest.raises(InvalidArgumentError, match="need each other"):
        MemoryNodeClient("127.0.0.1:1", Credentials(tls=ClientTls(ca=authority["ca.pem"], cert="a.pem")))
    with pytest.raises(NotFoundError, match="TLS file none does not exist"):
        MemoryNodeClient("127.0.0.1:1", Credentials(tls=ClientTls(ca="none")))


# ---- a stop, a restart -----------------------------------------------------------------------------------------------


def test_a_stop_is_graceful(lend: Any, anonymous: Credentials, sending: Any) -> None:
    with lend() as server, MemoryNodeClient(server.address, anonymous) as client:
        sending.put(client, "sift", "v1", DATA)
    with (
        MemoryNodeClient(server.address, anonymous) as client,
        pytest.raises(UnavailableError, match="no memory node answers"),
    ):
        client.describe()


def test_a_restarted_node_is_found_at_the_same_data_port(
    lend: Any, tmp_path: Path, anonymous: Credentials, sending: Any
) -> None:
    with lend(data_dir=tmp_path) as server, MemoryNodeClient(server.address, anonymous) as client:
        assert client.describe().persistent
        sending.put(client, "sift", "v1", DATA)
        before = client.attach("sift", "", "tcp")
    with lend(data_dir=tmp_path) as server, MemoryNodeClient(server.address, anonymous) as client:
        server._loader.join(60)
        assert client.attach("sift", "", "tcp") == before


def test_a_data_port_that_was_taken_meanwhile(
    lend: Any, tmp_path: Path, anonymous: Credentials, caplog: pytest.LogCaptureFixture
) -> None:
    with lend(data_dir=tmp_path) as server:
        port = server.node.planes[0].port
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with lend(data_dir=tmp_path) as server:
            assert server.node.planes[0].port != port
    assert "must open their index again" in caplog.text
