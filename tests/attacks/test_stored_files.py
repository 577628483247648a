"""Anything at all in the files of a data directory: the node starts, the other regions are served, nothing is a bug."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiervec.errors import DataLossError, TiervecError
from tiervec.rdma.memory_node.names import EXTENT_BYTES
from tiervec.rdma.memory_node.node import MemoryNode
from tiervec.rdma.memory_node.region import Region, RegionState
from tiervec.rdma.memory_node.storage import RegionStorage
from tiervec.rdma.memory_node.storage_files import StorageFiles

#: For hours by hand: TIERVEC_FUZZ_ROUNDS=100000 pytest tests/attacks.
ROUNDS = int(os.environ.get("TIERVEC_FUZZ_ROUNDS", "150"))
FUZZED = settings(max_examples=ROUNDS, deadline=None, suppress_health_check=list(HealthCheck))
CAPACITY = 16 << 20
DATA = np.random.default_rng(1).bytes(EXTENT_BYTES + 50)
FILES = ("current.json", "node.json", "region.json", "checksums.bin", "extents.bin")

ABSURD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(
        [10**400, -(10**400), 2**62, 2**63, 2**64, -1, 0, 1e308, float("inf"), float("-inf"), float("nan")]
    ),
    st.integers(),
    st.floats(),
    st.text(max_size=30),
    st.sampled_from(["", ".", "../..", "a/b", "x" * 129, "\ud800", "0" * 32, "g" * 16, "v1", "sift"]),
    st.recursive(st.none(), lambda inner: st.lists(inner, max_size=3), max_leaves=5),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)


def put(node: MemoryNode, name: str, version: str) -> Region:
    region = node.create(name, version, len(DATA))
    for index in range(region.extents):
        data = DATA[index * EXTENT_BYTES : (index + 1) * EXTENT_BYTES]
        node.write_extent(region, index, xxhash.xxh3_64_intdigest(data), data)
    return node.seal(name, version)


class UnsyncedFiles(StorageFiles):
    """No power fails here, and a thousand syncs take long."""

    def sync(self, descriptor: int) -> None:
        pass


def started(folder: Path) -> tuple[RegionStorage, MemoryNode]:
    storage = RegionStorage(folder, UnsyncedFiles())
    try:
        node = MemoryNode(CAPACITY, [], storage, lock_memory="no")
        node.load_stored()
    except BaseException:
        storage.close()
        raise
    return storage, node


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with two regions; peps v1 is never harmed."""
    folder = tmp_path_factory.mktemp("stored") / "data"
    storage, node = started(folder)
    put(node, "sift", "v1")
    put(node, "peps", "v1")
    node.switch("sift", "v1")
    storage.save_ports({"tcp": 1234})
    node.close()
    return folder


@pytest.fixture
def harmed(whole: Path, tmp_path: Path) -> Iterator[Path]:
    logging.disable(logging.CRITICAL)
    yield tmp_path / "data"
    logging.disable(logging.NOTSET)


