"""A conversion reads everything that an index stores, so it must believe nothing that does not fit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec.cluster_index.params import LAYOUTS, ClusterBuildParams
from tiervec.cluster_index.relayout import estimate_conversion_bytes, relayout_cluster_index
from tiervec.errors import DataLossError, InvalidArgumentError, ResourceExhaustedError
from tiervec.index_files.directory import IndexDirectory, IndexDirectoryWriter
from tiervec.index_files.manifest import serialize_manifest

BASE = np.random.default_rng(1).normal(size=(300, 6)).astype(np.float32)
Array = np.ndarray[Any, Any]


@pytest.fixture(params=["coded", "grouped", "replicated"])
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def path(layout: str, tmp_path: Path) -> Path:
    out = tmp_path / "index"
    params = {"layout": layout, "clusters": 20, "replicas": 3, "code_bits": 4, "closure": 10, "rng_factor": 1.5}
    tiervec.build(BASE, out, kind="cluster", params=params, calibration_queries=BASE[:3], threads=1)
    assert IndexDirectory.open(out).manifest.details["replication"] > 1.5  # else there is nothing to convert but homes
    return out


def forge(path: Path, **changes: Any) -> IndexDirectory:
    """Another manifest with a right checksum."""
    manifest = IndexDirectory.open(path).manifest
    values = {**{name: getattr(manifest, name) for name in manifest.__dataclass_fields__}, **changes}
    (path / "manifest.json").write_bytes(serialize_manifest(type(manifest)(**values)))
    return IndexDirectory.open(path)


def rewrite(path: Path, section: str, change: Callable[[Array], None], dtype: str = "uint8") -> None:
    """Another content with a right checksum and size."""
    content = np.fromfile(path / f"{section}.bin", dtype)
    change(content)
    content.tofile(path / f"{section}.bin")
    with IndexDirectoryWriter(path.parent / "scratch") as writer:
        written = writer.write_section(section, content, placement="fast")
    sections = [
        replace(old, checksum=written.checksum) if old.name == section else old
        for old in IndexDirectory.open(path).manifest.sections
    ]
    forge(path, sections=tuple(sections))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"params": {"clusters": 20, "unknown": 1}}, "parameters of a build"),
        ({"params": {"clusters": 0}}, "parameters of a build"),
        ({"details": {"probes_width": 0}}, "probes_width 0"),
        ({"details": {"probes_width": "48"}}, "probes_width '48'"),
        ({"details": {"probes_width": 21}}, "probes_width 21"),
    ],
    ids=str,
)
def test_a_forged_manifest_is_refused(changes: dict[str, Any], word: str, path: Path, tmp_path: Path) -> None:
    if "details" in changes:
        changes = {"details": {**IndexDirectory.open(path).manifest.details, **changes["details"]}}
    with pytest.raises(DataLossError, match=word):
        relayout_cluster_index(forge(path, **changes), tmp_path / "out", {"layout": "decoupled"}, threads=1)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["index"]


@pytest.mark.parametrize(("key", "value"), [("clusters", 21), ("replicas", 4), ("closure", 0.5)])
def test_what_needs_new_clusters_is_refused(key: str, value: Any, path: Path, tmp_path: Path) -> None:
    directory = IndexDirectory.open(path)
    with pytest.raises(InvalidArgumentError, match=f"{key} cannot change without a new build"):
        relayout_cluster_index(directory, tmp_path / "out", {key: value})
    same = {key: directory.manifest.params[key]}
    relayout_cluster_index(directory, tmp_path / "out", same, threads=1)
    for file in path.iterdir():
        assert file.read_bytes() == (tmp_path / "out" / file.name).read_bytes()


@pytest.mark.parametrize("rows", [2, 300])
def test_codes_and_alignment_may_change(rows: int, path: Path, tmp_path: Path) -> None:
    changes = {"layout": "coded", "code": "sq", "code_bits": 8}
    relayout_cluster_index(IndexDirectory.open(path), tmp_path / "out", changes, threads=1)
    relayout_cluster_index(
        IndexDirectory.open(tmp_path / "out"), tmp_path / "back", {"layout": "replicated", "align": 512}, threads=1
    )
    for name in ("out", "back"):
        with tiervec.open(tmp_path / name, threads=1) as index:
            found = index.search(BASE[:rows], k=1, params={"nprobe": 20, "rerank": 128})
        assert found.ids.ravel().tolist() == list(range(rows))


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
@pytest.mark.parametrize("ids", [None, "own"])
def test_a_conversion_under_a_limit_writes_the_same_bytes(
    ids: str | None, dtype: str, layout: str, tmp_path: Path
) -> None:
    base = np.random.default_rng(2).integers(0, 200, (2000, 30)).astype(dtype)
    labels = None if ids is None else np.random.default_rng(3).permutation(len(base)) * 5 + 1
    params = {"layout": layout, "clusters": 20, "replicas": 3, "code_bits": 4}
    queries = base[:3].astype(np.float32) if dtype == "float16" else base[:3]
    path = tmp_path / "index"
    tiervec.build(base, path, kind="cluster", params=params, ids=labels, calibration_queries=queries, threads=1)
    for other in LAYOUTS:
        wanted = ClusterBuildParams(**{**params, "layout": other})
        held, streamed = (
            estimate_conversion_bytes(IndexDirectory.open(path), wanted, threads=1, streamed=way)
            for way in (False, True)
        )
        assert held == streamed + base.nbytes
        for name, limit in (("held", None), ("streamed", streamed)):
            tiervec.relayout(path, tmp_path / name, params={"layout": other}, memory_limit=limit, threads=1)
        names = sorted(file.name for file in (tmp_path / "held").iterdir())
        assert sorted(file.name for file in (tmp_path / "streamed").iterdir()) == names
        for name in names:
            assert (tmp_path / "streamed" / name).read_bytes() == (tmp_path / "held" / name).read_bytes()
        with pytest.raises(ResourceExhaustedError, match=r"^memory_limit is .*; converting 2,000 vectors .* needs"):
            tiervec.relayout(path, tmp_path / "x", params={"layout": other}, memory_limit=streamed - 1, threads=1)
        for name in ("held", "streamed"):
            shutil.rmtree(tmp_path / name)
    assert [entry.name for entry in tmp_path.iterdir()] == ["index"]


def set_first(value: int) -> Callable[[Array], None]:
    def change(content: Array) -> None:
        content[0] = value

    return change


def test_sections_that_do_not_fit_together_are_refused(path: Path, layout: str, tmp_path: Path) -> None:
    cases: list[tuple[str, Callable[[Array], None], str, str]] = [
        ("ids", lambda content: content.__setitem__(slice(0, 4), 0), "uint8", "not each stored once"),
        ("memberships", set_first(20), "uint32", "stored clusters do not fit"),
        ("sample_probes", set_first(20), "uint32", "stored clusters do not fit"),
        ("membership_sizes", set_first(0), "uint8", "memberships|stored clusters do not fit"),
        ("group_offsets", set_first(1), "uint32", "stored groups do not fit 20 clusters"),
    ]
    if layout == "replicated":
        cases += [
            ("posting_counts", set_first(10_000), "uint32", "beyond the section postings"),
            ("posting_offsets", set_first(2**40), "uint64", "beyond the section postings"),
            ("posting_counts", lambda content: content.fill(0), "uint32", "a vector is in no posting"),
            ("postings", lambda content: content.fill(255), "uint8", "a vector that does not exist"),
        ]
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    for section, change, dtype, words in cases:
        rewrite(path, section, change, dtype)
        with pytest.raises(DataLossError, match=words) as caught:
            relayout_cluster_index(IndexDirectory.open(path), tmp_path / "out", {"layout": "decoupled"}, threads=1)
        assert "\n" not in str(caught.value)
        for name, content in before.items():
            (path / name).write_bytes(content)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["index"]


def test_a_spilled_code_of_no_vector_is_refused_at_open(tmp_path: Path) -> None:
    path = tmp_path / "index"
    params = {"clusters": 20, "spill": True}
    tiervec.build(BASE, path, kind="cluster", params=params, calibration_queries=BASE[:3], threads=1)

    def change(content: Array) -> None:
        content[:-8] = 255

    rewrite(path, "spill_positions", change)
    with pytest.raises(DataLossError, match="spilled code 0 is of position 511"):
        tiervec.open(path)
