"""JSON as the data classes that declare its fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from tiervec.bench.json_records import record_of_json
from tiervec.errors import DataLossError

FILE = Path("a.json")


@dataclass(frozen=True)
class Inner:
    number: int


@dataclass(frozen=True)
class Outer:
    share: float
    kind: Literal["a", "b"] = "a"
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    rest: Mapping[str, Any] = field(default_factory=dict)


def test_fields_become_what_they_are_declared_as() -> None:
    document = {"share": 1, "kind": "b", "inner": {"number": 2}, "many": [{"number": 3}], "rest": {"x": [4]}}
    expected = Outer(share=1.0, kind="b", inner=Inner(2), many=(Inner(3),), rest={"x": [4]})
    found = record_of_json(Outer, document, FILE)
    assert found == expected
    assert isinstance(found.share, float)
    assert record_of_json(Outer, {"share": 0.5, "inner": None}, FILE) == Outer(0.5)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "is no object"),
        ({}, "share"),
        ({"share": "much"}, "'much' is no float"),
        ({"share": True}, "True is no float"),
        ({"share": 1, "kind": "c"}, "'c' is none of a, b"),
        ({"share": 1, "inner": {"number": 1.5}}, "1.5 is no int"),
        ({"share": 1, "many": {"number": 1}}, "is no list"),
        ({"share": 1, "rest": []}, "is no object"),
        ({"share": 1, "colour": "red"}, "unknown key colour"),
    ],
)
def test_what_does_not_fit_names_the_file(document: Any, says: str) -> None:
    with pytest.raises(DataLossError, match=rf"a\.json is no Outer: .*{says}"):
        record_of_json(Outer, document, FILE)
