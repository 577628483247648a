from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiervec.errors import DataLossError, InvalidArgumentError, NotFoundError, ResourceExhaustedError, UnsupportedError
from tiervec.index_files.directory import IndexDescription, IndexDirectory, IndexDirectoryWriter

DESCRIPTION = IndexDescription(
    kind="graph", metric="cosine", dtype="uint8", dim=4, vectors=2, dataset_bytes=8, params={}, details={"bits": 5}
)
CODES = bytes(range(200))
RECORDS = os.urandom(20 << 20)  # several blocks


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with IndexDirectoryWriter(tmp_path / "index") as writer:
        writer.write_section("codes", CODES, placement="fast")
        writer.write_section("records", RECORDS, placement="tier")
        writer.commit(DESCRIPTION)
    return tmp_path / "index"


def damage(file: Path, at: int) -> None:
    with open(file, "r+b") as opened:
        opened.seek(at)
        byte = opened.read(1)
        opened.seek(at)
        opened.write(bytes([byte[0] ^ 1]))


def test_sections_are_read_and_mapped(path: Path) -> None:
    index = IndexDirectory.open(path)
    assert index.section("codes").placement == "fast"
    assert index.section_path("records") == path / "records.bin"
    assert index.read_section("codes").tobytes() == CODES
    assert index.read_section("codes").flags.writeable
    assert index.read_section("records").tobytes() == RECORDS
    mapped = index.map_section("records")
    assert mapped.tobytes() == RECORDS
    assert not mapped.flags.writeable
    assert index.read_array("codes", "<u4", (10, 5)).shape == (10, 5)


