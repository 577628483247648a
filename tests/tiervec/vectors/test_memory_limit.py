"""Which way of working fits into a limit, and rows in a file without a name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tiervec.errors import ResourceExhaustedError
from tiervec.vectors.memory_limit import choose_within, map_rows


@pytest.mark.parametrize(("limit", "way"), [(None, 0), (3000, 0), (2999, 1), (1000, 1)])
def test_the_first_way_that_fits_is_taken(limit: int | None, way: int) -> None:
    told: list[str] = []
    assert choose_within(limit, [3000, 1000], "x", lambda stage, *rest: told.append(stage)) == way
    assert told == [("estimated peak memory 2.9 KiB", "estimated peak memory 1000 B")[way]]


def test_the_error_names_the_least_that_is_needed() -> None:
    with pytest.raises(ResourceExhaustedError, match=r"^memory_limit is 0 B; doing it needs about 2 KiB$"):
        choose_within(0, [4096, 2048], "doing it", None)


def test_rows_in_a_file_leave_nothing_behind(tmp_path: Path) -> None:
    rows = np.arange(12, dtype=np.float32).reshape(6, 2)
    mapped = map_rows((rows[start : start + 4] for start in (0, 4)), np.float32, rows.shape, tmp_path, "copying")
    assert list(tmp_path.iterdir()) == []
    assert not mapped.flags.writeable
    np.testing.assert_array_equal(mapped, rows)


def test_a_disk_that_cannot_hold_the_rows(tmp_path: Path) -> None:
    with pytest.raises(ResourceExhaustedError, match=r"^copying needs 4,000,000,000,000,000,000 bytes"):
        map_rows([], np.float32, (10**9, 10**9), tmp_path, "copying")
