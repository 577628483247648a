"""Names, versions and room, without any memory."""

from __future__ import annotations

import pytest

from tiervec.errors import InvalidArgumentError, NotFoundError, ResourceExhaustedError
from tiervec.rdma.memory_node.memory import memory_bytes
from tiervec.rdma.memory_node.region import Region
from tiervec.rdma.memory_node.region_table import RegionTable

SIZE = 10_000
ROOM = memory_bytes(SIZE)


def region(name: str = "sift", version: str = "v1", size_bytes: int = SIZE) -> Region:
    return Region(name=name, version=version, size_bytes=size_bytes, memory=None)


def test_what_is_reserved_is_taken_until_the_region_is_there() -> None:
    table = RegionTable(2 * ROOM)
    table.reserve("sift", SIZE)
    assert table.used_bytes == ROOM
    assert table.has_room(SIZE)
    table.reserve("sift", SIZE)
    assert not table.has_room(1)
    with pytest.raises(ResourceExhaustedError, match=r"region peps takes .* has 0 B free of"):
        table.reserve("peps", 1)
    table.end_reservation(SIZE)
    table.add(region())
    assert table.used_bytes == 2 * ROOM, "one region and one reservation"
    table.end_reservation(SIZE)
    assert table.used_bytes == ROOM


def test_the_first_of_a_version_stays() -> None:
    table = RegionTable(10 * ROOM)
    first = region()
    assert table.add(first) is first
    assert table.add(region()) is first
    with pytest.raises(InvalidArgumentError, match="exists with 10,000 bytes; asked for were 9"):
        table.add(region(size_bytes=9))


def test_names_stand_for_versions() -> None:
    table = RegionTable(10 * ROOM)
    one, two = table.add(region(version="v1")), table.add(region(version="v2"))
    with pytest.raises(NotFoundError, match="region sift has no current version; there is v1, v2"):
        table.find("sift", "")
    table.current = {"sift": "v2"}
    assert table.find("sift", "") is two is table.current_region("sift")
    assert table.find("sift", "v1") is one
    assert (table.is_current(one), table.is_current(two)) == (False, True)
    with pytest.raises(NotFoundError, match="has region sift in version v1, v2, but not in version v3"):
        table.find("sift", "v3")
    with pytest.raises(NotFoundError, match="no region 'peps'"):
        table.find("peps", "")
    with pytest.raises(InvalidArgumentError):
        table.find("../sift", "")


def test_taking_out() -> None:
    table = RegionTable(10 * ROOM)
    one, two = table.add(region(version="v1")), table.add(region(version="v2"))
    other = table.add(region(name="peps"))
    table.current = {"sift": "v2"}
    assert list(table.list()) == [other, one, two]
    assert list(table.list("sift")) == [one, two]
    two.lose("its file is gone")
    assert table.lost("sift", "v2") is two
    assert table.existing("sift", "v2", two.size_bytes + 1) is None, "an upload may take its place"
    assert not table.add_stored(region(version="v2"))
    table.remove(region(version="v2"))  # another one of this name
    assert table.current_region("sift") is two
    table.remove(two)
    assert table.current == {}
    table.clear()
    assert table.used_bytes == 0
