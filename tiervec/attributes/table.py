"""Attributes in fast memory: for each, its values in order, and the rows that have each of them.

So equal values, ranges and lists of values are runs of one array of rows, whatever the type.

    section `attributes`, little-endian, every array padded to a multiple of 8 bytes:
    | uint64: length of the header |
    | header, JSON: {"rows", "copies", "columns": [{"name", "type", "values", "entries"}]} |
    | uint32 for each of the last `copies` rows: the row that the index stores for it, and for others that equal it |
    then for each column:
    | values: 8 bytes each (bool: 1); of text uint64 offsets, one more than values, and UTF-8 bytes | uint64 starts, one
    more than values | uint32 rows, one for each entry |
"""

from __future__ import annotations

import bisect
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tiervec.attributes.columns import ID, TYPES, RawColumn
from tiervec.errors import DataLossError

__all__ = ["AttributeTable", "Column"]

_NUMBERS: Final = {"int": "<i8", "datetime": "<i8", "float": "<f8", "bool": "u1"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Column:
    """One attribute.

    Attributes:
        type: As in `RawColumn`.
        values: The different values, ascending: an array of numbers, or a list of str.
        starts: (len(values) + 1,) uint64: where the rows of each begin.
        rows: uint32, those of a value ascending.
    """

    type: str
    values: Sequence[Any] | NDArray[Any]
    starts: NDArray[np.uint64]
    rows: NDArray[np.uint32]

    @classmethod
    def of(cls, raw: RawColumn) -> Column:
        """Sorts a column as it was given."""
        values, which = np.unique(raw.values, return_inverse=True)
        order = np.argsort(which, kind="stable")
        starts = np.zeros(len(values) + 1, np.uint64)
        np.cumsum(np.bincount(which, minlength=len(values)), out=starts[1:])
        ordered = values.tolist() if values.dtype == object else values
        return cls(type=raw.type, values=ordered, starts=starts, rows=raw.rows[order])

    def position(self, value: Any, *, behind: bool = False) -> int:
        """How many of the values come before this one; `behind`: or are equal to it."""
        find = bisect.bisect_right if behind else bisect.bisect_left
        # Integers of Python and its floats compare exactly, those of numpy do not.
        return find(self.values, value, key=int) if self.type in ("int", "datetime") else find(self.values, value)

    def between(self, first: int, end: int) -> NDArray[np.uint32]:
        """Rows that have one of the values [first, end), by position."""
        return self.rows[int(self.starts[first]) : int(self.starts[max(first, end)])]


@dataclass(frozen=True, kw_only=True, eq=False)
class AttributeTable:
    """The attributes of `rows` vectors.

    Attributes:
        rows: Number of vectors, copies that the index lists and does not store among them, as the last ones.
        columns: By name; one called ``id`` has the ids where these are not the numbers of the rows.
        stand_ins: (copies,) uint32: the row that is stored for each of the last ones.

    Example:
        >>> from tiervec.attributes.columns import read_columns
        >>> table = AttributeTable.of(read_columns({"lang": ["en", "de", "en"]}, 3), 3)
        >>> AttributeTable.from_bytes(table.to_bytes(), "a section").columns["lang"].values
        ['de', 'en']
    """

    rows: int
    columns: Mapping[str, Column]
    stand_ins: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))

    @classmethod
    def of(
        cls, columns: Mapping[str, RawColumn], rows: int, stand_ins: NDArray[np.integer[Any]] | None = None
    ) -> AttributeTable:
        """Sorts columns as they were given."""
        listed = np.asarray([] if stand_ins is None else stand_ins, np.uint32)
        return cls(rows=rows, columns={name: Column.of(raw) for name, raw in columns.items()}, stand_ins=listed)

    @property
    def types(self) -> dict[str, str]:
        """Type of each attribute by name, and of the id."""
        return {ID: "int", **{name: column.type for name, column in self.columns.items()}}

    def column(self, name: str) -> Column:
        """An attribute, or the ids."""
        if name == ID and ID not in self.columns:
            numbers = np.arange(self.rows + 1)
            return Column(
                type="int",
                values=range(self.rows),
                starts=numbers.astype(np.uint64),
                rows=numbers[:-1].astype(np.uint32),
            )
        return self.columns[name]

    def to_bytes(self) -> NDArray[np.uint8]:
        """The section."""
        described = [
            {"name": name, "type": column.type, "values": len(column.values), "entries": len(column.rows)}
            for name, column in self.columns.items()
        ]
        header = json.dumps({"rows": self.rows, "copies": len(self.stand_ins), "columns": described}).encode()
        parts = [len(header).to_bytes(8, "little"), _padded(header), _padded(self.stand_ins.astype("<u4").tobytes())]
        for column in self.columns.values():
            if isinstance(column.values, list):
                texts = [text.encode("utf-8", "surrogatepass") for text in column.values]
                offsets = np.cumsum([0, *map(len, texts)], dtype="<u8")
                parts += [_padded(offsets.tobytes()), _padded(b"".join(texts))]
            else:
                parts.append(_padded(np.asarray(column.values, _NUMBERS[column.type]).tobytes()))
            parts += [_padded(column.starts.astype("<u8").tobytes()), _padded(column.rows.astype("<u4").tobytes())]
        return np.frombuffer(b"".join(parts), np.uint8)

    @classmethod
    def from_bytes(cls, section: NDArray[np.uint8], path: object) -> AttributeTable:
        """What `to_bytes` made.

        Raises:
            DataLossError: It is something else; the sentence names `path`.
        """
        try:
            return _Reader(section).table()
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise DataLossError(f"{path} does not hold attributes as they are written: {error}") from error


