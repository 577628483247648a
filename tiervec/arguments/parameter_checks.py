"""The one mechanism that checks arguments, parameters and settings.

Each check takes the name and the value of an argument and returns the value as a plain Python object, so that whatever
stands for a number (numpy's integers, floats and bools too) is accepted everywhere and stored, printed and sent alike.
A value that does not fit raises one `InvalidArgumentError` that names the argument.

Example:
    >>> import numpy as np
    >>> check_whole("k", np.int64(10), 1, 100), check_number("alpha", 1, 1, 4), check_switch("spill", np.True_)
    (10, 1, True)
"""

from __future__ import annotations

import dataclasses
import numbers
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import numpy as np

from tiervec.errors import InvalidArgumentError

__all__ = [
    "MAX_BYTES",
    "MAX_K",
    "MAX_THREADS",
    "check_bytes",
    "check_callback",
    "check_choice",
    "check_field",
    "check_fraction",
    "check_instance",
    "check_k",
    "check_keys",
    "check_number",
    "check_path",
    "check_seed",
    "check_switch",
    "check_text",
    "check_threads",
    "check_timeout",
    "check_whole",
    "checked_params",
    "shown",
]

MAX_BYTES: Final = 2**63 - 1
MAX_K: Final = 10_000
MAX_THREADS: Final = 1024
_MAX_TIMEOUT_S: Final = 1e9  # the clock of the search counts nanoseconds in 64 bits
_MAX_PATH_BYTES: Final = 4095
_MAX_SHOWN: Final = 120  # characters of a value in an error

Checked = TypeVar("Checked")


def shown(value: object) -> str:
    """A value as an error shows it: one line, not too long, whatever the value."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # an integer of 5,000 digits, or a foreign object
        text = f"a {type(value).__name__}"
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def check_whole(name: str, value: object, least: int, most: int) -> int:
    """Returns an integer from `least` to `most`.

    Raises:
        InvalidArgumentError: It is something else; a float is, even a whole one, and so is a bool.
    """
    integer = _integer(value)
    if integer is None or not least <= integer <= most:
        raise InvalidArgumentError(f"{name} is {shown(value)}; it must be an integer from {least} to {most}")
    return integer


def check_number(name: str, value: object, least: float, most: float) -> float:
    """Returns a number from `least` to `most`; an integer stays one.

    Raises:
        InvalidArgumentError: It is something else, or NaN.
    """
    number = _number(value)
    if number is None or not least <= number <= most:
        raise InvalidArgumentError(f"{name} is {shown(value)}; it must be a number from {least:g} to {most:g}")
    return number


def check_fraction(name: str, value: object) -> float:
    """Returns a number above 0 and at most 1.

    Raises:
        InvalidArgumentError: It is something else.
    """
    number = _number(value)
    if number is None or not 0 < number <= 1:
        raise InvalidArgumentError(f"{name} is {shown(value)}; it must be above 0 and at most 1")
    return float(number)


def check_switch(name: str, value: object) -> bool:
    """Returns a bool.

    Raises:
        InvalidArgumentError: It is something else.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise InvalidArgumentError(f"{name} is {shown(value)}; it must be on or off (True or False)")
    return bool(value)


def check_choice(name: str, value: object, choices: Sequence[str], known: str = "it must be one of") -> str:
    """Returns one of some strings; `known` begins the list of them in the error.

    Raises:
        InvalidArgumentError: It lists them.
    """
    if not isinstance(value, str) or value not in choices:
        raise InvalidArgumentError(f"{name} is {shown(value)}; {known} {', '.join(choices)}")
    return str(value)


def check_text(name: str, value: object, example: str) -> str:
    """Returns a string that every program can read, such as a URL.

    Raises:
        InvalidArgumentError: It is something else, or has surrogates or NUL.
    """
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{name} is {shown(value)}; it must be a string such as {example}")
    if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise InvalidArgumentError(f"{name} is {shown(value)}; it must be UTF-8 text such as {example}")
    return str(value)


