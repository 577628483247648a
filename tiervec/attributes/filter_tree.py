"""Filters as trees: what they may say about which attributes, and which rows they admit.

A comparison with null is false, whatever it is, and ``not`` turns a truth value around: ``year != 2020`` leaves out
rows without a year, ``not (year == 2020)`` takes them in.

    as dicts: {"and": [tree, ...]}  {"or": [tree, ...]}  {"not": tree}
              {"==": ["year", 2020]}, likewise != < <= > >=, "in", "not in" (with a list) and "contains"
              {"exists": "draft"}  {"is null": "draft"}  {"is not null": "draft"}
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tiervec.arguments.parameter_checks import shown
from tiervec.attributes.columns import microseconds
from tiervec.attributes.table import AttributeTable, Column
from tiervec.errors import InvalidArgumentError

__all__ = ["COMPARISONS", "MOST_VALUES", "Filter", "checked_tree"]

COMPARISONS: Final = ("==", "!=", "<", "<=", ">", ">=")
MOST_VALUES: Final = 100_000  # in one list
_DEEPEST: Final = 64

_Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Filter:
    """A filter that was checked against the attributes of an index.

    Attributes:
        tree: What it was made of, as dicts.
    """

    tree: Mapping[str, Any]
    _admitted: Callable[[AttributeTable], _Mask]

    def admitted(self, table: AttributeTable) -> _Mask:
        """(rows,) bool: the rows that it admits."""
        return self._admitted(table)


def checked_tree(tree: Any, types: Mapping[str, str]) -> Filter:
    """Checks a tree of dicts against the types of the attributes.

    Raises:
        InvalidArgumentError: An attribute that there is not, a value of another type, or no such tree; it says which.

    Example:
        >>> from tiervec.attributes.columns import read_columns
        >>> table = AttributeTable.of(read_columns({"year": [2019, 2021, None]}, 3), 3)
        >>> checked_tree({">=": ["year", 2020]}, table.types).admitted(table).tolist()
        [False, True, False]
    """
    return Filter(tree=tree, _admitted=_node(tree, types, 0))


def _node(tree: Any, types: Mapping[str, str], depth: int) -> Callable[[AttributeTable], _Mask]:
    if depth > _DEEPEST:
        raise InvalidArgumentError(f"the filter is nested deeper than {_DEEPEST} levels")
    if not isinstance(tree, Mapping) or len(tree) != 1:
        raise InvalidArgumentError(
            f'{shown(tree)} is no filter: it must be a dict with one operator, as {{"==": ["year", 2020]}}'
        )
    ((operator, given),) = tree.items()
    if operator in ("and", "or"):
        if not isinstance(given, list | tuple) or not given:
            raise InvalidArgumentError(f"{operator} takes a list of filters, not {shown(given)}")
        parts = [_node(part, types, depth + 1) for part in given]
        combine = np.logical_and if operator == "and" else np.logical_or
        return lambda table: combine.reduce([part(table) for part in parts])
    if operator == "not":
        inner = _node(given, types, depth + 1)
        return lambda table: ~inner(table)
    if operator in ("exists", "is null", "is not null"):
        name = _name(given, types)
        wanted = operator != "is null"
        return lambda table: _having(table, name) == wanted
    if operator not in (*COMPARISONS, "in", "not in", "contains"):
        raise InvalidArgumentError(f"the filter has the operator {shown(operator)}, which there is not")
    if not isinstance(given, list | tuple) or len(given) != 2:
        raise InvalidArgumentError(f"{operator} takes an attribute and a value, not {shown(given)}")
    name = _name(given[0], types)
    return _comparison(operator, name, types[name], given[1])


def _comparison(operator: str, name: str, kind: str, value: Any) -> Callable[[AttributeTable], _Mask]:
    if operator in ("in", "not in"):
        if not isinstance(value, list | tuple | set | frozenset | np.ndarray) or len(value) > MOST_VALUES:
            raise InvalidArgumentError(f"{name} {operator} takes a list of at most {MOST_VALUES:,} values")
        if kind == "list":
            raise InvalidArgumentError(f"{name} is a list, so use contains instead of {operator}")
        wanted = [_value(name, kind, each) for each in value]
        if operator == "in":
            return lambda table: _any_of(table, name, wanted)
        return lambda table: _having(table, name) & ~_any_of(table, name, wanted)
    if operator == "contains":
        if kind not in ("list", "str") or not isinstance(value, str):
            raise InvalidArgumentError(f"contains looks for a text in a text or a list, and {name} is {kind}")
        if kind == "list":
            return lambda table: _any_of(table, name, [value])
        return lambda table: _containing(table, name, value)
    if kind == "list":
        raise InvalidArgumentError(f"{name} is a list, so use contains instead of {operator}")
    if kind == "bool" and operator not in ("==", "!="):
        raise InvalidArgumentError(f"{name} is a truth value: it can be compared with == and != only")
    wanted_value = _value(name, kind, value)
    if operator == "==":
        return lambda table: _any_of(table, name, [wanted_value])
    if operator == "!=":
        return lambda table: _having(table, name) & ~_any_of(table, name, [wanted_value])
    return lambda table: _in_range(table, name, operator, wanted_value)


def _name(name: Any, types: Mapping[str, str]) -> str:
    if not isinstance(name, str) or name not in types:
        known = ", ".join(sorted(types)) or "none"
        raise InvalidArgumentError(f"the filter asks for {shown(name)}, which is no attribute; there are: {known}")
    return name


def _value(name: str, kind: str, value: Any) -> Any:
    """The value as the column holds it."""
    if isinstance(value, np.generic):
        value = value.item()
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind in ("int", "float") and is_number and not math.isnan(value):
        return value
    if kind == "bool" and isinstance(value, bool):
        return int(value)
    if kind == "str" and isinstance(value, str):
        return value
    if kind == "datetime" and isinstance(value, datetime.datetime):
        return microseconds(value)
    if kind == "datetime" and isinstance(value, str):
        try:
            return microseconds(datetime.datetime.fromisoformat(value.replace("Z", "+00:00")))
        except ValueError:
            pass
    expected = {"int": "a number", "float": "a number", "bool": "true or false", "str": "a text"}
    wanted = expected.get(kind, "a date and time as in 2024-05-31T12:00:00+00:00")
    raise InvalidArgumentError(f"{name} is {kind}, and the filter compares it with {shown(value)}; it must be {wanted}")


def _mask(table: AttributeTable, rows: NDArray[np.uint32]) -> _Mask:
    found = np.zeros(table.rows, np.bool_)
    found[rows] = True
    return found


def _having(table: AttributeTable, name: str) -> _Mask:
    return _mask(table, table.column(name).rows)


def _any_of(table: AttributeTable, name: str, wanted: list[Any]) -> _Mask:
    column = table.column(name)
    found = np.zeros(table.rows, np.bool_)
    for value in wanted:
        found[column.between(column.position(value), column.position(value, behind=True))] = True
    return found


def _in_range(table: AttributeTable, name: str, operator: str, value: Any) -> _Mask:
    column: Column = table.column(name)
    at = column.position(value, behind=operator in ("<=", ">"))
    first, end = (0, at) if operator in ("<", "<=") else (at, len(column.values))
    return _mask(table, column.between(first, end))


def _containing(table: AttributeTable, name: str, part: str) -> _Mask:
    column = table.column(name)
    found = np.zeros(table.rows, np.bool_)
    for at, text in enumerate(column.values):
        if part in text:
            found[column.between(at, at + 1)] = True
    return found