def fresh(whole: Path, folder: Path) -> Path:
    """A new copy; returns the folder of sift v1."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    for path in (folder / "regions").iterdir():
        if json.loads((path / "region.json").read_text())["name"] == "sift":
            return path
    raise AssertionError("sift is not there")


def path_of(name: str, folder: Path, region: Path) -> Path:
    return folder / name if name in ("current.json", "node.json") else region / name


def check(folder: Path) -> None:
    """The node starts, serves what is whole, lists the rest with a reason, and can delete it or take it anew."""
    storage, node = started(folder)
    ports = storage.ports()
    assert all(type(port) is int and 0 < port < 65536 for port in ports.values())
    storage.save_ports({"tcp": 4711})
    assert storage.ports() == {"tcp": 4711}
    assert node.get("peps", "v1").state is RegionState.READY
    for region in node.list():
        if region.state is RegionState.READY:
            assert bytes(memoryview(region.memory)[: region.size_bytes]) == DATA
            assert 0 <= region.sealed_at_s < 1e12
        else:
            assert region.state is RegionState.DAMAGED
            assert region.damage
            with pytest.raises(TiervecError):
                node.attach(region.name, region.version, "tcp")
            with pytest.raises(DataLossError):
                node.seal(region.name, region.version)
            if region.version == "v1" and region.loss:
                put(node, region.name, region.version)
                assert node.get(region.name, region.version).state is RegionState.READY
            else:
                node.delete(region.name, region.version)
    for region in node.list():
        node.delete(region.name, region.version)
    assert node.used_bytes == 0
    node.close()
    storage, node = started(folder)
    assert node.list() == []
    node.close()


@FUZZED
@given(name=st.sampled_from(FILES), content=st.binary(max_size=200))
def test_any_bytes(whole: Path, harmed: Path, name: str, content: bytes) -> None:
    path_of(name, harmed, fresh(whole, harmed)).write_bytes(content)
    check(harmed)


@FUZZED
@given(name=st.sampled_from(FILES), data=st.data())
def test_flipped_bits_and_cut_files(whole: Path, harmed: Path, name: str, data: st.DataObject) -> None:
    path = path_of(name, harmed, fresh(whole, harmed))
    content = bytearray(path.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    check(harmed)


@FUZZED
@given(name=st.sampled_from([name for name in FILES if name.endswith("json")]), value=ABSURD, data=st.data())
def test_absurd_values(whole: Path, harmed: Path, name: str, value: Any, data: st.DataObject) -> None:
    path = path_of(name, harmed, fresh(whole, harmed))
    document = json.loads(path.read_text())
    key = data.draw(st.one_of(st.sampled_from(sorted(document)), st.text(max_size=5)))
    if data.draw(st.booleans()):
        document[key] = value
    else:
        document.pop(key, None)
    path.write_text(json.dumps(document))
    check(harmed)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", ["missing", "folder", "pipe", "link", "deep", "long", "huge"])
def test_other_things_in_the_place_of_a_file(whole: Path, harmed: Path, name: str, harm: str) -> None:
    path = path_of(name, harmed, fresh(whole, harmed))
    path.unlink()
    if harm == "folder":
        path.mkdir()
    elif harm == "pipe":
        os.mkfifo(path)
    elif harm == "link":
        path.symlink_to("/etc/passwd")
    elif harm == "deep":
        path.write_text("[" * 100_000)
    elif harm == "long":
        path.write_text(json.dumps({"name": "x" * (3 << 20)}))
    elif harm == "huge":
        with open(path, "wb") as file:
            file.truncate(1 << 40)  # sparse: a node that reads all of it never starts
    if harm == "folder" and name == "region.json":
        storage, node = started(harmed)  # it cannot be unlinked: what is there stays, the rest is served
        assert node.get("peps", "v1").state is RegionState.READY
        (broken,) = [region for region in node.list() if region.damage]
        with pytest.raises(TiervecError):
            node.delete(broken.name, broken.version)
        assert node.get(broken.name, broken.version) is broken
        node.close()
    elif harm == "folder" and name == "node.json":
        storage, node = started(harmed)
        storage.save_ports({"tcp": 4711})  # a warning
        assert storage.ports() == {}
        node.close()
    else:
        check(harmed)


def test_the_time_of_a_seal_that_no_float_holds(whole: Path, harmed: Path) -> None:
    path = fresh(whole, harmed) / "region.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sealed_at_s": 10**400}))
    _, node = started(harmed)
    region = node.get("sift")
    assert region.state is RegionState.DAMAGED
    assert "sealed_at_s is an integer of 1,329 bits; it must be seconds since 1970" in region.damage
    with pytest.raises(DataLossError, match=r"region sift version v1 is damaged: .*sealed_at_s is an integer"):
        node.seal("sift", "v1")
    node.close()
    check(harmed)


def test_two_copies_of_a_region(whole: Path, harmed: Path) -> None:
    region = fresh(whole, harmed)
    copy = region.with_name("00000000000000aa")
    shutil.copytree(region, copy)
    document = json.loads((copy / "region.json").read_text())
    (copy / "region.json").write_text(json.dumps({**document, "region_id": copy.name}))
    (region / "checksums.bin").write_bytes(b"")
    _, node = started(harmed)
    assert node.get("sift").region_id == 0xAA, "the one that is whole"
    node.close()
