"""Checks of single parameters, for the dataclasses of all kinds of index."""

from __future__ import annotations

from tiervec.errors import InvalidArgumentError

__all__ = ["check_number", "check_whole"]


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
