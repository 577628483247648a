from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tiervec.errors import DataLossError, InvalidArgumentError, ResourceExhaustedError
from tiervec.machine import durable_files
from tiervec.vectors.vector_files import open_vectors, write_big_ann

SUFFIX = {"float32": ".fbin", "float16": ".f16bin", "uint8": ".u8bin", "int8": ".i8bin"}


@given(
    array=hnp.arrays(
        st.sampled_from([np.dtype(name) for name in SUFFIX]), hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read(array: np.ndarray[Any, Any], tmp_path: Path) -> None:
    path = tmp_path / f"v{SUFFIX[array.dtype.name]}"
    write_big_ann(path, array)
    file = open_vectors(path)
    assert path.stat().st_size == 8 + array.nbytes
    assert file.dtype == array.dtype
    np.testing.assert_array_equal(file.rows(0, len(array)), array)


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        ((10, 4), bytes(16), "truncated: its header says 10 x 4 float32, which takes 168 bytes, but it has 24"),
        ((1, 4), bytes(20), "too long: its header says 1 x 4 float32, which takes 24 bytes, but it has 28"),
        ((2**32 - 1, 2**32 - 1), bytes(4), "truncated"),
        ((2**31, 2), bytes(16), "truncated"),
        ((0, 4), bytes(16), "too long"),
    ],
)
def test_a_header_that_does_not_fit_the_file_is_damage(
    tmp_path: Path, header: tuple[int, int], data: bytes, message: str
) -> None:
    path = tmp_path / "v.fbin"
    path.write_bytes(struct.pack("<II", *header) + data)
    with pytest.raises(DataLossError, match=message):
        open_vectors(path)


@pytest.mark.parametrize("header", [(0, 4), (4, 0), (0, 0)])
def test_no_vectors_are_refused(tmp_path: Path, header: tuple[int, int]) -> None:
    (tmp_path / "v.u8bin").write_bytes(struct.pack("<II", *header))
    with pytest.raises(InvalidArgumentError, match="both must be at least 1"):
        open_vectors(tmp_path / "v.u8bin")


def test_a_short_header_is_damage(tmp_path: Path) -> None:
    (tmp_path / "v.u8bin").write_bytes(b"abc")
    with pytest.raises(DataLossError, match="its header takes 8 bytes, but only 3 are there"):
        open_vectors(tmp_path / "v.u8bin")


def test_an_absurd_dim_is_damage(tmp_path: Path) -> None:
    with open(tmp_path / "v.u8bin", "wb") as file:
        file.write(struct.pack("<II", 1, 2**21))
        file.truncate(8 + 2**21)
    with pytest.raises(DataLossError, match="dim must be from 1 to"):
        open_vectors(tmp_path / "v.u8bin")


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("v.fbin", np.zeros((1, 1), np.int8), "array has the dtype int8, but a .fbin file holds float32"),
        ("v.bin", np.zeros((1, 1), np.int8), "use .fbin, .f16bin, .u8bin, .i8bin"),
        ("v.fbin", np.zeros((0, 1), np.float32), "no rows"),
    ],
)
def test_what_does_not_fit_is_not_written(tmp_path: Path, name: str, array: np.ndarray[Any, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        write_big_ann(tmp_path / name, array)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "v.fbin"
    write_big_ann(path, np.ones((2, 2), np.float32))
    old = path.read_bytes()

    def disk_full(file: BinaryIO, data: memoryview, checksum: object = None) -> None:
        file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tiervec.vectors.vector_files.big_ann.write_blocks", disk_full)
    with pytest.raises(ResourceExhaustedError, match=r"24 bytes are needed and .* bytes are free"):
        write_big_ann(path, np.zeros((2, 2), np.float32))
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]
    assert durable_files.write_blocks is not disk_full
