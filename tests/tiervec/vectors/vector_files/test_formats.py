"""What every format of vector files must do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiervec.errors import DataLossError, InvalidArgumentError, TiervecError
from tiervec.vectors.vector_files import VectorFile, open_vectors

Array = np.ndarray[Any, Any]
Write = Callable[[Path, Array], str]


def vectors(dtype: str, rows: int = 11, dim: int = 3) -> Array:
    values = np.random.default_rng(7).integers(0, 120, (rows, dim))
    return values.astype(dtype)


@pytest.fixture
def opened(write: Write, dtypes: tuple[str, ...], tmp_path: Path) -> list[tuple[VectorFile, Array]]:
    files = []
    assert dtypes
    for dtype in dtypes:
        folder = tmp_path / dtype
        folder.mkdir()
        files.append((open_vectors(write(folder, vectors(dtype))), vectors(dtype)))
    return files


def test_shape_and_dtype_are_known_at_once(opened: list[tuple[VectorFile, Array]]) -> None:
    for file, expected in opened:
        assert file.shape == expected.shape
        assert file.dtype == expected.dtype
        assert file.dtype.isnative
        assert file.nbytes == expected.nbytes
        assert file.format in repr(file)
        assert os.path.exists(file.path)


def test_any_range_of_rows_can_be_read(opened: list[tuple[VectorFile, Array]]) -> None:
    for file, expected in opened:
        for start, stop in ((0, 11), (0, 1), (4, 9), (10, 11), (5, 5), (11, 11)):
            rows = file.rows(start, stop)
            assert rows.dtype == expected.dtype
            assert rows.flags.c_contiguous
            np.testing.assert_array_equal(rows, expected[start:stop])


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (3, 2), (0, 12), (12, 12)])
def test_rows_outside_the_file_are_refused(opened: list[tuple[VectorFile, Array]], start: int, stop: int) -> None:
    with pytest.raises(InvalidArgumentError, match="not within the 11 rows"):
        opened[0][0].rows(start, stop)


@pytest.mark.parametrize("block_bytes", [1, 7, 40, 1 << 20])
def test_chunks_cover_the_file_in_order(opened: list[tuple[VectorFile, Array]], block_bytes: int) -> None:
    for file, expected in opened:
        reached = 0
        for start, block in file.chunks(block_bytes):
            assert start == reached
            assert block.nbytes <= max(block_bytes, file.row_bytes)
            assert block.dtype == expected.dtype
            assert block.flags.c_contiguous
            assert block.flags.writeable
            np.testing.assert_array_equal(block, expected[start : start + len(block)])
            reached += len(block)
        assert reached == len(expected)


@pytest.mark.parametrize("block_bytes", [1, 40, 1 << 20])
def test_read_into_fills_the_callers_memory(opened: list[tuple[VectorFile, Array]], block_bytes: int) -> None:
    for file, expected in opened:
        out = np.zeros(file.shape, file.dtype)
        steps: list[tuple[int, int]] = []

        def progress(done: int, total: int, steps: list[tuple[int, int]] = steps) -> None:
            steps.append((done, total))

        file.read_into(out, progress, block_bytes=block_bytes)
        np.testing.assert_array_equal(out, expected)
        assert steps[-1] == (11, 11)
        assert steps == sorted(set(steps))


def test_read_into_refuses_memory_that_does_not_fit(opened: list[tuple[VectorFile, Array]]) -> None:
    file, _ = opened[0]
    read_only = np.zeros(file.shape, file.dtype)
    read_only.flags.writeable = False
    wrong = [
        np.zeros((12, 3), file.dtype),
        np.zeros(file.shape, np.float64),
        np.zeros((3, 11), file.dtype).T,
        read_only,
    ]
    for out in wrong:
        with pytest.raises(InvalidArgumentError, match="out "):
            file.read_into(out)


def test_the_map_shows_the_file_without_a_copy(opened: list[tuple[VectorFile, Array]], mappable: bool) -> None:
    for file, expected in opened:
        mapped = file.mapped
        if not mappable:
            assert mapped is None
            continue
        assert mapped is not None
        assert mapped.dtype == expected.dtype
        assert not mapped.flags.writeable
        np.testing.assert_array_equal(mapped, expected)
        base: Any = mapped
        while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
            base = base.base
        assert isinstance(base, np.memmap)


def test_a_file_cut_after_opening_is_data_loss(write: Write, dtypes: tuple[str, ...], tmp_path: Path) -> None:
    array = np.random.default_rng(1).integers(0, 255, (2000, 16)).astype(dtypes[-1])
    file = open_vectors(write(tmp_path, array))
    os.truncate(file.path, os.path.getsize(file.path) - 1000)
    with pytest.raises(DataLossError, match="v\\."):
        file.rows(0, 2000)


@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.999])
def test_a_truncated_file_is_an_error(write: Write, dtypes: tuple[str, ...], tmp_path: Path, keep: float) -> None:
    path = write(tmp_path, np.random.default_rng(1).integers(0, 255, (500, 16)).astype(dtypes[-1]))
    name = path.rpartition(":")[0] or path
    size = int(os.path.getsize(name) * keep)
    os.truncate(name, size - size % 20 + 3 if keep else 0)  # a texmex file cut between two rows (of 20 bytes) is whole
    with pytest.raises(TiervecError, match="v\\."):
        open_vectors(path)


def test_a_file_that_is_replaced_by_a_shorter_one_is_data_loss(
    write: Write, dtypes: tuple[str, ...], tmp_path: Path
) -> None:
    file = open_vectors(write(tmp_path, vectors(dtypes[0], rows=50)))
    write(tmp_path, vectors(dtypes[0], rows=20))
    with pytest.raises(DataLossError):
        file.read_into(np.zeros(file.shape, file.dtype))


_RESIDENT_SCRIPT = """
import resource, sys
import numpy as np
from tiervec.vectors.vector_files import open_vectors
file = open_vectors(sys.argv[1])
for _ in file.chunks(1 << 20): break
out = np.zeros(file.shape, file.dtype)
out[...] = 1  # resident before the measurement
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
file.read_into(out, block_bytes=1 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_reading_needs_little_memory_besides_the_result(
    write: Write, dtypes: tuple[str, ...], format_name: str, tmp_path: Path
) -> None:
    if format_name == "parquet-lists":
        pytest.skip("its writer makes a Python list per row, too slow for this size")
    array = np.random.default_rng(1).integers(0, 100, (60_000, 256), np.uint8).astype(dtypes[0])
    path = LARGE_WRITERS.get(format_name, write)(tmp_path, array)
    run = subprocess.run(
        [sys.executable, "-c", _RESIDENT_SCRIPT, path], capture_output=True, text=True, check=True, env=_environment()
    )
    grown_mib = int(run.stdout) / 1024
    assert array.nbytes / 2**20 > 29
    # Arrow keeps a decompressed page and HDF5 its chunk cache; everything else needs one block of 1 MiB.
    assert grown_mib < (24 if format_name in ("parquet", "hdf5-packed") else 6)


def write_hdf5_in_larger_chunks(folder: Path, array: Array) -> str:
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "large.hdf5", "w") as file:
        file.create_dataset("train", data=array, chunks=(1000, array.shape[1]), compression="lzf")
    return str(folder / "large.hdf5")


def write_parquet_in_larger_groups(folder: Path, array: Array) -> str:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    column = pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), array.shape[1])
    parquet.write_table(pa.table({"vector": column}), folder / "large.parquet", row_group_size=30_000)
    return str(folder / "large.parquet")


# The usual writers make tiny chunks and groups, to test their borders.
LARGE_WRITERS: dict[str, Write] = {
    "hdf5-packed": write_hdf5_in_larger_chunks,
    "parquet": write_parquet_in_larger_groups,
}


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
