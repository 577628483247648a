"""The section ``attributes`` of an index, in the order of its vectors."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tiervec.attributes.columns import ID, RawColumn
from tiervec.attributes.table import AttributeTable
from tiervec.errors import DataLossError
from tiervec.index_files.directory import IndexDirectory
from tiervec.index_files.equal_rows import EqualRows
from tiervec.index_files.writer import IndexDirectoryWriter

__all__ = ["arranged", "copy_attributes", "read_attributes", "write_attributes"]

_SECTION: Final = "attributes"


def arranged(
    columns: dict[str, RawColumn], rows: int, labels: NDArray[np.int64] | None, equal: EqualRows | None
) -> NDArray[np.uint8]:
    """The section for an index of these vectors.

    Args:
        columns: What `read_columns` gave for `rows` vectors.
        rows: Number of vectors.
        labels: The user's id of each, or None for 0, 1, 2, ...
        equal: Which of them the index lists as copies, or None.
    """
    if labels is not None or equal is not None:
        ids = np.arange(rows, dtype=np.int64) if labels is None else labels
        columns = {**columns, ID: RawColumn(type="int", rows=np.arange(rows, dtype=np.uint32), values=ids)}
    if equal is None:
        return AttributeTable.of(columns, rows).to_bytes()
    listed = equal.listed(labels)
    place = np.empty(rows, np.uint32)
    place[equal.kept] = np.arange(rows - len(listed))
    place[equal.copies[listed]] = np.arange(rows - len(listed), rows)
    moved = {name: _moved(raw, place) for name, raw in columns.items()}
    return AttributeTable.of(moved, rows, place[equal.stand_ins[listed]]).to_bytes()


def write_attributes(writer: IndexDirectoryWriter, content: NDArray[np.uint8] | None) -> None:
    """Stores what `arranged` made; nothing for None."""
    if content is not None:
        writer.write_section(_SECTION, content, placement="fast")


def copy_attributes(writer: IndexDirectoryWriter, directory: IndexDirectory) -> None:
    """Stores the attributes of another index with the same vectors, if it has some."""
    if _has(directory):
        writer.write_section(_SECTION, directory.read_section(_SECTION), placement="fast")


def read_attributes(directory: IndexDirectory) -> AttributeTable | None:
    """What `write_attributes` stored; None when it stored nothing.

    Raises:
        DataLossError: The section is not what was written.
    """
    if not _has(directory):
        return None
    path = directory.section_path(_SECTION)
    table = AttributeTable.from_bytes(directory.read_section(_SECTION), path)
    stored = directory.manifest.vectors
    if table.rows - len(table.stand_ins) != stored:
        raise DataLossError(
            f"{path} has attributes of {table.rows - len(table.stand_ins):,} vectors, not of {stored:,}"
        )
    return table


def _has(directory: IndexDirectory) -> bool:
    return any(section.name == _SECTION for section in directory.manifest.sections)


def _moved(raw: RawColumn, place: NDArray[np.uint32]) -> RawColumn:
    rows: NDArray[Any] = place[raw.rows]
    order = np.argsort(rows, kind="stable")
    return RawColumn(type=raw.type, rows=rows[order], values=raw.values[order])
