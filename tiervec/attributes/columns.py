"""Attributes as they are given, made into typed columns.

    a dict of columns | a list of dicts | an Arrow table | a .parquet file | a .jsonl file, one object a line

A value that is missing or None is null. A column has one type; integers among floats become floats.
"""

from __future__ import annotations

import datetime
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tiervec.arguments.parameter_checks import check_path, shown
from tiervec.errors import InvalidArgumentError, NotFoundError
from tiervec.machine.durable_files import storage_errors

__all__ = ["ID", "TYPES", "RawColumn", "check_name", "microseconds", "read_columns"]

TYPES: Final = ("int", "float", "str", "bool", "datetime", "list")
ID: Final = "id"  # in filters the vector's id, so no attribute's name
_LONGEST_NAME: Final = 200
_MOST_COLUMNS: Final = 1000
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_INT64: Final = np.iinfo(np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class RawColumn:
    """One attribute.

    Attributes:
        type: One of `TYPES`.
        rows: (m,) uint32, ascending: where there is a value; of a list one entry for each of its elements.
        values: (m,): int64 (``datetime``: microseconds since 1970, UTC), float64, uint8 for ``bool``, or an object
            array of str for ``str`` and ``list``.
    """

    type: str
    rows: NDArray[np.uint32]
    values: NDArray[Any]


def read_columns(source: Any, rows: int) -> dict[str, RawColumn]:
    """The columns of attributes that have a value, or null, for each of `rows` vectors.

    Args:
        source: A dict of columns, a list of dicts, an Arrow table, or the path of a .parquet or .jsonl file.
        rows: Number of vectors.

    Raises:
        InvalidArgumentError: Another number of rows, a name that cannot be one, or values of two types; it names the
            attribute, the row and the value.
        NotFoundError: There is no such file.

    Example:
        >>> columns = read_columns({"year": [2020, None, 2024], "lang": ["en", "de", "en"]}, 3)
        >>> columns["year"].type, columns["year"].rows.tolist(), columns["year"].values.tolist()
        ('int', [0, 2], [2020, 2024])
    """
    if isinstance(source, str | os.PathLike):
        path = Path(check_path("attributes", source))
        with storage_errors(f"reading attributes of {path}", path.parent):
            source = _read_file(path)
    if hasattr(source, "column_names") and hasattr(source, "column"):  # an Arrow table
        source = {name: source.column(name).to_pylist() for name in source.column_names}
    if not isinstance(source, Mapping):
        source = _columns_of(source)
    if len(source) > _MOST_COLUMNS:
        raise InvalidArgumentError(f"there are {len(source):,} attributes; there may be {_MOST_COLUMNS:,}")
    columns = {}
    for name, values in source.items():
        check_name(name)
        if not hasattr(values, "__len__") or isinstance(values, str | bytes | Mapping):
            raise InvalidArgumentError(f"attribute {name} is {shown(values)}; it must be a column of {rows:,} values")
        if len(values) != rows:
            raise InvalidArgumentError(f"attribute {name} has {len(values):,} values; there are {rows:,} vectors")
        columns[name] = _column(name, values)
    return columns


def check_name(name: Any) -> None:
    """Refuses what cannot be the name of an attribute.

    Raises:
        InvalidArgumentError: It is no text of 1 to 200 characters, or ``id``, or has a character that is not printed.
    """
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME or not name.isprintable() or "`" in name:
        raise InvalidArgumentError(
            f"{shown(name)} cannot be a name of attributes: it must be 1 to {_LONGEST_NAME} printable characters, no `"
        )
    if name == ID:
        raise InvalidArgumentError("an attribute cannot be called id: in filters that is the id of the vector")


def microseconds(when: datetime.datetime) -> int:
    """Since 1970, UTC; a time without a zone is taken for UTC.

    Example:
        >>> microseconds(datetime.datetime(1970, 1, 2))
        86400000000
    """
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.timezone.utc)
    return (when - _EPOCH) // datetime.timedelta(microseconds=1)


def _read_file(path: Path) -> Any:
    if not path.exists():
        raise NotFoundError(f"attributes: {path} does not exist")
    if path.suffix == ".parquet":
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise InvalidArgumentError(f"reading {path} needs pyarrow: pip install 'tiervec[parquet]'") from error
        try:
            return pyarrow.parquet.read_table(path)
        except (pyarrow.ArrowException, OSError) as error:
            raise InvalidArgumentError(f"{path} is no Parquet file that can be read: {error}") from error
    if path.suffix in (".jsonl", ".ndjson"):
        return _read_json_lines(path)
    raise InvalidArgumentError(f"attributes: {path} must be a .parquet file, or a .jsonl file with one object a line")


