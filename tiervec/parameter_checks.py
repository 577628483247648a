"""Checks of parameters and arguments that all kinds of index share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tiervec.errors import InvalidArgumentError

__all__ = ["check_bytes", "check_keys", "check_number", "check_threads", "check_whole", "checked_params"]


def check_number(name: str, value: object, least: float, most: float) -> None:
    """Refuses what is not a number from `least` to `most`.

    Raises:
        InvalidArgumentError: It names the parameter.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise InvalidArgumentError(f"{name} is {value!r}; it must be a number from {least:g} to {most:g}")


def check_whole(name: str, value: object, least: int, most: int) -> None:
    """Refuses what is not a whole number from `least` to `most`.

    Raises:
        InvalidArgumentError: It names the parameter.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidArgumentError(f"{name} is {value!r}; it must be a whole number from {least} to {most}")


def check_threads(threads: int) -> int:
    """Returns `threads`, 0 for all allowed CPUs.

    Raises:
        InvalidArgumentError: It is not 0 to 1024.
    """
    if isinstance(threads, bool) or not isinstance(threads, int) or not 0 <= threads <= 1024:
        raise InvalidArgumentError(f"threads is {threads!r}; it must be 0 (all allowed CPUs) to 1024")
    return threads


def check_bytes(name: str, value: int | None) -> None:
    """Refuses what is neither None nor a number of bytes.

    Raises:
        InvalidArgumentError: It names the argument.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0):
        raise InvalidArgumentError(f"{name} is {value!r}; it must be a whole number of bytes")


def checked_params(params: Any, params_class: type[Any], what: str, kind: str) -> Any:
    """The `params` argument of a call as the kind's dataclass; None gives its defaults.

    Raises:
        InvalidArgumentError: An unknown key, or a value that the dataclass refuses.
    """
    if isinstance(params, params_class):
        return params
    given = {} if params is None else params
    check_keys(given, params_class, what, kind)
    return params_class(**given)


def check_keys(given: Mapping[str, Any], params_class: type, what: str, kind: str) -> None:
    """Refuses keys that are no fields of `params_class`.

    Raises:
        InvalidArgumentError: It lists the fields.
    """
    if not isinstance(given, Mapping):
        raise InvalidArgumentError(f"params is a {type(given).__name__}; pass a mapping or {params_class.__name__}")
    known = [field.name for field in dataclasses.fields(params_class)]
    for key in given:
        if key not in known:
            raise InvalidArgumentError(f"unknown {what} parameter {key!r}; a {kind} index has {', '.join(known)}")
