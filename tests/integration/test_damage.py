"""Damaged files: an error that names the file, never a wrong answer and never a crash."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec.errors import DataLossError, NotFoundError, TiervecError, UnsupportedError
from tiervec.index_files.directory import IndexDirectory
from tiervec.index_files.manifest import serialize_manifest
from tiervec.placement import section_tier

TIERS = ("dram:", "mmap:", "emulated:cxl-x8")
SECTIONS = ("code", "code_rows", "records", "records_extents", "locator", "navigation_ids", "navigation_edges")


@pytest.fixture
def unsampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening compares no extents, as where the damage lies in none that it compares."""
    monkeypatch.setattr(section_tier, "compare_sample", lambda directory, name, tier: None)


def flip(path: Path, at: float = 0.5) -> None:
    """Changes one byte, at this share of the file."""
    content = bytearray(path.read_bytes())
    content[int(at * (len(content) - 1))] ^= 0x55
    path.write_bytes(content)


def is_one_sentence(error: BaseException) -> bool:
    return 0 < len(str(error)) < 500 and "\n" not in str(error)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("at", [0.0, 0.4, 1.0])
def test_a_flipped_byte_is_found_at_open(tier: str, section: str, at: float, own_copy: Path) -> None:
    if section == "records_extents" and tier != "mmap:":
        pytest.skip("only a tier that is not read whole needs the checksums of extents")
    flip(own_copy / f"{section}.bin", at)
    said = (
        r"records\.bin on tier mmap:.*: extent "
        if (section, tier) == ("records", "mmap:")
        else rf"{section}\.bin is damaged"
    )
    with pytest.raises(DataLossError, match=said) as caught:
        tiervec.open(own_copy, tier=tier)
    assert is_one_sentence(caught.value)
    with pytest.raises(DataLossError, match=rf"{section}\.bin is damaged"):
        IndexDirectory.open(own_copy).verify()


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("harm", ["shorter", "longer", "empty", "missing", "link", "directory"])
def test_a_file_of_another_size_or_kind_is_found_at_open(
    tier: str, section: str, harm: str, own_copy: Path, tmp_path: Path
) -> None:
    path = own_copy / f"{section}.bin"
    content = path.read_bytes()
    path.unlink()
    if harm == "link":
        (tmp_path / "elsewhere").write_bytes(content)
        path.symlink_to(tmp_path / "elsewhere")
    elif harm == "directory":
        path.mkdir()
    elif harm != "missing":
        path.write_bytes({"shorter": content[:-1], "longer": content + b"\0", "empty": b""}[harm])
    with pytest.raises(DataLossError, match=rf"{section}\.bin") as caught:
        tiervec.open(own_copy, tier=tier)
    assert is_one_sentence(caught.value)


@pytest.mark.usefixtures("unsampled")
def test_mmap_finds_flipped_bytes_of_records_when_it_reads_them(
    own_copy: Path, built: Callable[..., Path], corpus: Callable[..., Any]
) -> None:
    part = corpus("float32")
    with tiervec.open(built()) as index:
        right = index.search(part.queries, k=10, params={"search_list": 60})
    random = np.random.default_rng(1)
    noticed = 0
    for _ in range(25):
        at = random.random()
        flip(own_copy / "records.bin", at)
        with tiervec.open(own_copy, tier="mmap:") as index:
            error = None
            try:
                found = index.search(part.queries, k=10, params={"search_list": 60})
                np.testing.assert_array_equal(found.ids, right.ids)  # no query came by
            except DataLossError as caught:
                error = caught
        if error is not None:
            noticed += 1
            assert "mmap:" in str(error)
            assert "tiervec verify" in str(error)
            assert is_one_sentence(error)
        flip(own_copy / "records.bin", at)
    assert noticed >= 15


@pytest.mark.usefixtures("unsampled")
def test_mmap_finds_records_that_are_no_records(own_copy: Path, corpus: Callable[..., Any]) -> None:
    path = own_copy / "records.bin"
    size = path.stat().st_size
    for content in (bytes(size), b"\xff" * size, np.random.default_rng(2).bytes(size)):
        path.write_bytes(content)
        with tiervec.open(own_copy, tier="mmap:") as index, pytest.raises(DataLossError):
            index.search(corpus("float32").queries, k=10)
        with pytest.raises(DataLossError, match=r"records\.bin"):
            tiervec.open(own_copy, tier="dram:")


@pytest.mark.usefixtures("unsampled")
def test_the_hot_set_is_not_filled_with_damaged_records(own_copy: Path) -> None:
    path = own_copy / "records.bin"
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(DataLossError):
        tiervec.open(own_copy, tier="mmap:", fast_memory=10_000_000)


