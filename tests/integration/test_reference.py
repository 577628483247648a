"""docs/reference.md against the code: each key with its default, each JSON key, exception and environment variable."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import tiervec
from tiervec import errors
from tiervec.attributes.filter_text import parse_filter
from tiervec.attributes.filter_tree import COMPARISONS
from tiervec.cli.main import main
from tiervec.index_files.info import IndexInfo
from tiervec.kinds.names import KIND_NAMES
from tiervec.kinds.registry import index_kind
from tiervec.rpc.status_codes import STATUS_CODES, status_code
from tiervec.vectors.vector_files import VECTOR_SUFFIXES


@pytest.fixture
def vectors() -> NDArray[Any]:
    return np.random.default_rng(0).normal(size=(200, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def reference() -> str:
    return (Path(__file__).parents[2] / "docs" / "reference.md").read_text(encoding="utf-8")


def section(text: str, *headings: str) -> str:
    """What stands below a heading, up to the next one of its level or above."""
    for level, heading in enumerate(headings, start=2):
        _, found, text = text.partition(f"\n{'#' * level} {heading}\n")
        assert found, f"no heading {heading!r}"
        text = re.split(rf"\n#{{2,{level}}} ", text, maxsplit=1)[0]
    return text


def as_written(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else str(value)


@pytest.mark.parametrize("when", ["Build", "Search"])
@pytest.mark.parametrize("kind", sorted(KIND_NAMES))
def test_every_key_has_its_default(reference: str, kind: str, when: str) -> None:
    parameters = index_kind(kind).build_params if when == "Build" else index_kind(kind).search_params
    table = section(reference, f"{when} keys", kind)
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", table, re.MULTILINE))
    assert rows == {field.name: as_written(field.default) for field in dataclasses.fields(parameters)}


def test_every_exception_has_its_status(reference: str) -> None:
    table = section(reference, "Errors")
    rows = dict(re.findall(r"^\| `(\w+)` \|[^|]*\| `(\w+)` \|", table, re.MULTILINE))
    exceptions = {name: getattr(errors, name) for name in errors.__all__ if name.endswith("Error")}
    assert rows == {name: status_code(error("")).name for name, error in exceptions.items()}
    assert {errors.TiervecError, *STATUS_CODES} <= set(exceptions.values())


def test_every_key_of_info_is_there(reference: str) -> None:
    row = re.search(r"^\| `info`, `build` \|(.*)$", section(reference, "JSON"), re.MULTILINE)
    assert row is not None
    written = set(re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", row[1])))
    assert written == {field.name for field in dataclasses.fields(IndexInfo)}


def test_every_key_of_search_is_there(
    reference: str, tmp_path: Path, vectors: NDArray[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    tiervec.build(vectors, tmp_path / "index", attributes={"year": [2020] * len(vectors)})
    np.save(tmp_path / "queries.npy", vectors[:3])
    command = ["search", str(tmp_path / "index"), "--queries", str(tmp_path / "queries.npy"), "--repeat", "2", "--json"]
    assert main([*command, "--filter", "year == 2020"]) == 0
    row = re.search(r"^\| `search` \|(.*)$", section(reference, "JSON"), re.MULTILINE)
    assert row is not None
    written = set(re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", re.sub("`--[a-z]+`", "", row[1]))))
    assert written == set(json.loads(capsys.readouterr().out))


def test_the_example_of_filters_runs(
    reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"^```python\n(.*?)^```", section(reference, "Filters"), re.MULTILINE | re.DOTALL)
    exec(example, {})
    (expected,) = re.findall(r"print\(.*\)  # (.*)", example)
    assert capsys.readouterr().out == expected + "\n"


def test_every_operator_of_filters_is_there(reference: str) -> None:
    table = re.search(r"^\| filter \|.*?\n\n", section(reference, "Filters"), re.MULTILINE | re.DOTALL)
    assert table is not None
    pairs = re.findall(r"^\| `([^`]+)`.*?\| `([^`]+)`", table[0], re.MULTILINE)
    for text, tree in pairs[:-1]:
        assert parse_filter(text) == json.loads(tree)
    written = re.findall(r'"([^"]+)": ', table[0])
    assert {*COMPARISONS, "in", "not in", "contains", "exists", "is null", "is not null", "and", "or", "not"} <= {
        *written,
        *re.findall(r"`([=!<>]+)`", table[0]),
    }


def test_every_suffix_of_vector_files_is_there(reference: str) -> None:
    written = set(re.findall(r"`(\.\w+)`", section(reference, "Vectors")))
    assert set(VECTOR_SUFFIXES) <= written