def _read_json_lines(path: Path) -> list[Any]:
    found = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                found.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise InvalidArgumentError(f"{path} line {number:,} is not JSON: {error}") from error
    return found


def _columns_of(records: Any) -> dict[str, list[Any]]:
    if not isinstance(records, Sequence) or isinstance(records, str | bytes):
        raise InvalidArgumentError(
            f"attributes are {shown(records)}; they must be a dict of columns, a list of dicts, an Arrow table, or "
            "the path of a .parquet or .jsonl file"
        )
    columns: dict[str, list[Any]] = {}
    for row, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise InvalidArgumentError(f"attributes of row {row:,} are {shown(record)}; they must be a dict")
        for name, value in record.items():
            if name not in columns:
                check_name(name)
                columns[name] = [None] * len(records)
            columns[name][row] = value
    return columns


def _column(name: str, values: Any) -> RawColumn:
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "iufbM":
        return _array_column(name, values)
    if isinstance(values, np.ndarray):
        values = values.tolist()
    rows: list[int] = []
    found: list[Any] = []
    types: dict[str, int] = {}
    for row, value in enumerate(values):
        if value is None or (isinstance(value, float) and math.isnan(value)):
            continue
        kind, made = _value(name, row, value)
        types.setdefault(kind, row)
        if kind == "list":
            rows.extend([row] * len(made))
            found.extend(made)
        else:
            rows.append(row)
            found.append(made)
    kind = _one_type(name, types, values)
    return RawColumn(type=kind, rows=np.asarray(rows, np.uint32), values=_typed(kind, found))


def _value(name: str, row: int, value: Any) -> tuple[str, Any]:
    """(type, value) of one entry."""
    if isinstance(value, bool | np.bool_):
        return "bool", bool(value)
    if isinstance(value, int | np.integer):
        if not _INT64.min <= value <= _INT64.max:
            raise InvalidArgumentError(f"attribute {name} of row {row:,} is {shown(value)}; integers must fit 64 bits")
        return "int", int(value)
    if isinstance(value, float | np.floating):
        return "float", float(value)
    if isinstance(value, str):
        return "str", value
    if isinstance(value, datetime.datetime):
        return "datetime", microseconds(value)
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        elements = list(dict.fromkeys(value))
        if all(isinstance(element, str) for element in elements):
            return "list", elements
    raise InvalidArgumentError(
        f"attribute {name} of row {row:,} is {shown(value)}; it must be a number, text, truth value, datetime, or a "
        "list of texts"
    )


def _one_type(name: str, types: Mapping[str, int], values: Any) -> str:
    if set(types) == {"int", "float"}:
        return "float"
    if len(types) > 1:
        (first, at), (second, there), *_ = sorted(types.items(), key=lambda item: item[1])
        raise InvalidArgumentError(
            f"attribute {name} is {first} in row {at:,} and {second} in row {there:,} ({shown(values[there])}); it "
            "must have one type"
        )
    return next(iter(types), "str")


def _typed(kind: str, values: Iterable[Any]) -> NDArray[Any]:
    if kind in ("str", "list"):
        return np.array([*values, None], object)[:-1]  # never an array of arrays
    return np.asarray(values, {"int": np.int64, "datetime": np.int64, "float": np.float64, "bool": np.uint8}[kind])


def _array_column(name: str, values: NDArray[Any]) -> RawColumn:
    rows = np.arange(len(values), dtype=np.uint32)
    if values.dtype.kind == "M":
        present = ~np.isnat(values)
        return RawColumn(
            type="datetime", rows=rows[present], values=values[present].astype("datetime64[us]").astype(np.int64)
        )
    if values.dtype.kind == "f":
        present = ~np.isnan(values)
        return RawColumn(type="float", rows=rows[present], values=values[present].astype(np.float64))
    if values.dtype.kind == "b":
        return RawColumn(type="bool", rows=rows, values=values.astype(np.uint8))
    if values.dtype.kind == "u" and len(values) and int(values.max()) > _INT64.max:
        row = int(values.argmax())
        raise InvalidArgumentError(f"attribute {name} of row {row:,} is {values[row]}; integers must fit 64 bits")
    return RawColumn(type="int", rows=rows, values=values.astype(np.int64))