@given(
    arrays=st.dictionaries(st.from_regex("[a-z][a-z0-9_]{0,8}", fullmatch=True), st.binary(max_size=300), max_size=5)
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sections_round_trip(arrays: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    out = tmp_path_factory.mktemp("round_trip") / "index"
    with IndexDirectoryWriter(out) as writer:
        for name, content in arrays.items():
            writer.write_section(name, content, placement="fast")
        writer.commit(DESCRIPTION)
    index = IndexDirectory.open(str(out))
    assert {section.name: index.read_section(section.name).tobytes() for section in index.manifest.sections} == arrays
    index.verify()


def test_what_was_loaded_is_compared_with_the_manifest(path: Path) -> None:
    index = IndexDirectory.open(path)
    loaded = np.frombuffer(RECORDS, np.uint8).copy()
    index.verify_bytes("records", loaded)
    loaded[-1] ^= 1
    with pytest.raises(DataLossError, match="records"):
        index.verify_bytes("records", loaded)
    with pytest.raises(DataLossError, match="records"):
        index.verify_bytes("records", loaded[:-1])


def test_verify_reports_progress_and_every_section(path: Path) -> None:
    steps: list[tuple[int, int]] = []
    sections = IndexDirectory.open(path).verify(lambda done, total: steps.append((done, total)))
    total = len(CODES) + len(RECORDS) + 8 * 20  # the checksums of the extents of the records
    assert steps[-1] == (total, total)
    assert steps == sorted(set(steps))
    assert len(steps) >= 4
    assert [section.name for section in sections] == ["codes", "records", "records_extents"]


@pytest.mark.parametrize("at", [0, 10 << 20, (20 << 20) - 1])
def test_a_damaged_section_is_named(path: Path, at: int) -> None:
    damage(path / "records.bin", at)
    index = IndexDirectory.open(path)
    assert index.read_section("codes").tobytes() == CODES
    for read in (
        lambda: index.read_section("records"),
        index.verify,
        lambda: index.read_array("records", "u1", (20 << 20,)),
    ):
        with pytest.raises(DataLossError, match=r"records\.bin is damaged: its checksum is .*, but the manifest says"):
            read()


def test_a_section_of_another_size_is_found_when_opening(path: Path) -> None:
    os.truncate(path / "codes.bin", 100)
    with pytest.raises(DataLossError, match=r"codes\.bin has 100 bytes, but the manifest says 200"):
        IndexDirectory.open(path)


def test_a_section_that_shrinks_after_opening_is_found_when_reading(path: Path) -> None:
    index = IndexDirectory.open(path)
    os.truncate(path / "codes.bin", 100)
    for read in (index.read_section, index.map_section):
        with pytest.raises(DataLossError, match=r"codes\.bin has 100 bytes"):
            read("codes")


def test_a_missing_section_is_found_when_opening(path: Path) -> None:
    (path / "codes.bin").unlink()
    with pytest.raises(DataLossError, match=r"codes\.bin is missing from the index"):
        IndexDirectory.open(path)


def test_links_pipes_and_directories_are_no_sections(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(CODES)
    for make, message in (
        (lambda file: file.symlink_to(tmp_path / "elsewhere"), "is a symbolic link"),
        (os.mkfifo, "is not a plain file"),
        (Path.mkdir, "is not a plain file"),
    ):
        file = path / "codes.bin"
        if file.is_dir():
            file.rmdir()
        else:
            file.unlink()
        make(file)
        with pytest.raises(DataLossError, match=rf"codes\.bin {message}"):
            IndexDirectory.open(path)


def test_the_index_itself_may_be_reached_through_a_link(path: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(path)
    assert IndexDirectory.open(tmp_path / "current").manifest.vectors == 2


def test_what_is_no_index_is_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nowhere does not exist"):
        IndexDirectory.open(tmp_path / "nowhere")
    with pytest.raises(NotFoundError, match=r"holds no index: it has no manifest.json"):
        IndexDirectory.open(tmp_path)
    with pytest.raises(InvalidArgumentError, match="is not a directory"):
        IndexDirectory.open(path / "codes.bin")
    with pytest.raises(InvalidArgumentError, match="Not a directory"):
        IndexDirectory.open(path / "codes.bin" / "x")
    with pytest.raises(InvalidArgumentError, match="not a path"):
        IndexDirectory.open("a\0b")


def test_a_damaged_manifest_is_named(path: Path) -> None:
    damage(path / "manifest.json", 100)
    with pytest.raises(DataLossError, match=r"manifest\.json"):
        IndexDirectory.open(path)


def test_an_enormous_manifest_is_not_read(path: Path) -> None:
    os.truncate(path / "manifest.json", 1 << 40)
    with pytest.raises(DataLossError, match=r"manifest\.json is damaged: it has more than 4,194,304 bytes"):
        IndexDirectory.open(path)


def test_a_manifest_of_a_newer_version_asks_for_an_upgrade(path: Path) -> None:
    file = path / "manifest.json"
    file.write_bytes(file.read_bytes().replace(b'"format_version": 2', b'"format_version": 3'))
    with pytest.raises(UnsupportedError, match="format version 3, and this TierVec reads up to 2; upgrade tiervec"):
        IndexDirectory.open(path)


def test_unknown_sections_and_wrong_shapes_are_refused(path: Path) -> None:
    index = IndexDirectory.open(path)
    for read in (index.section, index.section_path, index.read_section, index.map_section):
        with pytest.raises(NotFoundError, match="has no section 'postings'; it has codes, records"):
            read("postings")
    for shape in ((201,), (10, 21), (2**62, 2**62)):
        with pytest.raises(DataLossError, match=r"codes\.bin has 200 bytes, but"):
            index.read_array("codes", np.uint8, shape)


def test_a_calibration_can_be_stored_later(path: Path) -> None:
    index = IndexDirectory.open(path)
    table = {"search_list": [32, 64], "recall": [0.9, np.float32(0.5)]}
    manifest = index.rewrite_manifest(calibration=table)
    assert manifest == index.manifest == IndexDirectory.open(path).manifest
    assert manifest.calibration == {"search_list": [32, 64], "recall": [0.9, 0.5]}
    assert manifest.details == {"bits": 5}
    assert sorted(file.name for file in path.iterdir()) == [
        "codes.bin",
        "manifest.json",
        "records.bin",
        "records_extents.bin",
    ]
    index.verify()


@pytest.mark.parametrize("change", [{"dim": 5}, {"sections": ()}, {"nothing": 1}, {"calibration": {"x": float("nan")}}])
def test_nothing_else_of_a_manifest_can_be_rewritten(path: Path, change: dict[str, Any]) -> None:
    before = (path / "manifest.json").read_bytes()
    with pytest.raises(InvalidArgumentError):
        IndexDirectory.open(path).rewrite_manifest(**change)
    assert (path / "manifest.json").read_bytes() == before


def test_a_full_disk_during_a_rewrite_leaves_the_old_manifest(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = IndexDirectory.open(path)
    before, manifest = (path / "manifest.json").read_bytes(), index.manifest

    def disk_full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(ResourceExhaustedError, match="no space left"):
        index.rewrite_manifest(calibration={"x": 1})
    assert (path / "manifest.json").read_bytes() == before
    assert index.manifest == manifest
    assert sorted(file.name for file in path.iterdir()) == [
        "codes.bin",
        "manifest.json",
        "records.bin",
        "records_extents.bin",
    ]


def test_tier_sections_may_be_absent_where_they_are_read_elsewhere(path: Path) -> None:
    (path / "records.bin").unlink()
    with pytest.raises(DataLossError, match=r"records\.bin is missing"):
        IndexDirectory.open(path)
    index = IndexDirectory.open(path, remote_tier=True)
    assert index.remote_sections == {"records"}
    assert [section.name for section in index.verify()] == ["codes", "records_extents"]
    (path / "codes.bin").unlink()
    with pytest.raises(DataLossError, match=r"codes\.bin is missing"):
        IndexDirectory.open(path, remote_tier=True)


def test_a_stripped_index(path: Path) -> None:
    index = IndexDirectory.open(path)
    assert (index.published_to, index.remote_sections) == (None, frozenset())
    assert index.strip_tier("tcp://node:1/index") == len(RECORDS)
    again = IndexDirectory.open(path)
    assert (again.published_to, again.remote_sections) == ("tcp://node:1/index", {"records"})
    assert not (path / "records.bin").exists()
    assert [section.name for section in again.verify()] == ["codes", "records_extents"]
    assert again.strip_tier("tcp://other:1/index") == 0


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"url": 5}', b"{}", b"\xff"])
def test_a_damaged_note_of_where_it_went(path: Path, content: bytes) -> None:
    IndexDirectory.open(path).strip_tier("tcp://node:1/index")
    (path / "published.json").write_bytes(content)
    with pytest.raises(DataLossError, match=r"published\.json is damaged"):
        IndexDirectory.open(path)
