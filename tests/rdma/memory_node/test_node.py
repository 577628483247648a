"""What a memory node does, without gRPC and without sockets."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash

from tiervec.errors import (
    DataLossError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    UnavailableError,
    UnsupportedError,
)
from tiervec.rdma.memory_node.memory import memory_bytes
from tiervec.rdma.memory_node.names import EXTENT_BYTES
from tiervec.rdma.memory_node.node import MemoryNode
from tiervec.rdma.memory_node.region import Region, RegionState, RemoteKey
from tiervec.rdma.memory_node.scrubber import Scrubber
from tiervec.rdma.memory_node.storage import RegionStorage

SIZE = 2 * EXTENT_BYTES + 1000
DATA = np.random.default_rng(1).bytes(SIZE)


class FakePlane:
    transport = "tcp"
    port = 4711

    def __init__(self) -> None:
        self.served: dict[int, Region] = {}
        self.fault: Exception | None = None

    def serve(self, region: Region) -> RemoteKey:
        if self.fault is not None:
            raise self.fault
        self.served[region.region_id] = region
        return RemoteKey(remote_address=1, remote_key=2)

    def withdraw(self, region_id: int) -> None:
        del self.served[region_id]

    def stats(self) -> Mapping[str, float]:
        return {"connections": 0.0}

    def close(self) -> None:
        self.served.clear()


@pytest.fixture
def plane() -> FakePlane:
    return FakePlane()


@pytest.fixture
def node(plane: FakePlane) -> MemoryNode:
    return MemoryNode(8 << 20, [plane], lock_memory="no")


def send(node: MemoryNode, region: Region, data: bytes = DATA, only: Any = None) -> None:
    for index in range(region.extents) if only is None else only:
        part = data[index * EXTENT_BYTES : (index + 1) * EXTENT_BYTES]
        node.write_extent(region, index, xxhash.xxh3_64_intdigest(part), part)


def put(node: MemoryNode, name: str = "sift", version: str = "v1", data: bytes = DATA) -> Region:
    send(node, node.create(name, version, len(data)), data)
    return node.seal(name, version)


def test_from_create_to_attach(node: MemoryNode, plane: FakePlane) -> None:
    region = node.create("sift", "v1", SIZE)
    with pytest.raises(UnavailableError, match="is not sealed: 0 of 3 extents are there"):
        node.attach("sift", "v1", "tcp")
    send(node, region)
    assert plane.served == {}, "readers see nothing before it is sealed"
    node.seal("sift", "v1")
    assert bytes(memoryview(plane.served[region.region_id].memory)[:SIZE]) == DATA
    attached = node.attach("sift", "v1", "tcp")
    assert (attached.port, attached.key.remote_key, attached.region.size_bytes) == (4711, 2, SIZE)
    assert len(attached.region.token) == 16
    with pytest.raises(NotFoundError, match="region sift has no current version; there is v1"):
        node.attach("sift", "", "tcp")
    node.switch("sift", "v1")
    assert node.attach("sift", "", "tcp").region is region


def test_an_upload_goes_on_where_it_was(node: MemoryNode) -> None:
    send(node, node.create("sift", "v1", SIZE), only=[1])
    again = node.create("sift", "v1", SIZE)
    assert again.present.tolist() == [False, True, False]
    with pytest.raises(InvalidArgumentError, match="2 of 3 extents are missing"):
        node.seal("sift", "v1")
    send(node, again, only=[0, 2])
    assert node.seal("sift", "v1").state is RegionState.READY


def test_extents_that_are_wrong(node: MemoryNode) -> None:
    region = node.create("sift", "v1", SIZE)
    good = DATA[:EXTENT_BYTES]
    checksum = xxhash.xxh3_64_intdigest(good)
    with pytest.raises(DataLossError, match=r"extent 0 of region sift version v1 arrived with checksum .*, sent as"):
        node.write_extent(region, 0, checksum ^ 1, good)
    for index in (3, -1, 2**60):
        with pytest.raises(InvalidArgumentError, match="has 3 extents; there is no extent"):
            node.write_extent(region, index, checksum, good)
    for data in (b"", good[:-1], good + b"x"):
        with pytest.raises(InvalidArgumentError, match=r"arrived with [0-9,]+ bytes; it has 1,048,576"):
            node.write_extent(region, 0, xxhash.xxh3_64_intdigest(data), data)
    with pytest.raises(InvalidArgumentError, match="it has 1,000"):
        node.write_extent(region, 2, checksum, good)
    assert not region.present.any()
    assert node.counters.refused_extents == 8


def test_a_sealed_region_never_changes(node: MemoryNode) -> None:
    region = put(node)
    with pytest.raises(InvalidArgumentError, match="is ready and takes no extents"):
        send(node, region, only=[0])
    assert node.seal("sift", "v1") is region, "sealing again only verifies again"
    with pytest.raises(InvalidArgumentError, match=r"exists with 2,098,152 bytes; asked for were 5"):
        node.create("sift", "v1", 5)


def test_memory_that_is_not_what_was_sent_is_not_sealed(node: MemoryNode, plane: FakePlane) -> None:
    region = node.create("sift", "v1", SIZE)
    send(node, region)
    region.extent(1)[5] ^= 1
    with pytest.raises(DataLossError, match="1 of 3 extents are wrong, the first is 1"):
        node.seal("sift", "v1")
    assert plane.served == {}
    assert region.present.tolist() == [True, False, True], "it can be sent again"
    send(node, region, only=[1])
    node.seal("sift", "v1")


def test_capacity(node: MemoryNode) -> None:
    node.create("a", "v1", 5 << 20)
    with pytest.raises(ResourceExhaustedError, match="region b takes 4 MiB; the memory node has 3 MiB free of 8 MiB"):
        node.create("b", "v1", 4 << 20)
    with pytest.raises(ResourceExhaustedError, match=r"region c takes 3 MiB; .*, 8,192 bytes too few: delete old"):
        node.create("c", "v1", 3 << 20)  # the node keeps more of a region than its bytes
    node.create("c", "v1", (3 << 20) - 8192)
    assert node.used_bytes == 8 << 20
    assert node.delete("a", "v1") == memory_bytes(5 << 20) == (5 << 20) + 4096
    node.create("b", "v1", 4 << 20)
    with pytest.raises(InvalidArgumentError, match="must be at least 1 byte"):
        node.create("d", "v1", 0)


def test_memory_that_is_being_allocated_counts(plane: FakePlane, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiervec import _core

    node = MemoryNode(8 << 20, [plane], lock_memory="no")
    real, seen = _core.NodeMemory, []

    def slow(size: int, lock: bool) -> Any:
        seen.append(node.used_bytes)
        return real(size, lock)

    monkeypatch.setattr(_core, "NodeMemory", slow)
    node.create("a", "v1", 5 << 20)
    assert seen == [memory_bytes(5 << 20)]
    assert node.used_bytes == memory_bytes(5 << 20)

    def none_left(size: int, lock: bool) -> Any:
        raise ResourceExhaustedError("this machine has not as much memory")

    monkeypatch.setattr(_core, "NodeMemory", none_left)
    with pytest.raises(ResourceExhaustedError, match="has not as much memory"):
        node.create("b", "v1", 2 << 20)
    assert node.used_bytes == memory_bytes(5 << 20)


def test_an_abandoned_upload_makes_room(plane: FakePlane) -> None:
    node = MemoryNode(8 << 20, [plane], lock_memory="no", abandoned_after_s=-1)
    node.create("old", "v1", 6 << 20)
    put(node, "kept", "v1", b"x" * 100)
    node.create("new", "v1", 5 << 20)
    assert [region.name for region in node.list()] == ["kept", "new"]


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "-x", "a/b", "a b", "x" * 129, "ä", "a\n", "a\0"])
def test_names(node: MemoryNode, name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="region name is"):
        node.create(name, "v1", 10)
    with pytest.raises(InvalidArgumentError, match="region version is"):
        node.create("a", name or "/", 10)
    with pytest.raises(InvalidArgumentError):
        node.get(name)


def test_what_is_not_there(node: MemoryNode) -> None:
    put(node)
    with pytest.raises(NotFoundError, match="this memory node has no region 'deep'"):
        node.attach("deep", "", "tcp")
    with pytest.raises(NotFoundError, match="has region sift in version v1, but not in version v2"):
        node.attach("sift", "v2", "tcp")
    with pytest.raises(UnsupportedError, match=r"offers tcp and not rdma \(its option --transports\)"):
        node.attach("sift", "v1", "rdma")
    with pytest.raises(InvalidArgumentError, match="transport is 'ftp'"):
        node.attach("sift", "v1", "ftp")
    with pytest.raises(UnsupportedError, match="no data directory"):
        node.load("deep", "v1", "records.bin", "")


def test_versions_beside_each_other(node: MemoryNode, plane: FakePlane) -> None:
    first, second = put(node), put(node, version="v2", data=DATA[::-1])
    assert first.region_id != second.region_id
    assert first.token != second.token
    node.switch("sift", "v1")
    node.switch("sift", "v2")
    assert node.attach("sift", "", "tcp").region is second
    assert node.attach("sift", "v1", "tcp").region is first, "readers of the old version go on"
    assert set(plane.served) == {first.region_id, second.region_id}
    node.delete("sift", "v1")
    assert set(plane.served) == {second.region_id}
    with pytest.raises(NotFoundError):
        node.attach("sift", "v1", "tcp")
    node.delete("sift", "v2")
    with pytest.raises(NotFoundError, match="no region 'sift'"):
        node.attach("sift", "", "tcp")


def test_only_a_ready_version_becomes_current(node: MemoryNode) -> None:
    node.create("sift", "v1", SIZE)
    with pytest.raises(UnavailableError, match="is receiving; only a ready one can be current"):
        node.switch("sift", "v1")
    with pytest.raises(InvalidArgumentError, match="needs the version"):
        node.delete("sift", "")


def test_a_data_plane_that_refuses_leaves_the_upload(node: MemoryNode, plane: FakePlane) -> None:
    region = node.create("sift", "v1", SIZE)
    send(node, region)
    plane.fault = ResourceExhaustedError("the limit of locked memory is too low: ulimit -l unlimited")
    with pytest.raises(ResourceExhaustedError, match="ulimit -l"):
        node.seal("sift", "v1")
    assert region.state is RegionState.RECEIVING
    plane.fault = None
    assert node.seal("sift", "v1").state is RegionState.READY


def test_memory_that_must_be_locked(plane: FakePlane, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiervec import _core

    class Unlocked(bytearray):
        locked = False

    monkeypatch.setattr(_core, "NodeMemory", lambda size, lock: Unlocked(size))
    node = MemoryNode(8 << 20, [plane], lock_memory="require")
    with pytest.raises(ResourceExhaustedError, match=r"cannot be locked into memory; raise the limit .*ulimit -l"):
        node.create("sift", "v1", SIZE)
    assert node.list() == []


def test_memory_that_should_be_locked_says_so_once(
    plane: FakePlane, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from tiervec import _core

    class Unlocked(bytearray):
        locked = False

    monkeypatch.setattr(_core, "NodeMemory", lambda size, lock: Unlocked(size))
    node = MemoryNode(8 << 20, [plane], lock_memory="try")
    node.create("a", "v1", 10)
    node.create("b", "v1", 10)
    assert caplog.text.count("ulimit -l unlimited") == 1


def test_after_a_stop_nothing_begins(node: MemoryNode) -> None:
    region = node.create("sift", "v1", SIZE)
    node.begin_stop()
    with pytest.raises(UnavailableError, match="is stopping"):
        send(node, region, only=[0])
    with pytest.raises(UnavailableError, match="is stopping"):
        node.create("b", "v1", 10)


def test_a_deleted_region_takes_nothing(node: MemoryNode) -> None:
    region = node.create("sift", "v1", SIZE)
    node.delete("sift", "v1")
    with pytest.raises(InvalidArgumentError, match="is deleted and takes no extents"):
        send(node, region, only=[0])


# ---- with a data directory -------------------------------------------------------------------------------------------


def restarted(folder: Path, plane: FakePlane, capacity: int = 8 << 20) -> MemoryNode:
    node = MemoryNode(capacity, [plane], RegionStorage(folder), lock_memory="no")
    node.load_stored()
    return node


def test_a_restarted_node_serves_its_regions_again(tmp_path: Path, plane: FakePlane) -> None:
    node = restarted(tmp_path, plane)
    region = put(node)
    node.switch("sift", "v1")
    node.create("unfinished", "v1", 100)
    node.close()
    again = MemoryNode(8 << 20, [plane], RegionStorage(tmp_path), lock_memory="no")
    with pytest.raises(UnavailableError, match="being loaded from the node's disk"):
        again.attach("sift", "", "tcp")
    again.load_stored()
    found = again.attach("sift", "", "tcp").region
    assert (found.region_id, found.token) == (region.region_id, region.token), "readers come back by themselves"
    assert bytes(memoryview(found.memory)[:SIZE]) == DATA
    assert [region.name for region in again.list()] == ["sift"]
    again.close()


def test_a_deleted_region_does_not_come_back(tmp_path: Path, plane: FakePlane) -> None:
    node = restarted(tmp_path, plane)
    put(node)
    node.switch("sift", "v1")
    node.delete("sift", "v1")
    node.close()
    again = restarted(tmp_path, plane)
    assert again.list() == []
    again.close()


def test_a_region_damaged_on_the_disk_is_not_served_until_it_is_sent_again(tmp_path: Path, plane: FakePlane) -> None:
    node = restarted(tmp_path, plane)
    region = put(node)
    node.switch("sift", "v1")
    node.close()
    path = tmp_path / "regions" / f"{region.region_id:016x}" / "extents.bin"
    harmed = bytearray(path.read_bytes())
    harmed[EXTENT_BYTES + 3] ^= 1
    path.write_bytes(harmed)
    again = restarted(tmp_path, plane)
    with pytest.raises(DataLossError, match="is damaged in 1 of 3 extents; publish it again"):
        again.attach("sift", "", "tcp")
    assert plane.served == {}
    found = again.get("sift")
    assert found.whole().tolist() == [True, False, True]
    with pytest.raises(InvalidArgumentError, match="takes no extents"):
        send(again, found, only=[0])  # that one is right
    send(again, found, only=[1])
    again.seal("sift", "v1")
    assert bytes(memoryview(again.attach("sift", "", "tcp").region.memory)[:SIZE]) == DATA
    assert path.read_bytes() == DATA, "the disk is repaired too"
    again.close()


def test_stored_regions_must_fit(tmp_path: Path, plane: FakePlane) -> None:
    node = restarted(tmp_path, plane)
    put(node)
    node.close()
    storage = RegionStorage(tmp_path)
    with pytest.raises(ResourceExhaustedError, match="take more than the capacity of 1 MiB; give at least 2"):
        MemoryNode(1 << 20, [plane], storage, lock_memory="no")
    storage.close()


def test_load_from_the_nodes_own_disk(tmp_path: Path, plane: FakePlane) -> None:
    node = restarted(tmp_path, plane)
    (tmp_path / "records.bin").write_bytes(DATA)
    with pytest.raises(DataLossError, match=r"has checksum [0-9a-f]{16}; expected was 00"):
        node.load("sift", "v1", "records.bin", "00")
    assert node.list() == []
    node.load("sift", "v1", "records.bin", xxhash.xxh3_64_hexdigest(DATA))
    region = node.seal("sift", "v1")
    assert bytes(memoryview(region.memory)[:SIZE]) == DATA
    node.close()


# ---- scrubbing -------------------------------------------------------------------------------------------------------


def test_a_damaged_extent_is_found_and_attaching_refused(node: MemoryNode) -> None:
    health: list[tuple[str, bool]] = []
    node.on_health = lambda name, serving: health.append((name, serving))
    region = put(node)
    node.switch("sift", "v1")
    assert all(node.verify_extent(region, index) for index in range(3))
    region.extent(2)[0] ^= 1
    assert not node.verify_extent(region, 2)
    assert not node.verify_extent(region, 2)
    with pytest.raises(DataLossError, match="is damaged in 1 of 3 extents"):
        node.attach("sift", "v1", "tcp")
    assert (node.counters.extents_damaged, node.counters.extents_repaired) == (1, 0)
    assert health[-1] == ("sift", False)
    region.extent(2)[0] ^= 1  # a flaw that goes away
    assert node.verify_extent(region, 2)
    assert node.attach("sift", "v1", "tcp")
    assert health[-1] == ("sift", True)


def test_a_damaged_extent_is_repaired_from_the_disk(tmp_path: Path, plane: FakePlane) -> None:
    node = restarted(tmp_path, plane)
    region = put(node)
    region.extent(1)[7] ^= 1
    assert node.verify_extent(region, 1)
    assert bytes(memoryview(region.memory)[:SIZE]) == DATA
    assert (node.counters.extents_damaged, node.counters.extents_repaired) == (1, 1)
    assert node.attach("sift", "v1", "tcp")
    node.close()


def test_the_scrubber_goes_round_and_stops(node: MemoryNode) -> None:
    region = put(node)
    region.extent(0)[0] ^= 1
    found = threading.Event()
    node.on_health = lambda _name, _serving: found.set()
    scrubber = Scrubber(node, 1 << 30)
    scrubber.start()
    assert found.wait(60)
    scrubber.stop()
    assert region.state is RegionState.DAMAGED
    count = node.counters.extents_verified
    assert not scrubber._thread.is_alive()
    assert node.counters.extents_verified == count
    Scrubber(node, 0).stop()  # off: nothing to stop
