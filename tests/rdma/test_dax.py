from __future__ import annotations

from pathlib import Path

import pytest
import xxhash

from tiervec import _core
from tiervec.errors import AlreadyExistsError, DataLossError, InvalidArgumentError, UnavailableError
from tiervec.rdma.dax import open_dax_region

REGION = bytes(range(256)) * 300
CHECKSUM = xxhash.xxh3_64_hexdigest(REGION)


@pytest.fixture
def region(tmp_path: Path) -> Path:
    path = tmp_path / "region"
    path.write_bytes(REGION)
    return path


def opened(region: Path, *, checksum: str = CHECKSUM, option: str = "") -> _core.Tier:
    url = f"dax:{region.parent / 'place'}{option}"
    return open_dax_region(url, region, size_bytes=len(REGION), checksum=checksum, name="an index")


def test_a_region_is_loaded_once_and_found_again(region: Path) -> None:
    first = opened(region)
    assert isinstance(first, _core.DaxTier)
    assert first.bytes.tobytes() == REGION
    assert not first.bytes.flags.writeable
    assert not first.verified_at_open
    kept = first.bytes
    region.unlink()
    second = opened(region)
    assert isinstance(second, _core.DaxTier)
    assert second.bytes.tobytes() == REGION
    del first
    assert kept.tobytes() == REGION, "an array keeps its tier"


def test_a_damaged_file_is_noticed_and_leaves_the_place_free(region: Path) -> None:
    region.write_bytes(REGION[:-1] + b"x")
    with pytest.raises(
        DataLossError, match=r"region is damaged: what was loaded from it to dax:/.*place does not have"
    ):
        opened(region)
    region.write_bytes(REGION)
    assert opened(region).size_bytes == len(REGION)


def test_another_region_is_replaced_only_when_asked(region: Path) -> None:
    opened(region)
    other = REGION[::-1]
    region.write_bytes(other)
    checksum = xxhash.xxh3_64_hexdigest(other)
    with pytest.raises(AlreadyExistsError, match=r"holds another region, 'an index' of 76800 bytes"):
        opened(region, checksum=checksum)
    tier = opened(region, checksum=checksum, option="?overwrite")
    assert isinstance(tier, _core.DaxTier)
    assert tier.bytes.tobytes() == other


def test_what_others_wrote_is_left_alone(region: Path) -> None:
    place = region.parent / "place"
    place.write_bytes(b"a letter")
    with pytest.raises(AlreadyExistsError, match="holds what TierVec did not write"):
        opened(region)
    assert place.read_bytes() == b"a letter"


def test_a_place_that_is_being_loaded(region: Path) -> None:
    url = f"dax:{region.parent / 'place'}"
    loading = _core.load_dax(url, str(region))
    with pytest.raises(UnavailableError, match="is being loaded by another process"):
        opened(region)
    loading.complete(int(CHECKSUM, 16), "x")
    assert _core.attach_dax(url, len(REGION), int(CHECKSUM, 16)) is not None


def test_other_schemes_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="dram"):
        _core.attach_dax("dram:x", 1, 1)


def test_devices() -> None:
    for device in _core.dax_devices():
        assert set(device) == {"name", "size_bytes", "align_bytes", "node"}
    nodes = _core.numa_nodes()
    assert len(nodes) == len(list(Path("/sys/devices/system/node").glob("node[0-9]*")))
    for node in nodes:
        assert set(node) == {"id", "cpus", "total_bytes", "available_bytes", "distances"}
        assert len(node["distances"]) == len(nodes)