def check_path(name: str, value: object) -> str:
    """Returns the path of a file or folder as a string that ``os.fsencode`` takes.

    Bytes of a path that are not UTF-8 are surrogates in it, as everywhere in Python.

    Raises:
        InvalidArgumentError: It is no path.
    """
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise InvalidArgumentError(f"{name} is {shown(value)}, which is not a path; it must be a string or a Path")
    try:
        if len(os.fsencode(text)) > _MAX_PATH_BYTES:
            raise InvalidArgumentError(f"{name} is {shown(text)}; a path has at most {_MAX_PATH_BYTES} bytes")
    except UnicodeEncodeError:
        raise InvalidArgumentError(
            f"{name} is {shown(text)}, which this system's file names cannot hold; set a UTF-8 locale (LC_ALL=C.UTF-8)"
        ) from None
    return text


def check_k(value: object) -> int:
    """Returns the number of neighbours, 1 to `MAX_K`.

    Raises:
        InvalidArgumentError: It is something else.
    """
    return check_whole("k", value, 1, MAX_K)


def check_seed(value: object) -> int:
    """Returns a seed, 0 to 2**63 - 1.

    Raises:
        InvalidArgumentError: It is something else.
    """
    integer = _integer(value)
    if integer is None or not 0 <= integer < 2**63:
        raise InvalidArgumentError(f"seed is {shown(value)}; it must be an integer from 0 to 2^63 - 1")
    return integer


def check_threads(value: object) -> int:
    """Returns a number of threads, 0 for all allowed CPUs.

    Raises:
        InvalidArgumentError: It is not 0 to 1024.
    """
    integer = _integer(value)
    if integer is None or not 0 <= integer <= MAX_THREADS:
        raise InvalidArgumentError(f"threads is {shown(value)}; it must be 0 (all allowed CPUs) to {MAX_THREADS}")
    return integer


def check_bytes(name: str, value: object) -> int | None:
    """Returns a number of bytes, or None.

    Raises:
        InvalidArgumentError: It is something else.
    """
    if value is None:
        return None
    integer = _integer(value)
    if integer is None or not 0 <= integer <= MAX_BYTES:
        raise InvalidArgumentError(f"{name} is {shown(value)}; it must be an integer of bytes, 0 to 2^63 - 1")
    return integer


def check_timeout(name: str, value: object) -> float | None:
    """Returns seconds above 0, or None for no deadline; infinity means none, too.

    Raises:
        InvalidArgumentError: It is something else.
    """
    if value is None:
        return None
    number = _number(value)
    if number is None or not number > 0:
        raise InvalidArgumentError(f"{name} is {shown(value)}; it must be seconds above 0, or None for no deadline")
    return float(number) if number < _MAX_TIMEOUT_S else None


def check_callback(name: str, value: Checked) -> Checked:
    """Returns something to call, or None.

    Raises:
        InvalidArgumentError: It cannot be called.
    """
    if value is not None and not callable(value):
        raise InvalidArgumentError(f"{name} is {shown(value)}; it must be a function, or None")
    return value


def check_instance(name: str, value: Checked, *expected: type[object]) -> Checked:
    """Returns an object of one of the given classes.

    Raises:
        InvalidArgumentError: It is of another class.
    """
    if not isinstance(value, expected):
        names = " or ".join("None" if cls is type(None) else cls.__name__ for cls in expected)
        raise InvalidArgumentError(f"{name} is {shown(value)}; it must be {names}")
    return value


def check_field(params: object, name: str, check: Callable[..., Any], *bounds: Any) -> None:
    """Checks a field of a frozen dataclass, in its ``__post_init__``, and stores what the check returns."""
    object.__setattr__(params, name, check(name, getattr(params, name), *bounds))


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
            raise InvalidArgumentError(f"unknown {what} parameter {shown(key)}; a {kind} index has {', '.join(known)}")


def _integer(value: object) -> int | None:
    if type(value) is int:  # as good as always; the test below takes a microsecond
        return value
    return int(value) if not isinstance(value, bool) and isinstance(value, numbers.Integral) else None


def _number(value: object) -> float | None:
    """A real number that a float can hold; NaN is one, and fails every comparison."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    try:
        number = float(value)
    except (OverflowError, ValueError):
        return None
    return int(value) if isinstance(value, numbers.Integral) else number
