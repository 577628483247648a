"""Attributes as they are given."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiervec.attributes.columns import read_columns
from tiervec.errors import InvalidArgumentError, NotFoundError

WHEN = datetime.datetime(2024, 5, 31, 12, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
RECORDS: list[dict[str, Any]] = [
    {"year": 2020, "score": 1, "lang": "en", "draft": True, "when": WHEN, "tags": ["a", "b", "a"]},
    {"year": None, "score": 2.5, "lang": "de", "tags": []},
    {"year": -5, "score": float("nan"), "draft": False, "when": WHEN.replace(tzinfo=None), "tags": ["b"]},
]


def shown(columns: Any) -> dict[str, tuple[str, list[int], list[Any]]]:
    return {name: (raw.type, raw.rows.tolist(), raw.values.tolist()) for name, raw in columns.items()}


EXPECTED = {
    "year": ("int", [0, 2], [2020, -5]),
    "score": ("float", [0, 1], [1.0, 2.5]),
    "lang": ("str", [0, 1], ["en", "de"]),
    "draft": ("bool", [0, 2], [1, 0]),
    "when": ("datetime", [0, 2], [1717149600000000, 1717156800000000]),
    "tags": ("list", [0, 0, 2], ["a", "b", "b"]),
}


def test_dicts_and_columns_are_the_same() -> None:
    assert shown(read_columns(RECORDS, 3)) == EXPECTED
    columns = {name: [record.get(name) for record in RECORDS] for name in EXPECTED}
    assert shown(read_columns(columns, 3)) == EXPECTED


def test_arrow_and_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    plain = [
        {**record, "when": None, "score": record["score"] if record["score"] == record["score"] else None}
        for record in RECORDS
    ]
    table = pyarrow.Table.from_pylist(plain).drop_columns(["when"])
    expected = {name: column for name, column in EXPECTED.items() if name != "when"}
    assert shown(read_columns(table, 3)) == expected
    parquet.write_table(table, tmp_path / "attributes.parquet")
    assert shown(read_columns(tmp_path / "attributes.parquet", 3)) == expected


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "attributes.jsonl"
    path.write_text('{"lang": "en", "tags": ["x"]}\n{"lang": null}\n')
    assert shown(read_columns(str(path), 2)) == {"lang": ("str", [0], ["en"]), "tags": ("list", [0], ["x"])}


def test_arrays_of_numpy() -> None:
    found = read_columns(
        {
            "i": np.array([3, 1], np.uint8),
            "f": np.array([np.nan, 0.5], np.float32),
            "b": np.array([True, False]),
            "d": np.array(["1970-01-01T00:00:01", "NaT"], "datetime64[s]"),
            "s": np.array(["x", "y"]),
        },
        2,
    )
    assert shown(found) == {
        "i": ("int", [0, 1], [3, 1]),
        "f": ("float", [1], [0.5]),
        "b": ("bool", [0, 1], [1, 0]),
        "d": ("datetime", [0], [1_000_000]),
        "s": ("str", [0, 1], ["x", "y"]),
    }


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ({"year": [1]}, "attribute year has 1 values; there are 2 vectors"),
        ({"year": "ab"}, r"attribute year is 'ab'; it must be a column of 2 values"),
        ({"year": [1, "x"]}, r"attribute year is int in row 0 and str in row 1 \('x'\); it must have one type"),
        ({"year": [1, {}]}, r"attribute year of row 1 is \{\}; it must be a number"),
        ({"tags": [["a"], [1]]}, r"attribute tags of row 1 is \[1\]"),
        ({"year": [1, 2**63]}, "attribute year of row 1 is 9223372036854775808; integers must fit 64 bits"),
        ({"year": np.array([1, 2**63], np.uint64)}, "attribute year of row 1 is 9223372036854775808"),
        ({"id": [1, 2]}, "an attribute cannot be called id"),
        ({"": [1, 2]}, "'' cannot be a name of attributes"),
        ({"a`b": [1, 2]}, "cannot be a name of attributes"),
        ([{"year": 1}, 7], "attributes of row 1 are 7; they must be a dict"),
        (7, "attributes are 7; they must be a dict of columns"),
        ({str(i): [1, 2] for i in range(1001)}, "there are 1,001 attributes; there may be 1,000"),
    ],
)
def test_what_cannot_be_used_is_named(source: Any, says: str) -> None:
    with pytest.raises(InvalidArgumentError, match=says):
        read_columns(source, 2)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="does not exist"):
        read_columns(tmp_path / "none.jsonl", 1)
    broken = tmp_path / "broken.jsonl"
    broken.write_text(json.dumps({"a": 1}) + "\n{\n")
    with pytest.raises(InvalidArgumentError, match=r"broken\.jsonl line 2 is not JSON"):
        read_columns(broken, 2)
    other = tmp_path / "attributes.csv"
    other.touch()
    with pytest.raises(InvalidArgumentError, match=r"must be a \.parquet file, or a \.jsonl file"):
        read_columns(other, 1)
    pytest.importorskip("pyarrow")
    wrong = tmp_path / "wrong.parquet"
    wrong.write_bytes(b"not parquet")
    with pytest.raises(InvalidArgumentError, match="is no Parquet file"):
        read_columns(wrong, 1)
