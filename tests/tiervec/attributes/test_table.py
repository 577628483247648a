"""The section of attributes: what is written is read, and nothing else is."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiervec.attributes.columns import read_columns
from tiervec.attributes.table import AttributeTable
from tiervec.errors import DataLossError

TABLE = AttributeTable.of(
    read_columns(
        {"n": [3, None, 1, 3], "t": ["ü", "", None, "a"], "l": [["x", "y"], [], None, ["y"]], "b": [True] * 4}, 4
    ),
    4,
    np.array([0]),
)


def test_it_is_read_as_it_was_written() -> None:
    found = AttributeTable.from_bytes(TABLE.to_bytes(), "section")
    assert (found.rows, found.types, found.stand_ins.tolist()) == (4, TABLE.types, [0])
    for name, column in TABLE.columns.items():
        other = found.columns[name]
        assert list(other.values) == list(column.values)
        assert other.starts.tolist() == column.starts.tolist()
        assert other.rows.tolist() == column.rows.tolist()


def test_ids_are_the_numbers_of_the_rows_unless_there_is_a_column() -> None:
    ids = TABLE.column("id")
    assert ids.between(ids.position(1), ids.position(3)).tolist() == [1, 2]


def test_large_integers_are_compared_exactly() -> None:
    table = AttributeTable.of(read_columns({"n": [2**53, 2**53 + 1]}, 2), 2)
    column = table.column("n")
    assert column.position(float(2**53), behind=True) == 1
    assert column.position(2**70) == 2


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, len(TABLE.to_bytes()) - 1), value=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_section_is_data_loss_or_reads_within_its_bounds(at: int, value: int, cut: bool) -> None:
    section = TABLE.to_bytes().copy()
    if cut:
        section = section[:at]
    else:
        section[at] = value
    with contextlib.suppress(DataLossError):
        found = AttributeTable.from_bytes(section, "section")
        for column in found.columns.values():
            rows = column.between(0, len(column.values))
            assert len(rows) == 0 or int(rows.max()) < found.rows


@pytest.mark.parametrize("length", [0, 7, 8])
def test_a_length_beyond_the_section_takes_no_memory(length: int) -> None:
    with pytest.raises(DataLossError, match="bytes are wanted where"):
        AttributeTable.from_bytes(np.full(length, 0x3F, np.uint8), "section")
