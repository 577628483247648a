"""Indexes on ``numa:`` and ``dax:``: the same answers as on ``dram:``, and what is special about these tiers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec import _core
from tiervec.errors import AlreadyExistsError, DataLossError, NotFoundError, UnsupportedError
from tiervec.index_files.directory import IndexDirectory
from tiervec.placement import section_tier
from tiervec.rdma.profile import profile

BASE = np.random.default_rng(4).normal(size=(400, 10)).astype(np.float32)


INDEXES: dict[str, dict[str, Any]] = {
    "graph": {"params": {"graph_degree": 8, "build_list": 16}},
    **{
        layout: {"kind": "cluster", "params": {"layout": layout, "clusters": 80, "closure": 10, "rng_factor": 1.5}}
        for layout in ("coded", "grouped", "replicated")
    },
}


@pytest.fixture(scope="module", params=INDEXES)
def right(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, tiervec.SearchResult]:
    if request.param != "graph":
        pytest.importorskip("faiss", reason="clusters are built with faiss, which is not installed")
    out = tmp_path_factory.mktemp("local") / "books"
    tiervec.build(BASE, out, calibration_queries=BASE[:10], threads=1, **INDEXES[request.param])
    with tiervec.open(out) as index:
        return out, index.search(BASE[:50], k=5)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "place"


def is_on_dax(place: Path) -> bool:
    """Whether the file system of `place` is mounted for direct access, as the kernel says."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    holding = [mount for mount in mounts if place.is_relative_to(mount[1])]
    options = max(holding, key=lambda mount: len(mount[1]))[3].split(",")
    return not {"dax", "dax=always"}.isdisjoint(options)


def dax_notes(place: Path) -> list[str]:
    """What a tier on `place` has to say."""
    said = f"{place} is not on DAX: reads go through the page cache, as those of mmap: do"
    return [] if is_on_dax(place) else [said]


def answers(out: Path, tier: str) -> tiervec.SearchResult:
    with tiervec.open(out, tier=tier) as index:
        assert index.tier == tier
        return index.search(BASE[:50], k=5)


def test_numa(right: tuple[Path, tiervec.SearchResult]) -> None:
    nodes = [node for node in _core.numa_nodes() if node["total_bytes"]]
    if not nodes:
        pytest.skip("this kernel has no NUMA support")
    try:
        found = answers(right[0], f"numa:{nodes[0]['id']}")
    except UnsupportedError as error:
        pytest.skip(str(error))
    np.testing.assert_array_equal(found.ids, right[1].ids)
    assert any(note.startswith(f"NUMA node {nodes[0]['id']}, ") for note in found.receipt.notes)
    with pytest.raises(NotFoundError, match="there is no NUMA node 4000"):
        tiervec.open(right[0], tier="numa:4000")


def test_dax_is_loaded_once(right: tuple[Path, tiervec.SearchResult], place: Path) -> None:
    url = f"dax:{place}"
    assert (answers(right[0], url).ids == right[1].ids).all()
    directory = IndexDirectory.open(right[0])
    (name,) = (section.name for section in directory.manifest.sections if section.placement == "tier")
    records = directory.section_path(name)
    kept = records.read_bytes()
    records.write_bytes(bytes(len(kept)))
    try:
        found = answers(right[0], url)
    finally:
        records.write_bytes(kept)
    np.testing.assert_array_equal(found.ids, right[1].ids)
    assert list(found.receipt.notes) == dax_notes(place)


def test_dax_notices_what_was_changed_under_it(
    right: tuple[Path, tiervec.SearchResult], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(right[0], f"dax:{place}")
    harmed = bytearray(place.read_bytes())
    harmed[4096:] = bytes(byte ^ 1 for byte in harmed[4096:])
    place.write_bytes(harmed)
    with pytest.raises(DataLossError, match=r"extent 0 .* is not that of this index"):
        answers(right[0], f"dax:{place}")
    monkeypatch.setattr(section_tier, "compare_sample", lambda directory, name, tier: None)  # damage beside the sample
    with pytest.raises(DataLossError, match="is not what was written there"):
        answers(right[0], f"dax:{place}")


def test_dax_keeps_another_index(right: tuple[Path, tiervec.SearchResult], place: Path, tmp_path: Path) -> None:
    url = f"dax:{place}"
    tiervec.build(BASE[::-1].copy(), tmp_path / "films", params={"graph_degree": 8}, calibration_queries=BASE[:10])
    answers(tmp_path / "films", url)
    with pytest.raises(AlreadyExistsError, match=r"holds another region, 'films' of .* bytes, written 2"):
        answers(right[0], url)
    with pytest.raises(AlreadyExistsError, match="'films'"):
        profile(url, region_bytes="1MiB", threads=1, runs=1, read_sizes=[64], run_seconds=0.001)
    assert (answers(right[0], f"{url}?overwrite").ids == right[1].ids).all()
    assert (answers(right[0], url).ids == right[1].ids).all()


def test_a_profile_leaves_the_place_free(right: tuple[Path, tiervec.SearchResult], place: Path) -> None:
    measured = profile(f"dax:{place}", region_bytes="1MiB", threads=1, runs=1, read_sizes=[64], run_seconds=0.001)
    assert [note for note in measured.notes if not note.startswith("unstable: ")] == dax_notes(place)
    assert (answers(right[0], f"dax:{place}").ids == right[1].ids).all()
