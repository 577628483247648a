"""Sizes in bytes as people write them: ``"8GiB"``, ``"500 MB"``, ``4096``."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

from tiervec.arguments.parameter_checks import shown
from tiervec.errors import InvalidArgumentError

__all__ = ["format_size", "parse_size"]

_BINARY: Final = ("KiB", "MiB", "GiB", "TiB", "PiB")
_UNITS: Final[dict[str, int]] = {
    "": 1,
    "b": 1,
    **{unit.lower(): 1024 ** (power + 1) for power, unit in enumerate(_BINARY)},
    **{unit: 1000 ** (power + 1) for power, unit in enumerate(("kb", "mb", "gb", "tb", "pb"))},
}
_PATTERN: Final = re.compile(r"\s*(?P<number>[0-9]{1,30}(?:\.[0-9]{1,30})?)\s*(?P<unit>[A-Za-z]*)\s*", re.ASCII)
_LARGEST: Final = 2**63 - 1  # what the extension's 64-bit sizes hold


def parse_size(text: str | int, *, what: str = "size") -> int:
    """Turns a size as a person writes it into bytes.

    Units are ``B``, binary ``KiB MiB GiB TiB PiB`` (powers of 1024) and decimal ``kB MB GB TB PB`` (powers of 1000),
    in any case. A bare ``8G`` is refused, because half of the world reads it as 1000 and the other half as 1024.

    Args:
        text: A number with an optional unit, or a number of bytes.
        what: How errors name the value.

    Returns:
        The size in bytes, rounded down.

    Raises:
        InvalidArgumentError: `text` is not a size, is negative, or is 2**63 bytes or more.

    Example:
        >>> parse_size("8GiB")
        8589934592
        >>> parse_size("1.5 kB")
        1500
    """
    match = None if isinstance(text, bool) else _PATTERN.fullmatch(text if isinstance(text, str) else shown(text))
    if match is None:
        raise InvalidArgumentError(
            f"{what} is {shown(text)}; write a number and a unit, for example 8GiB, 500MB or 4096"
        )
    factor = _UNITS.get(match["unit"].lower())
    if factor is None:
        raise InvalidArgumentError(
            f"{what} {text!r} has the unit {match['unit']!r}; use B, KiB, MiB, GiB, TiB, PiB, kB, MB, GB, TB or PB"
        )
    size = int(Fraction(match["number"]) * factor)
    if size > _LARGEST:
        raise InvalidArgumentError(f"{what} {text!r} is too large; it must be below 2**63 bytes")
    return size


def format_size(size_bytes: int) -> str:
    """Writes a number of bytes with a binary unit and at most one decimal.

    Example:
        >>> format_size(8 * 1024**3), format_size(1536), format_size(17)
        ('8 GiB', '1.5 KiB', '17 B')
    """
    value = float(size_bytes)
    unit = "B"
    for larger in _BINARY:
        if abs(value) < 1023.95:  # 1023.95 would be printed as 1024.0
            break
        value, unit = value / 1024, larger
    return f"{f'{value:.1f}'.removesuffix('.0')} {unit}"
