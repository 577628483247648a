"""Connections that say nothing, more than the process has descriptors: publishers and readers do not notice."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xxhash

from tiervec.rdma.memory_node._generated import memory_node_pb2 as pb
from tiervec.rdma.memory_node.client import MemoryNodeClient
from tiervec.rpc.credentials import Credentials

DESCRIPTORS = 256
STRANGERS = 600
DATA = np.random.default_rng(1).bytes(5000)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[str]:
    """The control plane's address of a node with few descriptors, which it cannot raise."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))

    log = tmp_path / "log"
    command = [sys.executable, "-m", "tiervec.cli", "memory-node", "--listen", "127.0.0.1:0", "--capacity", "8MiB"]
    with open(log, "w") as file:
        process = subprocess.Popen(
            [*command, "--data-dir", str(tmp_path / "data")],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            preexec_fn=limit,
        )
    try:
        found = None
        for _ in range(6000):
            if (found := re.search(r"^listening on (\S+)$", log.read_text(), re.MULTILINE)) is not None:
                break
            assert process.poll() is None, log.read_text()
            time.sleep(0.02)
        assert found is not None, log.read_text()
        assert "takes at most 128 connections of readers" in log.read_text()
        yield found[1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def put(client: MemoryNodeClient, version: str) -> pb.Attachment:
    client.create("sift", version, len(DATA))
    checksum = xxhash.xxh3_64_intdigest(DATA)
    client.upload([pb.UploadRequest(name="sift", version=version, extent=0, checksum=checksum, data=DATA)])
    client.seal("sift", version, len(DATA))
    return client.attach("sift", version, "tcp")


def received(reader: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = reader.recv(count - len(data))
        assert part, "the node closed the connection"
        data += part
    return data


def read(attachment: pb.Attachment, offset: int, length: int) -> bytes:
    """One read on a new connection; rdma/src/tcp/wire.h draws the messages."""
    with socket.create_connection(("127.0.0.1", attachment.port), 30) as reader:
        reader.sendall(struct.pack("<8sH6xQ16s", b"\x89TVR\r\n\x1a\n", 1, attachment.region_id, attachment.token))
        assert struct.unpack("<8sHHIQ", received(reader, 24))[2] == 0, "accepted"
        reader.sendall(struct.pack("<HHIQI", 0x5152, 1, 9, offset, length))
        assert struct.unpack("<HHII", received(reader, 12)) == (0x5052, 0, 9, length)
        return received(reader, length)


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    """Holds the attack's connections, and closes them; this process may open enough for it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2 * STRANGERS:
        pytest.skip(f"this process may open {hard} files; the attack needs {2 * STRANGERS}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * STRANGERS), hard))
    opened: list[socket.socket] = []
    yield opened
    for each in opened:
        each.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_strangers_of_the_data_plane_stop_nobody(node: str, sockets: list[socket.socket]) -> None:
    with MemoryNodeClient(node, Credentials(), timeout_s=60) as client:
        first = put(client, "v1")
        sockets += [socket.create_connection(("127.0.0.1", first.port), 30) for _ in range(STRANGERS)]
        assert read(first, 100, 1000) == DATA[100:1100]
        second = put(client, "v2")
        assert read(second, 0, 5000) == DATA
        counters = client.stats().data_planes[0].counters
        assert counters["max_strangers"] == DESCRIPTORS / 8
        assert counters["strangers"] <= DESCRIPTORS / 8
        assert counters["refused"] >= STRANGERS - DESCRIPTORS / 8 - 1
    assert len(os.listdir("/proc/self/fd")) > STRANGERS, "they are still connected"


def test_idle_connections_to_the_control_plane_take_nothing_from_readers(
    node: str, sockets: list[socket.socket]
) -> None:
    host, _, port = node.rpartition(":")
    handshake = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + struct.pack(">IBI", 4, 0, 0)  # and an empty SETTINGS frame
    with MemoryNodeClient(node, Credentials(), timeout_s=60) as client:
        attachment = put(client, "v1")
        for _ in range(DESCRIPTORS):  # more than the node may open
            sockets.append(socket.create_connection((host, int(port)), 30))
            sockets[-1].sendall(handshake)
        for at in range(20):  # new readers, one after another
            assert read(attachment, at, 100) == DATA[at : at + 100]
        assert client.stats().data_planes[0].counters["reads"] >= 20