class _Reader:
    """Takes a section apart; every length is checked before it is used."""

    def __init__(self, section: NDArray[np.uint8]) -> None:
        self._section, self._at = section, 0

    def table(self) -> AttributeTable:
        length = int(self._take("<u8", 1)[0])
        header = json.loads(self._take("u1", length).tobytes())
        rows = _whole(header["rows"])
        stand_ins = self._take("<u4", _whole(header["copies"]))
        if len(stand_ins) and int(stand_ins.max()) >= rows - len(stand_ins):
            raise ValueError(f"row {int(stand_ins.max())} stands for others, and {rows - len(stand_ins)} are stored")
        columns: dict[str, Column] = {}
        for described in header["columns"]:
            name, kind = described["name"], described["type"]
            if kind not in TYPES or not isinstance(name, str) or name in columns:
                raise ValueError(f"a column is called {name!r} and is {kind!r}")
            columns[name] = self._column(kind, _whole(described["values"]), _whole(described["entries"]), rows)
        if self._at != len(self._section):
            raise ValueError(f"{len(self._section) - self._at} bytes are left over")
        return AttributeTable(rows=rows, columns=columns, stand_ins=stand_ins)

    def _column(self, kind: str, count: int, entries: int, rows: int) -> Column:
        values: Sequence[Any] | NDArray[Any]
        if kind in _NUMBERS:
            values = self._take(_NUMBERS[kind], count)
        else:
            offsets = self._take("<u8", count + 1)
            _check_ascending(offsets, None)
            content = self._take("u1", int(offsets[-1])).tobytes()
            places = itertools.pairwise(offsets.tolist())
            values = [content[first:end].decode("utf-8", "surrogatepass") for first, end in places]
        starts = self._take("<u8", count + 1)
        _check_ascending(starts, entries)
        found = self._take("<u4", entries)
        if entries and int(found.max()) >= rows:
            raise ValueError(f"a row is {int(found.max())} of {rows}")
        return Column(type=kind, values=values, starts=starts, rows=found)

    def _take(self, dtype: str, count: int) -> NDArray[Any]:
        size = np.dtype(dtype).itemsize * count
        if size > len(self._section) - self._at:
            raise ValueError(f"{size} bytes are wanted where {len(self._section) - self._at} are left")
        found = np.frombuffer(self._section[self._at : self._at + size].tobytes(), dtype)
        self._at = min(self._at + math.ceil(size / 8) * 8, len(self._section))
        return found


def _check_ascending(numbers: NDArray[np.uint64], last: int | None) -> None:
    if int(numbers[0]) != 0 or (numbers[1:] < numbers[:-1]).any() or last not in (None, int(numbers[-1])):
        raise ValueError("positions are not ascending")


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**40:
        raise ValueError(f"{value!r} is no count")
    return value


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 8)
