from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from tiervec.errors import DataLossError, InvalidArgumentError, UnsupportedError
from tiervec.index_files.manifest import MAX_MANIFEST_BYTES, Manifest, Section, parse_manifest, serialize_manifest

SECTION = Section(name="records", file="records.bin", placement="tier", bytes=8, checksum="0123456789abcdef")


def manifest(**changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "kind": "graph",
        "metric": "l2",
        "dtype": "float32",
        "dim": 3,
        "vectors": 5,
        "dataset_bytes": 60,
        "params": {"graph_degree": 32, "alpha": 1.2},
        "seed": 7,
        "calibration": {"recall": [0.9, 0.95]},
        "details": {"id_bits": 3},
        "sections": (SECTION,),
        "created_by": "0.1.0",
    }
    return Manifest(**{**fields, **changes})


def forged(**changes: Any) -> bytes:
    """A manifest with any content and the right checksum for it; a value of ... removes the key."""
    document = json.loads(serialize_manifest(manifest()))
    del document["checksum"]
    document.update(changes)
    document = {key: value for key, value in document.items() if value is not ...}
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return json.dumps({**document, "checksum": xxhash.xxh3_64_hexdigest(canonical.encode())}).encode()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
OBJECT = st.dictionaries(st.text(max_size=8), JSON, max_size=4)


@given(params=OBJECT, details=OBJECT, calibration=st.none() | OBJECT, seed=st.integers(0, 2**63 - 1))
def test_what_is_written_is_read(
    params: dict[str, Any], details: dict[str, Any], calibration: dict[str, Any] | None, seed: int
) -> None:
    written = manifest(params=params, details=details, calibration=calibration, seed=seed)
    assert parse_manifest(serialize_manifest(written), "m") == written


def test_a_manifest_says_what_the_contract_asks_for() -> None:
    document = json.loads(serialize_manifest(manifest()))
    assert document["format"] == "tiervec-index"
    assert document["format_version"] == 2
    assert document["sections"] == [
        {"name": "records", "file": "records.bin", "placement": "tier", "bytes": 8, "checksum": "0123456789abcdef"}
    ]
    assert {"created_by", "kind", "metric", "dtype", "dim", "vectors", "dataset_bytes", "params"} < set(document)
    assert {"seed", "calibration", "details", "checksum"} < set(document)


def test_white_space_and_order_do_not_matter() -> None:
    document = json.loads(serialize_manifest(manifest()))
    text = json.dumps(dict(reversed(document.items())), indent=7).encode()
    assert parse_manifest(text, "m") == manifest()


def test_numbers_of_numpy_are_stored_as_plain_ones() -> None:
    written = manifest(params={"degree": np.int64(32), "alpha": np.float64(1.5), "flag": np.bool_(True)})
    assert parse_manifest(serialize_manifest(written), "m").params == {"degree": 32, "alpha": 1.5, "flag": True}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), np.zeros(2), {"deep": {1, 2}}])
def test_what_json_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(InvalidArgumentError, match="JSON values only"):
        serialize_manifest(manifest(calibration={"value": value}))


def test_a_manifest_has_a_largest_size() -> None:
    with pytest.raises(InvalidArgumentError, match="at most 4,194,304 are allowed"):
        serialize_manifest(manifest(details={"text": "x" * MAX_MANIFEST_BYTES}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "tree"}, "kind is 'tree'; it must be one of graph, cluster"),
        ({"metric": "L2"}, "metric is 'L2'"),
        ({"dtype": "float64"}, "dtype is 'float64'"),
        ({"dim": 0}, "dim is 0"),
        ({"dim": 1.0}, "dim is 1.0"),
        ({"vectors": True}, "vectors is True"),
        ({"vectors": 2**63}, "below 2..63"),
        ({"seed": -1}, "seed is -1"),
        ({"params": None}, "params is a NoneType"),
        ({"calibration": []}, "calibration is a list"),
        ({"sections": (SECTION, SECTION)}, "must be unique"),
        ({"created_by": 1}, "created_by is 1"),
    ],
)
def test_fields_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        manifest(**changes)


BAD_SECTIONS = [
    {"name": "Records"},
    {"name": "../records"},
    {"name": ""},
    {"file": "../records.bin"},
    {"file": "/etc/passwd"},
    {"file": "a/b"},
    {"file": ".hidden"},
    {"file": ".."},
    {"file": "manifest.json"},
    {"file": "a\0b"},
    {"file": "x" * 200},
    {"placement": "tape"},
    {"bytes": -1},
    {"bytes": "8"},
    {"checksum": "0123"},
    {"checksum": "0123456789ABCDEF"},
    {"checksum": None},
]


@pytest.mark.parametrize("change", BAD_SECTIONS, ids=str)
def test_sections_are_checked_when_made_and_when_read(change: dict[str, Any]) -> None:
    entry = {"name": "records", "file": "records.bin", "placement": "tier", "bytes": 8, "checksum": "0123456789abcdef"}
    with pytest.raises(InvalidArgumentError, match="section"):
        Section(**{**entry, **change})
    with pytest.raises(DataLossError, match="m does not describe an index"):
        parse_manifest(forged(sections=[{**entry, **change}]), "m")


@pytest.mark.parametrize(
    "change",
    [
        {"sections": ...},
        {"sections": None},
        {"sections": 3},
        {"sections": [3]},
        {"sections": [[]]},
        {"sections": [{}]},
        {"sections": {"a": 1}},
        {"sections": ""},
        {"kind": ...},
        {"kind": []},
        {"kind": {"a": 1}},
        {"dim": "3"},
        {"params": [1]},
        {"format_version": 0},
        {"format_version": "1"},
        {"format_version": True},
        {"format_version": None},
        {"more": 1},
    ],
    ids=str,
)
def test_a_manifest_of_another_shape_is_damage(change: dict[str, Any]) -> None:
    with pytest.raises(DataLossError, match=r"^m does not describe an index"):
        parse_manifest(forged(**change), "m")


def test_a_newer_version_asks_for_an_upgrade() -> None:
    with pytest.raises(UnsupportedError, match="format version 3, and this TierVec reads up to 2; upgrade tiervec"):
        parse_manifest(forged(format_version=3, unheard_of={}), "m")


def test_an_older_version_asks_for_a_new_build() -> None:
    with pytest.raises(UnsupportedError, match=r"format version 1, and this TierVec reads 2; build the index again$"):
        parse_manifest(forged(format_version=1, unheard_of={}), "m")


@pytest.mark.parametrize("change", [{"format": "other"}, {"format": ...}, {"format": None}])
def test_another_format_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(DataLossError, match="not the manifest of a TierVec index"):
        parse_manifest(forged(**change), "m")


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"1", b"null", b"\xff\xfe", b'{"a": 1, "a": 2}', b'{"a": NaN}', b"[" * 100_000, b"1" * 5000],
    ids=lambda text: repr(text[:8]),
)
def test_what_is_no_json_object_is_damage(text: bytes) -> None:
    with pytest.raises(DataLossError, match=r"^m is damaged"):
        parse_manifest(text, "m")


@given(data=st.data())
def test_a_changed_byte_is_never_read_as_another_index(data: st.DataObject) -> None:
    text = bytearray(serialize_manifest(manifest()))
    text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DataLossError, UnsupportedError):
        assert parse_manifest(bytes(text), "m") == manifest()


def test_a_number_out_of_range_is_damage() -> None:
    text = serialize_manifest(manifest()).replace(b"1.2", b"1e999")
    with pytest.raises(DataLossError, match="m is damaged"):
        parse_manifest(text, "m")
