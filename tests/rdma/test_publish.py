"""Publishing to memory nodes in this process, and reading back through their data planes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec import _core
from tiervec.errors import (
    CancelledError,
    DataLossError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnavailableError,
    UnsupportedError,
)
from tiervec.index_files.directory import IndexDescription, IndexDirectory, IndexDirectoryWriter
from tiervec.placement import upload
from tiervec.placement.upload import Upload
from tiervec.rdma import attach
from tiervec.rdma.attach import Content, open_remote
from tiervec.rdma.memory_node.client import MemoryNodeClient
from tiervec.rdma.memory_node.names import EXTENT_BYTES
from tiervec.rpc.credentials import Credentials
from tiervec.rpc.tokens import Tokens

SIZE = 4 * EXTENT_BYTES + 77
DATA = np.random.default_rng(5).bytes(SIZE)
PATIENCE = "?timeout_ms=30000"  # the node shares a machine that may be busy, and no test here is about a silent one


def write_index(out: Path, data: bytes = DATA, sections: int = 1) -> Path:
    """An index directory whose content no engine would take."""
    with IndexDirectoryWriter(out) as writer:
        writer.write_section("codes", bytes(400), placement="fast")
        for number in range(sections):
            writer.write_section("records" if number == 0 else f"records_{number}", data, placement="tier")
        writer.commit(
            IndexDescription(kind="graph", metric="l2", dtype="uint8", dim=8, vectors=100, dataset_bytes=800, params={})
        )
    return out


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return write_index(tmp_path / "photographs")


@pytest.fixture
def node(lend: Any) -> Iterator[Any]:
    with lend() as server:
        yield server


def read_all(url: str, path: Path) -> bytes:
    section = IndexDirectory.open(path).section("records")
    tier = open_remote(url, Content(size_bytes=section.bytes, checksum=section.checksum))
    return tier.read(0, tier.size_bytes)


def test_one_node(saved: Path, node: Any) -> None:
    seen: list[tuple[str, int, int]] = []
    receipt = tiervec.publish(
        saved,
        f"tcp://{node.address}{PATIENCE}",
        progress=lambda stage, done, total, _left: seen.append((stage, done, total)),
    )
    version = IndexDirectory.open(saved).section("records").checksum
    assert receipt.url == f"tcp://{node.address}/photographs{PATIENCE}"
    assert (receipt.region, receipt.version, receipt.size_bytes, receipt.sent_bytes) == (
        "photographs", version, SIZE, SIZE,
    )  # fmt: skip
    (part,) = receipt.nodes
    assert (part.node, part.extents, part.sent_extents, part.note) == (node.address, 5, 5, "")
    assert part.sampled_bytes > 0
    assert read_all(receipt.url, saved) == DATA
    assert ("publishing records.bin", SIZE, SIZE) in seen
    assert ("checking records.bin", SIZE, SIZE) in seen
    json.dumps(receipt.as_dict())


def test_again_sends_nothing(saved: Path, node: Any) -> None:
    to = f"tcp://{node.address}/sift{PATIENCE}"
    tiervec.publish(saved, [to])
    again = tiervec.publish(saved, [to])
    assert again.sent_bytes == 0
    assert again.nodes[0].extents == 5


def test_an_interruption_sends_only_what_is_missing(saved: Path, node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Upload._requests

    def broken(self: Upload, *arguments: Any) -> Iterator[Any]:
        for sent, request in enumerate(whole(self, *arguments)):
            if sent == 3:
                self._stopping.set()  # as Ctrl-C does
                return
            yield request

    to = f"tcp://{node.address}/sift{PATIENCE}"
    monkeypatch.setattr(Upload, "_requests", broken)
    with pytest.raises(CancelledError):
        tiervec.publish(saved, to)
    monkeypatch.setattr(Upload, "_requests", whole)
    receipt = tiervec.publish(saved, to)
    assert receipt.nodes[0].sent_extents == 2
    assert read_all(receipt.url, saved) == DATA


def test_a_broken_stream_is_taken_up_again(saved: Path, node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, attempts = MemoryNodeClient.upload, []

    def flaky(self: MemoryNodeClient, requests: Iterator[Any]) -> int:
        attempts.append(1)
        if len(attempts) == 1:
            whole(self, [next(iter(requests))])
            raise UnavailableError("the connection was reset")
        return whole(self, requests)

    monkeypatch.setattr(MemoryNodeClient, "upload", flaky)
    receipt = tiervec.publish(saved, f"tcp://{node.address}/sift{PATIENCE}")
    assert len(attempts) == 2
    assert read_all(receipt.url, saved) == DATA


@pytest.mark.parametrize("commas", [False, True])
def test_replicas(saved: Path, node: Any, lend: Any, commas: bool) -> None:
    with lend() as other:
        nodes = [node.address, other.address]
        to = (
            [f"tcp://{','.join(nodes)}/sift{PATIENCE}"]
            if commas
            else [f"tcp://{address}/sift{PATIENCE}" for address in nodes]
        )
        receipt = tiervec.publish(saved, to)
        assert receipt.url == f"tcp://{node.address},{other.address}/sift{PATIENCE}"
        assert [part.replica for part in receipt.nodes] == [0, 1]
        for address in nodes:
            assert read_all(f"tcp://{address}/sift{PATIENCE}", saved) == DATA
        assert read_all(receipt.url, saved) == DATA


def test_stripes(saved: Path, node: Any, lend: Any) -> None:
    with lend() as other:
        receipt = tiervec.publish(saved, f"tcp://{node.address}+{other.address}/sift{PATIENCE}")
        assert [(part.stripe, part.stripes, part.extents) for part in receipt.nodes] == [(0, 2, 3), (1, 2, 2)]
        assert receipt.sent_bytes == SIZE
        held = [server.node.get("sift") for server in (node, other)]
        assert bytes(held[1].extent(0)) == DATA[EXTENT_BYTES : 2 * EXTENT_BYTES]
        assert sum(region.size_bytes for region in held) == SIZE
        assert read_all(receipt.url, saved) == DATA
        small = write_index(saved.parent / "small", b"x" * 100)
        with pytest.raises(InvalidArgumentError, match="cannot be striped over 3 nodes"):
            tiervec.publish(small, "tcp://a:1+b:1+c:1/sift")


def test_versions(tmp_path: Path, saved: Path, node: Any) -> None:
    to = f"tcp://{node.address}/sift{PATIENCE}"
    first = tiervec.publish(saved, to)
    new = write_index(tmp_path / "new", DATA[::-1])
    second = tiervec.publish(new, to)
    assert first.url == second.url
    assert first.version != second.version
    assert node.node.get("sift").version == second.version, "the name was switched"
    assert read_all(to, new) == DATA[::-1]
    assert read_all(to, saved) == DATA, "readers of the old version go on, and new ones of the old index may come"
    newest = write_index(tmp_path / "newest", DATA[5:] + DATA[:5])
    third = tiervec.publish(newest, to, keep=2)
    assert third.removed == (f"{node.address} {first.version}",)
    assert [region.version for region in node.node.list("sift")] == [second.version, third.version]
    with pytest.raises(NotFoundError, match=f"but not in version {first.version}"):
        read_all(to, saved)
    assert tiervec.publish(newest, to, keep=1).removed == (f"{node.address} {second.version}",)
    with pytest.raises(InvalidArgumentError, match="keep is 0"):
        tiervec.publish(newest, to, keep=0)


def test_a_switch_waits_until_every_node_has_it(saved: Path, node: Any, lend: Any) -> None:
    with (
        lend(capacity_bytes=1 << 20) as small,
        pytest.raises(ResourceExhaustedError, match=f"{small.address}: region sift takes 4 MiB"),
    ):
        tiervec.publish(saved, [f"tcp://{node.address}/sift{PATIENCE}", f"tcp://{small.address}/sift{PATIENCE}"])
    with pytest.raises(NotFoundError, match=r"no current version|no region"):
        node.node.get("sift")


def test_a_damaged_region_is_repaired_by_publishing_again(saved: Path, node: Any) -> None:
    to = f"tcp://{node.address}/sift{PATIENCE}"
    tiervec.publish(saved, to)
    region = node.node.get("sift")
    region.extent(1)[3] ^= 1
    node.node.verify_extent(region, 1)
    with pytest.raises(DataLossError, match="is damaged in 1 of 5 extents"):
        read_all(to, saved)
    assert tiervec.publish(saved, to).nodes[0].sent_extents == 1
    assert read_all(to, saved) == DATA


def test_a_node_that_holds_something_else_is_found(saved: Path, node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def lie(self: MemoryNodeClient, *arguments: Any) -> Any:
        region = seal(self, *arguments)
        region.extent_checksums[0] ^= 1
        return region

    seal = MemoryNodeClient.seal
    monkeypatch.setattr(MemoryNodeClient, "seal", lie)
    with pytest.raises(DataLossError, match="is not in its memory as it was sent"):
        tiervec.publish(saved, f"tcp://{node.address}/sift{PATIENCE}")


def test_a_data_plane_that_gives_something_else_is_found(saved: Path, node: Any) -> None:
    to = f"tcp://{node.address}/sift{PATIENCE}"
    tiervec.publish(saved, to)
    region = node.node.get("sift")
    harmed = bytes(byte ^ 1 for byte in DATA[:4096])
    seal = node.node.seal

    def harm_after(name: str, version: str) -> Any:
        sealed = seal(name, version)
        region.extent(0)[:4096] = harmed
        return sealed

    node.node.seal = harm_after
    with pytest.raises(DataLossError, match=r"bytes at 0 of region sift were read back wrong"):
        tiervec.publish(saved, to)


@pytest.mark.parametrize(("given", "taken"), [("", 30_000), ("?timeout_ms=2", 30_000), ("?timeout_ms=40000", 40_000)])
def test_publishing_waits_longer_than_a_reader(
    given: str, taken: int, saved: Path, node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: set[float] = set()  # of calls to the node: greeting, sending, reading back, switching

    class NotingClient(MemoryNodeClient):
        def __init__(self, *arguments: Any, timeout_s: float) -> None:
            waits.add(timeout_s)
            super().__init__(*arguments, timeout_s=timeout_s)

    monkeypatch.setattr(upload, "MemoryNodeClient", NotingClient)
    monkeypatch.setattr(attach, "MemoryNodeClient", NotingClient)
    opened: list[str] = []
    open_tier = _core.open_remote_tier

    def note(url: str, replicas: Any) -> Any:
        opened.append(url)
        return open_tier(url, replicas)

    monkeypatch.setattr(_core, "open_remote_tier", note)
    receipt = tiervec.publish(saved, f"tcp://{node.address}{given}")
    assert opened == [f"tcp://{node.address}/photographs?timeout_ms={taken}"]
    assert waits == {taken / 1000}
    assert receipt.url == f"tcp://{node.address}/photographs{given}"  # readers keep the time-out they were given


def test_what_cannot_be_published(tmp_path: Path, saved: Path, node: Any) -> None:
    to = f"tcp://{node.address}/sift{PATIENCE}"
    with pytest.raises(NotFoundError, match="does not exist"):
        tiervec.publish(tmp_path / "none", to)
    with pytest.raises(UnsupportedError, match="has 2 tier sections"):
        tiervec.publish(write_index(tmp_path / "two", DATA[:100], sections=2), to)
    for wrong, words in (
        ([], "needs at least one URL"),
        ("dram:", "does not begin with tcp://"),
        ([to, to], "has a node twice"),
        ([to, "tcp://b:1/deep"], "must have the same transport, region and options"),
        ([to, "rdma://b:1/sift"], "must have the same transport"),
    ):
        with pytest.raises(InvalidArgumentError, match=words):
            tiervec.publish(saved, wrong)
    harmed = bytearray((saved / "records.bin").read_bytes())
    harmed[100] ^= 1
    (saved / "records.bin").write_bytes(harmed)
    with pytest.raises(DataLossError, match=r"records\.bin is damaged: .* it is not published"):
        tiervec.publish(saved, to)
    assert node.node.list() == []


def test_tokens(saved: Path, lend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = Tokens(write="the-write-token-0001", read="the-read-token-00002")
    with lend(tokens=tokens) as server:
        to = f"tcp://{server.address}/sift{PATIENCE}"
        with pytest.raises(PermissionDeniedError, match="shows no token"):
            tiervec.publish(saved, to)
        monkeypatch.setenv("TIERVEC_TOKEN", str(tokens.read))
        with pytest.raises(PermissionDeniedError, match="grants reading only"):
            tiervec.publish(saved, to)
        monkeypatch.setenv("TIERVEC_TOKEN", str(tokens.write))
        tiervec.publish(saved, to)
        monkeypatch.setenv("TIERVEC_TOKEN", str(tokens.read))
        assert read_all(to, saved) == DATA


def test_from_the_nodes_own_disk(tmp_path: Path, saved: Path, lend: Any) -> None:
    with lend(data_dir=tmp_path / "node") as server:
        to = f"tcp://{server.address}/sift{PATIENCE}"
        (tmp_path / "node" / "records.bin").write_bytes(DATA)
        receipt = tiervec.publish(saved, to, node_path="records.bin")
        assert (receipt.sent_bytes, receipt.nodes[0].extents) == (0, 5)
        assert read_all(to, saved) == DATA
        (tmp_path / "node" / "other.bin").write_bytes(DATA[1:])
        with pytest.raises((DataLossError, InvalidArgumentError)):
            tiervec.publish(write_index(tmp_path / "x", DATA[::-1]), to, node_path="other.bin")
        with pytest.raises(InvalidArgumentError, match="striped region cannot be loaded"):
            tiervec.publish(saved, "tcp://a:1+b:1/sift", node_path="records.bin")


def test_strip(saved: Path, node: Any) -> None:
    receipt = tiervec.publish(saved, f"tcp://{node.address}/sift{PATIENCE}", strip=True)
    assert receipt.stripped_bytes == SIZE
    assert sorted(path.name for path in saved.iterdir()) == [
        "codes.bin",
        "manifest.json",
        "published.json",
        "records_extents.bin",
    ]
    directory = IndexDirectory.open(saved)
    assert (directory.published_to, directory.remote_sections) == (receipt.url, {"records"})
    assert [section.name for section in directory.verify()] == ["codes", "records_extents"]
    with pytest.raises(InvalidArgumentError, match=r"was published to .* and stripped"):
        tiervec.publish(saved, f"tcp://{node.address}/sift{PATIENCE}")


def test_nothing_is_stripped_when_publishing_fails(saved: Path) -> None:
    with pytest.raises(UnavailableError):
        tiervec.publish(saved, "tcp://127.0.0.1:1/sift", strip=True)
    assert (saved / "records.bin").stat().st_size == SIZE


def test_credentials_are_never_in_a_receipt(saved: Path, node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIERVEC_TOKEN", "a-token-nobody-must-see")
    receipt = tiervec.publish(saved, f"tcp://{node.address}/sift{PATIENCE}")
    assert "nobody" not in repr(receipt) + json.dumps(receipt.as_dict())
    assert "nobody" not in repr(Credentials.from_environment())
