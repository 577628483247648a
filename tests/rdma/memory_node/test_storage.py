from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash

from tiervec.errors import DataLossError, InvalidArgumentError, NotFoundError, UnavailableError
from tiervec.rdma.memory_node.names import EXTENT_BYTES
from tiervec.rdma.memory_node.region import Region
from tiervec.rdma.memory_node.storage import RegionStorage


def make_region(size: int = EXTENT_BYTES + 10, name: str = "sift", version: str = "v1") -> Region:
    region = Region(name=name, version=version, size_bytes=size, memory=bytearray(np.random.default_rng(1).bytes(size)))
    for index in range(region.extents):
        region.checksums[index] = xxhash.xxh3_64_intdigest(region.extent(index))
    region.present[:] = True
    region.sealed_at_s = 12.5
    return region


def test_a_region_comes_back(tmp_path: Path) -> None:
    region = make_region()
    storage = RegionStorage(tmp_path / "data")
    storage.save(region)
    storage.save_current({"sift": "v1"})
    storage.save_ports({"tcp": 1234})
    storage.close()
    again = RegionStorage(tmp_path / "data")
    (stored,) = again.stored()
    for name in ("name", "version", "size_bytes", "region_id", "token", "sealed_at_s"):
        assert getattr(stored, name) == getattr(region, name)
    assert stored.checksums.tolist() == region.checksums.tolist()
    extent = bytearray(10)
    again.read_extent(region.region_id, 1, memoryview(extent))
    assert extent == region.memory[EXTENT_BYTES:]
    assert again.current() == {"sift": "v1"}
    assert again.ports() == {"tcp": 1234}
    again.remove(region.region_id)
    assert list(again.stored()) == []
    again.close()


def test_secrets_are_for_the_owner_only(tmp_path: Path) -> None:
    storage = RegionStorage(tmp_path / "data")
    storage.save(make_region())
    storage.save_current({})
    for path in (tmp_path / "data").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    storage.close()


def test_two_nodes_do_not_share_a_directory(tmp_path: Path) -> None:
    first = RegionStorage(tmp_path)
    with pytest.raises(UnavailableError, match="is used by another memory node"):
        RegionStorage(tmp_path)
    first.close()
    RegionStorage(tmp_path).close()


def test_a_directory_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidArgumentError, match="using the data directory"):
        RegionStorage(tmp_path / "file" / "data")


def test_what_a_killed_node_left_is_removed(tmp_path: Path) -> None:
    RegionStorage(tmp_path).close()
    for name in (".0000000000000001.tmp", ".0000000000000002.gone", "0000000000000003"):
        (tmp_path / "regions" / name).mkdir()
        (tmp_path / "regions" / name / "extents.bin").write_bytes(b"x")
    for name in (".current.json.tmp", ".node.json.tmp", ".current.json.tmp-123-abcd", ".node.json.tmp-9-01"):
        (tmp_path / name).write_text("{")
    (tmp_path / ".mine.tmp").write_text("the operator's own")
    RegionStorage(tmp_path).close()
    assert list((tmp_path / "regions").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.tmp", "lock", "regions"]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("harm", ["json", "values", "token", "size", "checksums", "short", "folder", "missing"])
def test_a_damaged_region_says_why(tmp_path: Path, harm: str) -> None:
    storage, region = RegionStorage(tmp_path), make_region()
    storage.save(region)
    storage.save(make_region(version="v2"))
    folder = tmp_path / "regions" / f"{region.region_id:016x}"
    document = json.loads((folder / "region.json").read_text())
    changes: dict[str, Any] = {
        "values": {"name": "../etc"},
        "token": {"token": "00"},
        "size": {"size_bytes": -5},
    }
    if harm == "json":
        (folder / "region.json").write_text("{")
    elif harm == "checksums":
        flip(folder / "checksums.bin")
    elif harm == "short":
        (folder / "extents.bin").write_bytes(b"x")
    elif harm == "missing":
        (folder / "extents.bin").unlink()
    elif harm == "folder":
        folder.rename(folder.with_name("00000000000000ff"))
    else:
        (folder / "region.json").write_text(json.dumps({**document, **changes[harm]}))
    found = {stored.version: stored for stored in storage.stored()}
    assert found.pop("v2").damage == ""
    (damaged,) = found.values()
    assert damaged.size_bytes == 0
    lost_name = harm in ("json", "values")
    folder_id = "00000000000000ff" if harm == "folder" else f"{region.region_id:016x}"
    assert damaged.name == (f"unreadable-{folder_id}" if lost_name else "sift")
    assert damaged.version == ("unknown" if lost_name else "v1")
    assert folder_id in damaged.damage
    assert region.token.hex() not in repr(damaged)
    storage.close()


def test_files_of_the_operator(tmp_path: Path) -> None:
    storage = RegionStorage(tmp_path / "data")
    inside = tmp_path / "data" / "import"
    inside.mkdir()
    (inside / "records.bin").write_bytes(b"records")
    (tmp_path / "secret").write_bytes(b"secret")
    (inside / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "data" / "linked").symlink_to(tmp_path)
    with storage.open_import("import/records.bin") as file:
        assert file.size_bytes == 7
        assert file.read(4, 3) == b"ords"
        with pytest.raises(DataLossError, match="became shorter while it was read; 1 bytes are missing"):
            file.read(4, 4)
    for path in ("../secret", "/etc/passwd", "", "import/../../secret", "regions/x", "a\0b"):
        with pytest.raises(InvalidArgumentError, match="must be relative"):
            storage.open_import(path)
    for path in ("import/link", "linked/secret", "import", "import/records.bin/x"):
        with pytest.raises(InvalidArgumentError, match="plain file"):
            storage.open_import(path)
    with pytest.raises(NotFoundError, match="has no file 'import/none'"):
        storage.open_import("import/none")
    storage.close()


def test_an_extent_that_cannot_be_read(tmp_path: Path) -> None:
    storage = RegionStorage(tmp_path)
    with pytest.raises(DataLossError, match="cannot be read"):
        storage.read_extent(7, 0, memoryview(bytearray(10)))
    storage.close()
