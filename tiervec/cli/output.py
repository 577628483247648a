"""What commands print: one JSON document, or text laid out for people."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["pairs_text", "print_json", "table_text"]


def print_json(document: Mapping[str, Any]) -> None:
    """Prints one JSON document on stdout; numbers that JSON lacks (NaN, infinity) become null."""
    print(json.dumps(_plain(document), indent=2, allow_nan=False))


def table_text(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> str:
    """Lays out a table, two spaces between columns and before the first.

    Args:
        header: Names of the columns.
        rows: Cells.
        right: Names of the columns that are aligned to the right.
    """
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    text = []
    for line in lines:
        cells = [
            cell.rjust(width) if name in right else cell.ljust(width)
            for cell, width, name in zip(line, widths, header, strict=True)
        ]
        text.append("  " + "  ".join(cells).rstrip())
    return "\n".join(text)


def pairs_text(pairs: Sequence[tuple[str, str]]) -> str:
    """Lays out names and values, one pair per line."""
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"  {name.ljust(width)}  {value}" for name, value in pairs)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
