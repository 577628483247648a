"""Filters: the language, its errors, and that it admits what a row by row look admits."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiervec.attributes.columns import read_columns
from tiervec.attributes.filter_text import parse_filter
from tiervec.attributes.filter_tree import checked_tree
from tiervec.attributes.table import AttributeTable
from tiervec.errors import InvalidArgumentError

RECORDS: list[dict[str, Any]] = [
    {"year": 2019, "lang": "en", "tags": ["a", "b"], "score": 1.0, "ok": True, "when": datetime.datetime(2024, 5, 31)},
    {"year": 2020, "lang": "de", "tags": [], "score": 2.5, "ok": False},
    {},
    {"year": 2024, "lang": 'q"uote', "tags": ["b"], "score": -0.5, "ok": True, "when": datetime.datetime(2025, 1, 1)},
]
TABLE = AttributeTable.of(read_columns(RECORDS, len(RECORDS)), len(RECORDS))


def admitted(given: Any) -> list[int]:
    tree = parse_filter(given) if isinstance(given, str) else given
    return np.flatnonzero(checked_tree(tree, TABLE.types).admitted(TABLE)).tolist()


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("year >= 2020", [1, 3]),
        ("year > 2019.5 and year < 2021", [1]),
        ("year <= 2019 or year == 2024", [0, 3]),
        ("year != 2020", [0, 3]),
        ("not (year == 2020)", [0, 2, 3]),
        ("not not year == 2020", [1]),
        ("year == 2020.5", []),
        ('lang in ["en", "de"]', [0, 1]),
        ('lang not in ["en"]', [1, 3]),
        ("lang in []", []),
        ("lang contains 'uo'", [3]),
        (r'lang == "q\"uote"', [3]),
        ('tags contains "b"', [0, 3]),
        ("exists(tags)", [0, 3]),
        ("year is null", [2]),
        ("year IS NOT NULL AND ok == TRUE", [0, 3]),
        ("ok != true", [1]),
        ("score<0 or `score`>=2.5", [1, 3]),
        ("score > -1e0 and score < .5", [3]),
        ("when >= '2024-06-01'", [3]),
        ('when == "2024-05-31T02:00:00+02:00"', [0]),
        ("id in [0, 3, 99]", [0, 3]),
        ("id >= 2 and id != 3", [2]),
        ("year == 2019 or year == 2020 and lang == 'de'", [0, 1]),
        ("(year == 2019 or year == 2020) and lang == 'de'", [1]),
    ],
)
def test_what_it_admits(text: str, rows: list[int]) -> None:
    assert admitted(text) == rows
    assert admitted(parse_filter(text)) == rows


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("year >=", r"at character 8 \(year >= >>>\): a number, a text in quotes, true or false must stand here"),
        ("year = 2", r"at character 6 \(year  >>> = 2\): no word, number, text in quotes or sign"),
        ("(year == 1", r"\) must stand here"),
        ("year == 1 year", "and, or, or the end of the filter must follow"),
        ("", "the name of an attribute, not, exists or"),
        ("in == 3", "the name of an attribute"),
        ("year 5", "must follow year"),
        ('lang == "en', "no word, number"),
        ("year == 12abc", "no word, number"),
        ("(" * 100 + "year == 1" + ")" * 100, "a filter may be nested 60 levels deep"),
        ("year in [" + "1," * 100_001 + "1]", "a list may have 100,000 values"),
        ("x" * (4 << 20) + "y", "the filter has 4,194,305 characters; it may have 4,194,304"),
        ("colour == 1", "asks for 'colour', which is no attribute; there are: id, lang, ok, score, tags, when, year"),
        ('year == "x"', "year is int, and the filter compares it with 'x'; it must be a number"),
        ("lang == 1", "lang is str, and the filter compares it with 1; it must be a text"),
        ("ok == 1", "ok is bool, and the filter compares it with 1; it must be true or false"),
        ("ok < true", "ok is a truth value: it can be compared with == and != only"),
        ('when > "soon"', "when is datetime, and the filter compares it with 'soon'; it must be a date and time"),
        ('tags == "b"', "tags is a list, so use contains instead of =="),
        ('tags in ["b"]', "tags is a list, so use contains instead of in"),
        ("year contains 'x'", "contains looks for a text in a text or a list, and year is int"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, says: str) -> None:
    with pytest.raises(InvalidArgumentError, match=says):
        admitted(text)


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({}, "is no filter: it must be a dict with one operator"),
        ([], "is no filter"),
        ({"and": []}, "and takes a list of filters"),
        ({"near": ["year", 1]}, "the operator 'near', which there is not"),
        ({"==": ["year"]}, "== takes an attribute and a value"),
        ({"in": ["year", 3]}, "year in takes a list of at most 100,000 values"),
        ({"exists": 3}, "asks for 3, which is no attribute"),
        ({"==": ["year", float("nan")]}, "it must be a number"),
    ],
)
def test_trees_are_checked(tree: Any, says: str) -> None:
    with pytest.raises(InvalidArgumentError, match=says):
        admitted(tree)


def test_a_tree_that_is_nested_for_ever() -> None:
    tree: dict[str, Any] = {"exists": "year"}
    for _ in range(2000):
        tree = {"not": tree}
    with pytest.raises(InvalidArgumentError, match="nested deeper than 64 levels"):
        admitted(tree)


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet="yearlng=!<>()[],\" '`andortisul.0123456789\\\x00", max_size=60))
def test_any_text_is_a_filter_or_one_error(text: str) -> None:
    with contextlib.suppress(InvalidArgumentError):
        assert len(admitted(text)) <= len(RECORDS)


COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
leaves = st.one_of(
    st.tuples(st.sampled_from(sorted(COMPARE)), st.just("n"), st.one_of(st.integers(-3, 3), st.floats(-3, 3))),
    st.tuples(st.sampled_from(sorted(COMPARE)), st.just("t"), st.sampled_from(["a", "b", "ab", ""])),
).map(lambda leaf: {leaf[0]: [leaf[1], leaf[2]]})
trees = st.recursive(
    leaves | st.sampled_from([{"exists": "n"}, {"is null": "t"}, {"in": ["n", [1, 2]]}, {"not in": ["t", ["a"]]}]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"and": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"or": parts}),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=8,
)


def holds(tree: Any, row: dict[str, Any]) -> bool:
    ((operator, given),) = tree.items()
    if operator in ("and", "or"):
        return (all if operator == "and" else any)(holds(part, row) for part in given)
    if operator == "not":
        return not holds(given, row)
    if operator in ("exists", "is null"):
        return (row[given] is None) == (operator == "is null")
    value = row[given[0]]
    if value is None:
        return False
    if operator in ("in", "not in"):
        return (value in given[1]) == (operator == "in")
    return COMPARE[operator](value, given[1])


@settings(max_examples=200, deadline=None)
@given(
    tree=trees,
    rows=st.lists(
        st.fixed_dictionaries(
            {"n": st.none() | st.integers(-3, 3), "t": st.none() | st.sampled_from(["a", "b", "ab", ""])}
        ),
        min_size=1,
        max_size=20,
    ),
)
def test_it_admits_what_a_look_at_each_row_admits(tree: Any, rows: list[dict[str, Any]]) -> None:
    whole = [{"n": 0, "t": ""}, *rows]  # so that both have a type
    table = AttributeTable.of(read_columns(whole, len(whole)), len(whole))
    assert checked_tree(tree, table.types).admitted(table).tolist() == [holds(tree, row) for row in whole]
