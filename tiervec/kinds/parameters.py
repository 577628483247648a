"""Build and search parameters as text: ``--set key=value`` of the command line and the ``params`` map of the service.

Keys and types come from the parameter dataclasses of the index kinds, so a new field is known everywhere at once.
Ranges are checked by the dataclass on construction.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from tiervec.errors import InvalidArgumentError
from tiervec.kinds.registry import index_kind

__all__ = ["build_parameters_class", "parse_parameters", "search_parameters_class"]

_SWITCH = {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}


def build_parameters_class(kind: str) -> type:
    """The dataclass of build parameters of an index kind.

    Raises:
        UnsupportedError: This version has no index of that kind.
    """
    return index_kind(kind).build_params


def search_parameters_class(kind: str) -> type:
    """The dataclass of search parameters of an index kind.

    Raises:
        UnsupportedError: This version has no index of that kind.
    """
    return index_kind(kind).search_params


def parse_parameters(parameters_class: type, given: Mapping[str, str], what: str) -> dict[str, Any]:
    """Turns texts into values of the types that the dataclass declares.

    Args:
        parameters_class: A dataclass, for example ``GraphSearchParams``.
        given: Field names and texts, for example ``{"search_list": "64", "pipeline": "off"}``.
        what: What the parameters are for, as the error says it: ``"search of a graph index"``.

    Returns:
        The given fields only, as values; ready for ``params=``.

    Raises:
        InvalidArgumentError: An unknown field, or a text that its type cannot take.

    Example:
        >>> import dataclasses
        >>> @dataclasses.dataclass
        ... class Params:
        ...     search_list: int = 64
        ...     pipeline: bool = True
        >>> parse_parameters(Params, {"search_list": "100", "pipeline": "off"}, "search")
        {'search_list': 100, 'pipeline': False}
    """
    if not given:  # most calls; looking the types up takes as long as a tenth of a short search
        return {}
    hints = typing.get_type_hints(parameters_class)
    known = [field.name for field in dataclasses.fields(parameters_class)]
    values = {}
    for key, text in given.items():
        if key not in known:
            raise InvalidArgumentError(_unknown_key(key, known, what))
        values[key] = _parse_value(key, text, hints[key])
    return values


def _unknown_key(key: str, known: list[str], what: str) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {close[0]!r}? known" if close else "known"
    return f"unknown parameter {key!r} for the {what}; {hint}: {', '.join(known)}"


def _parse_value(key: str, text: str, hint: Any) -> Any:
    choices = _alternatives(hint)
    if type(None) in choices and text.lower() == "none":
        return None
    for choice in choices:
        try:
            return _parse_as(choice, text)
        except ValueError:
            continue
    raise InvalidArgumentError(f"parameter {key}={text!r} must be {' or '.join(map(_type_name, choices))}")


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """``int | None`` -> (int, NoneType); a plain type -> itself."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return typing.get_args(hint)
    return (hint,)


def _parse_as(expected: Any, text: str) -> Any:
    if expected is bool:
        if text.lower() not in _SWITCH:
            raise ValueError(text)
        return _SWITCH[text.lower()]
    if expected is int or expected is float or expected is str:
        return expected(text)
    if typing.get_origin(expected) is Literal and text in typing.get_args(expected):
        return text
    raise ValueError(text)


def _type_name(expected: Any) -> str:
    if typing.get_origin(expected) is Literal:
        return " or ".join(map(str, typing.get_args(expected)))
    return _TYPE_NAMES.get(expected, str(expected))


_TYPE_NAMES: dict[Any, str] = {
    bool: "on or off",
    int: "an integer",
    float: "a number",
    str: "a string",
    type(None): "none",
}