def test_any_changed_byte_of_the_manifest_is_noticed(own_copy: Path) -> None:
    path = own_copy / "manifest.json"
    whole = path.read_bytes()
    manifest = json.loads(whole)
    for at in range(0, len(whole), 97):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        error = None
        try:
            with tiervec.open(own_copy) as index:
                # White space may differ.
                assert json.loads(path.read_bytes()) == manifest
                assert index.info.vectors == manifest["vectors"]
        except (DataLossError, UnsupportedError) as caught:
            error = caught
        if error is not None:
            assert "manifest.json" in str(error)
            assert is_one_sentence(error)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"{}", b'{"format": "other"}'], ids=str)
def test_a_manifest_that_is_none_is_named(content: bytes, own_copy: Path) -> None:
    (own_copy / "manifest.json").write_bytes(content)
    with pytest.raises(DataLossError, match=r"manifest\.json") as caught:
        tiervec.open(own_copy)
    assert is_one_sentence(caught.value)


def test_a_newer_format_says_upgrade(own_copy: Path) -> None:
    document = json.loads((own_copy / "manifest.json").read_bytes())
    document["format_version"] = 99
    (own_copy / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(UnsupportedError, match=r"version 99.*upgrade tiervec"):
        tiervec.open(own_copy)


def test_no_index_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="does not exist"):
        tiervec.open(tmp_path / "nowhere")
    with pytest.raises(NotFoundError, match=r"manifest\.json"):
        tiervec.open(tmp_path)


def test_the_files_of_two_indexes_do_not_mix(own_copy: Path, built: Callable[..., Path]) -> None:
    shutil.copy(built(code_bits=2) / "code_rows.bin", own_copy / "code_rows.bin")
    with pytest.raises(DataLossError, match=r"code_rows\.bin"):
        tiervec.open(own_copy)


def forge(path: Path, **changes: Any) -> None:
    """Writes another manifest with a right checksum, as somebody who wants to harm would."""
    manifest = IndexDirectory.open(path).manifest
    values = {**{name: getattr(manifest, name) for name in manifest.__dataclass_fields__}, **changes}
    (path / "manifest.json").write_bytes(serialize_manifest(type(manifest)(**values)))


FORGED: dict[str, dict[str, Any]] = {
    "more vectors": {"vectors": 1501},
    "far more vectors": {"vectors": 2**40},
    "one vector": {"vectors": 1},
    "another dim": {"dim": 383},
    "a huge dim": {"dim": 2**31},
    "another dtype": {"dtype": "float16"},
    "no details": {"details": {}},
    "no layout": {"details": {"code": "rabitq"}},
    "no code": {"details": {"layout": {"id_bits": 11, "label_bytes": 0, "unit": 1}}},
    "another code": {"details": {"layout": {"id_bits": 11, "label_bytes": 0, "unit": 1}, "code": "pq"}},
    "an unknown code": {"details": {"layout": {"id_bits": 11, "label_bytes": 0, "unit": 1}, "code": "zip"}},
    "more id bits": {"details": {"layout": {"id_bits": 12, "label_bytes": 0, "unit": 1}, "code": "rabitq"}},
    "far more id bits": {"details": {"layout": {"id_bits": 2**35, "label_bytes": 0, "unit": 1}, "code": "rabitq"}},
    "no unit": {"details": {"layout": {"id_bits": 11, "label_bytes": 0, "unit": 0}, "code": "rabitq"}},
    "a huge unit": {"details": {"layout": {"id_bits": 11, "label_bytes": 0, "unit": 2**31}, "code": "rabitq"}},
    "labels": {"details": {"layout": {"id_bits": 11, "label_bytes": 3, "unit": 1}, "code": "rabitq"}},
    "a text as id bits": {"details": {"layout": {"id_bits": "11", "label_bytes": 0, "unit": 1}, "code": "rabitq"}},
    "no sections": {"sections": ()},
}


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_manifest_is_refused(what: str, own_copy: Path) -> None:
    forge(own_copy, **FORGED[what])
    with pytest.raises(TiervecError) as caught:
        tiervec.open(own_copy)
    assert type(caught.value) in (DataLossError, NotFoundError), repr(caught.value)
    assert is_one_sentence(caught.value)


@pytest.mark.parametrize(
    "calibration",
    [{}, {"tables": {}}, {"tables": []}, {"tables": {"x": []}}, {"tables": {"10": []}}, {"tables": {"10": [{}]}}],
    ids=str,
)
def test_a_forged_calibration_is_refused_when_it_is_used(calibration: Any, own_copy: Path) -> None:
    forge(own_copy, calibration=calibration)
    with tiervec.open(own_copy) as index:
        query = np.zeros((1, index.info.dim), np.float32)
        assert index.search(query, k=3, params={"search_list": 8}).ids.shape == (1, 3)
        with pytest.raises(DataLossError, match="calibration") as caught:
            index.search(query, k=3, target_recall=0.9)
    assert is_one_sentence(caught.value)
