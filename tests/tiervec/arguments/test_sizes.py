from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiervec.arguments.sizes import format_size, parse_size
from tiervec.errors import InvalidArgumentError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GiB", 8 * 2**30),
        ("8gib", 8 * 2**30),
        (" 1.5 KiB ", 1536),
        ("500MB", 500_000_000),
        ("2kB", 2000),
        ("0.1TB", 10**11),
        ("1PiB", 2**50),
        ("17B", 17),
        ("17", 17),
        (17, 17),
        ("0", 0),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_a_size_is_read(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "GiB", "8G", "8 GiB GiB", "-1", -1, "1e3", "0x10", "nan", "8GiB\n8", "8,5GB", "٣GB", True, None, "1.GB"],
)
def test_what_is_not_a_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="memory_limit"):
        parse_size(text, what="memory_limit")


def test_a_size_that_64_bits_cannot_hold_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="too large"):
        parse_size("9223372036854775808")


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (2**20 - 1, "1 MiB"), (1536, "1.5 KiB"), (2**60, "1024 PiB")],
)
def test_a_size_is_written(size: int, text: str) -> None:
    assert format_size(size) == text


@given(st.integers(0, 2**62))
def test_a_written_size_reads_back_within_its_rounding(size: int) -> None:
    assert parse_size(format_size(size)) == pytest.approx(size, rel=0.06)
