"""``tiervec memory-node``, ``publish`` and ``regions``, as a user types them."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tiervec.errors import NotFoundError
from tiervec.rdma.memory_node.client import MemoryNodeClient
from tiervec.rdma.memory_node.configuration import MemoryNodeConfig
from tiervec.rdma.memory_node.server import MemoryNodeServer
from tiervec.rpc.credentials import Credentials


@pytest.fixture
def node() -> Iterator[MemoryNodeServer]:
    config = MemoryNodeConfig(
        listen="127.0.0.1:0", capacity_bytes=8 << 20, lock_memory="no", scrub_bytes_per_s=0, drain_s=5
    )
    with MemoryNodeServer(config) as server:
        yield server


def test_publish_and_look(command: Any, saved: Path, node: MemoryNodeServer) -> None:
    url = f"tcp://{node.address}/sift?timeout_ms=30000"  # the machine may be busy
    outcome = command("publish", saved, "--to", url, "--json")
    assert outcome.status == 0
    assert "publishing records.bin" in outcome.err
    document = outcome.document
    assert (document["url"], document["size_bytes"], document["sent_bytes"]) == (url, 4800, 4800)
    again = command("publish", saved, "--to", url)
    assert f"{url}: version {document['version']}, 4.7 KiB, 0 B sent" in again.out
    listed = command("regions", node.address, "--json").document
    (region,) = listed["regions"]
    assert (region["name"], region["version"], region["state"], region["current"]) == (
        "sift", document["version"], "ready", True,
    )  # fmt: skip
    assert listed["data_planes"][0]["transport"] == "tcp"
    text = command("regions", node.address).out
    assert "ready, current" in text
    assert "of 8 MiB in use" in text
    gone = command("regions", node.address, "--delete", f"sift/{document['version']}")
    assert "deleted" in gone.out
    assert command("regions", node.address, "--json").document["regions"] == []


def test_a_damaged_region_says_why(command: Any, saved: Path, node: MemoryNodeServer) -> None:
    command("publish", saved, "--to", f"tcp://{node.address}/sift?timeout_ms=30000")
    region = node.node.get("sift")
    region.extent(0)[5] ^= 1
    node.node.verify_extent(region, 0)
    (listed,) = command("regions", node.address, "--json").document["regions"]
    assert (listed["state"], listed["damage"]) == ("damaged", "damaged in 1 of 1 extents")
    assert f"  sift {region.version}: damaged in 1 of 1 extents" in command("regions", node.address).out


def test_strip_then_verify_says_that_it_is_remote(command: Any, saved: Path, node: MemoryNodeServer) -> None:
    url = f"tcp://{node.address}/sift?timeout_ms=30000"  # the machine may be busy
    assert "4.7 KiB removed here" in command("publish", saved, "--to", url, "--strip").out
    assert f"records is remote, at {url}, and was not read" in command("verify", saved).out
    assert command("verify", saved, "--json").document["remote"] == ["records"]
    assert command("info", saved).status == 0
    outcome = command("search", saved, "--queries", saved / "codes.bin")
    assert outcome.status == 1


def test_mistakes_are_one_line(command: Any, saved: Path, node: MemoryNodeServer, tmp_path: Path) -> None:
    for arguments, words in (
        (("publish", saved, "--to", "dram:"), "does not begin with tcp://"),
        (("publish", saved, "--to", "tcp://127.0.0.1:1/sift"), "no memory node answers"),
        (("publish", tmp_path / "none", "--to", f"tcp://{node.address}"), "does not exist"),
        (("regions", "127.0.0.1:1"), "no memory node answers"),
        (("regions", node.address, "--delete", "sift/v1"), "no region 'sift'"),
        (("memory-node", "--listen", "7800", "--capacity", "1MiB"), "must be HOST:PORT"),
        (("memory-node", "--listen", "0.0.0.0:0", "--capacity", "1MiB"), "give --token-file, or --allow-anonymous"),
        (("memory-node", "--listen", node.address, "--capacity", "1MiB"), "Address already in use"),
        (
            ("memory-node", "--listen", "127.0.0.1:0", "--capacity", "1MiB", "--transports", "ftp"),
            "transports has 'ftp'",
        ),
        (("memory-node", "--listen", "127.0.0.1:0", "--capacity", "1MiB", "--token-file", "none"), "does not exist"),
    ):
        outcome = command(*arguments)
        assert outcome.status == 1, outcome
        assert outcome.err.startswith("tiervec: error: "), outcome.err
        assert outcome.err.count("\n") == 1
        assert words in outcome.err


def test_wrong_command_lines(command: Any, saved: Path) -> None:
    for arguments in (
        ("publish", saved),
        ("publish", saved, "--to", "x", "--keep", 0),
        ("memory-node", "--listen", "127.0.0.1:0"),
        ("memory-node", "--listen", "127.0.0.1:0", "--capacity", "lots"),
        ("memory-node", "--listen", "127.0.0.1:0", "--capacity", "1MiB", "--data-port", 70000),
        ("memory-node", "--listen", "127.0.0.1:0", "--capacity", "1MiB", "--tls-cert", "x"),
        ("memory-node", "--listen", "127.0.0.1:0", "--capacity", "1MiB", "--lock", "maybe"),
    ):
        assert command(*arguments).status == 2, arguments


def test_bounds_on_clients() -> None:
    from tiervec.cli.main import _parser
    from tiervec.cli.memory_node import _config
    from tiervec.rpc.limits import CallLimits

    node = ["memory-node", "--listen", "127.0.0.1:0", "--capacity", "1MiB"]
    assert _config(_parser().parse_args(node)).limits == CallLimits()
    given = ["--max-connections", "9", "--max-calls-per-peer", "8", "--max-streams", "7", "--max-streams-per-peer", "6"]
    assert _config(_parser().parse_args([*node, *given, "--message-timeout", "5"])).limits == CallLimits(
        max_connections=9, max_calls_per_peer=8, max_streams=7, max_streams_per_peer=6, message_timeout_s=5
    )


def test_a_node_lends_until_sigterm(command: Any, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    seen: list[int] = []

    def visit() -> None:
        from tiervec.errors import UnavailableError

        try:
            with MemoryNodeClient(address, Credentials()) as client:
                for _ in range(500):
                    try:
                        seen.append(client.describe().capacity_bytes)
                        break
                    except UnavailableError:
                        threading.Event().wait(0.02)
                with pytest.raises(NotFoundError):
                    client.get("sift")
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    visitor = threading.Thread(target=visit)
    visitor.start()
    outcome = command(
        "memory-node", "--listen", address, "--capacity", "4MiB", "--data-dir", tmp_path / "data", "--scrub-rate", 0
    )
    visitor.join()
    assert (outcome.status, outcome.out, seen) == (0, "", [4 << 20])
    assert f"listening on {address}\n" in outcome.err


def test_rdma_without_a_device_says_what_is_missing(command: Any) -> None:
    if Path("/sys/class/infiniband").is_dir() and any(Path("/sys/class/infiniband").iterdir()):
        pytest.skip("this machine has an RDMA device")
    outcome = command("memory-node", "--listen", "127.0.0.1:0", "--capacity", "1MiB", "--transports", "rdma,tcp")
    assert outcome.status == 1
    assert "rdma" in outcome.err.lower()
    assert outcome.err.count("\n") == 1
