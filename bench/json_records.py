"""JSON as the data classes that declare its fields: checked, and nothing is left over."""

from __future__ import annotations

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any, Literal, TypeVar

from tiervec.errors import DataLossError

__all__ = ["record_of_json"]

T = TypeVar("T")


def record_of_json(kind: type[T], document: Any, path: Path) -> T:
    """A data class from what was read from a file.

    Args:
        kind: The data class; fields may be other ones, tuples, literals, mappings, optional.
        document: The object.
        path: Where it was read, for the sentence.

    Raises:
        DataLossError: A field is missing, unknown, or of another type.
    """
    try:
        return typing.cast(T, _value(kind, document))
    except (TypeError, ValueError, KeyError) as error:
        raise DataLossError(f"{path} is no {kind.__name__}: {error}") from None


def _value(kind: Any, found: Any) -> Any:
    """`found` of JSON as the type that a field declares; TypeError when it is something else."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if found is None:
            return None
        return _value(next(option for option in arguments if option is not type(None)), found)
    if origin is Literal:
        if found not in arguments:
            raise ValueError(f"{found!r} is none of {', '.join(map(str, arguments))}")
        return found
    if origin is tuple:
        if not isinstance(found, list):
            raise TypeError(f"{found!r} is no list")
        return tuple(_value(arguments[0], item) for item in found)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _record(kind, found)
    if origin is not None:  # a mapping
        if not isinstance(found, dict):
            raise TypeError(f"{found!r} is no object")
        return found
    accepted = (int, float) if kind is float else (kind,)
    if not isinstance(found, accepted) or (isinstance(found, bool) and kind is not bool):
        raise TypeError(f"{found!r} is no {kind.__name__}")
    return kind(found)


def _record(kind: Any, found: Any) -> Any:
    if not isinstance(found, dict):
        raise TypeError(f"{found!r} is no object")
    hints = typing.get_type_hints(kind)
    unknown = found.keys() - hints.keys()
    if unknown:
        raise KeyError(f"unknown key {min(unknown)}")
    return kind(**{key: _value(hints[key], value) for key, value in found.items()})
