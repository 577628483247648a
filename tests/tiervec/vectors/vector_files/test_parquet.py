from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiervec.errors import DataLossError, InvalidArgumentError, NotFoundError
from tiervec.vectors.vector_files import open_vectors

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def saved(folder: Path, row_group_size: int = 4, **columns: Any) -> Path:
    parquet.write_table(pa.table(columns), folder / "v.parquet", row_group_size=row_group_size)
    return folder / "v.parquet"


def test_the_only_column_of_number_lists_needs_no_name(tmp_path: Path) -> None:
    path = saved(
        tmp_path, title=["a", "b"], tags=[["x"], ["y"]], vector=pa.array([[1, 2], [3, 4]], pa.list_(pa.int8()))
    )
    file = open_vectors(path)
    assert file.shape == (2, 2)
    assert file.dtype == np.int8
    for missing in ("nothing", "vector.list"):
        with pytest.raises(NotFoundError, match=f"no column '{missing}'; it has title, tags, vector"):
            open_vectors(f"{path}:{missing}")


def test_several_or_no_columns_of_lists_ask_for_a_name(tmp_path: Path) -> None:
    vectors = pa.array([[1.0]], pa.list_(pa.float32()))
    with pytest.raises(InvalidArgumentError, match=r"the columns of lists a, b; name the vectors as .*:COLUMN"):
        open_vectors(saved(tmp_path, a=vectors, b=vectors))
    with pytest.raises(InvalidArgumentError, match="no column of lists of numbers"):
        open_vectors(saved(tmp_path, a=[1]))


def test_float64_is_read_as_float32(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((10, 3))
    file = open_vectors(saved(tmp_path, vector=pa.array(list(values), pa.list_(pa.float64()))))
    assert file.dtype == np.float32
    np.testing.assert_array_equal(file.rows(2, 9), values[2:9].astype(np.float32))


def test_float16_is_read(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.float16).reshape(6, 2)
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 2)
    try:
        path = saved(tmp_path, vector=column)
    except pa.ArrowNotImplementedError:
        pytest.skip(f"pyarrow {pa.__version__} cannot write float16; 15 can")
    file = open_vectors(path)
    assert file.dtype == np.float16
    np.testing.assert_array_equal(file.rows(0, 6), values)


def test_a_fixed_shape_tensor_is_read(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.float32).reshape(6, 2)
    file = open_vectors(saved(tmp_path, vector=pa.FixedShapeTensorArray.from_numpy_ndarray(values)))
    np.testing.assert_array_equal(file.rows(0, 6), values)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1, 2]] * 5 + [[3]], "1 values in row 5, but 2"),
        ([[1, 2]] * 4 + [[3]] * 4, "1 values in row 4, but 2 in the first"),
        ([[1, 2]] * 6 + [None], "null at row 6"),
        ([[1, 2]] * 6 + [[1, None]], "null at row 6, column 1"),
    ],
)
@pytest.mark.parametrize("row_group_size", [2, 4, 100])
def test_errors_name_the_row_in_the_file(tmp_path: Path, rows: list[Any], message: str, row_group_size: int) -> None:
    file = open_vectors(saved(tmp_path, row_group_size, vector=pa.array(rows, pa.list_(pa.float32()))))
    with pytest.raises(InvalidArgumentError, match="v.parquet:vector has (a )?" + message.split(", but")[0]):
        file.rows(0, len(rows))


@pytest.mark.parametrize(
    "column", [pa.array([[1]]), pa.array([], pa.list_(pa.float32(), 2)), pa.array([1.0]), pa.array([[[1.0]]])]
)
def test_other_types_and_no_rows_are_refused(tmp_path: Path, column: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"v.parquet:vector"):
        open_vectors(f"{saved(tmp_path, vector=column)}:vector")


def test_what_is_not_parquet_is_damage(tmp_path: Path) -> None:
    (tmp_path / "v.parquet").write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    with pytest.raises(DataLossError, match=r"v.parquet cannot be read as Parquet"):
        open_vectors(tmp_path / "v.parquet")
