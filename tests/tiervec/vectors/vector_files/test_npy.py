from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib import format as npy_format

from tiervec.errors import DataLossError, InvalidArgumentError
from tiervec.vectors.vector_files import open_vectors

NPY = "v.npy"


def saved(folder: Path, array: np.ndarray[Any, Any]) -> Path:
    np.save(folder / NPY, array)
    return folder / NPY


def with_header(folder: Path, header: str, data: bytes = bytes(32)) -> Path:
    path = folder / NPY
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + data)
    return path


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_all_versions_of_the_format_are_read(tmp_path: Path, version: tuple[int, int]) -> None:
    array = np.arange(6, dtype=np.float32).reshape(3, 2)
    with open(tmp_path / NPY, "wb") as file:
        npy_format.write_array(file, array, version=version)
    np.testing.assert_array_equal(open_vectors(tmp_path / NPY).rows(0, 3), array)


@pytest.mark.parametrize("dtype", ["<f8", ">f8"])
def test_float64_is_read_as_float32(tmp_path: Path, dtype: str) -> None:
    array = np.random.default_rng(0).standard_normal((5, 4))
    file = open_vectors(saved(tmp_path, array.astype(dtype)))
    assert file.dtype == np.float32
    assert file.mapped is None
    np.testing.assert_array_equal(file.rows(1, 4), array[1:4].astype(np.float32))
    out = np.empty(file.shape, np.float32)
    file.read_into(out, block_bytes=20)
    np.testing.assert_array_equal(out, array.astype(np.float32))


def test_float64_beyond_float32_names_its_row_in_the_file(tmp_path: Path) -> None:
    array = np.zeros((9, 2))
    array[7, 1] = -1e300
    file = open_vectors(saved(tmp_path, array))
    with pytest.raises(InvalidArgumentError, match=r"v.npy has -1e\+300 at row 7, column 1"):
        list(file.chunks(1))


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (pytest.fail, ("unpickled",))

    path = with_header(tmp_path, "{'descr': '|O', 'fortran_order': False, 'shape': (1, 1)}", pickle.dumps(Trap()))
    with pytest.raises(InvalidArgumentError, match="not plain numbers"):
        open_vectors(path)


def test_fortran_order_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = saved(tmp_path, np.asfortranarray(np.ones((3, 2), np.float32)))
    with pytest.raises(InvalidArgumentError, match=r"Fortran order.*ascontiguousarray"):
        open_vectors(path)


@pytest.mark.parametrize("dtype", ["int64", "int32", "bool", "complex64", "U4", "datetime64[s]"])
def test_other_dtypes_are_refused_by_name(tmp_path: Path, dtype: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"v.npy"):
        open_vectors(saved(tmp_path, np.zeros((2, 2), dtype)))


def test_structured_dtypes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="not plain numbers"):
        open_vectors(saved(tmp_path, np.zeros((2, 2), [("a", "f4")])))


@pytest.mark.parametrize("shape", [(), (4,), (2, 2, 2), (0, 3), (3, 0)])
def test_other_shapes_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgumentError, match=r"v.npy"):
        open_vectors(saved(tmp_path, np.zeros(shape, np.float32)))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("(-1, 2)", "says -1 vectors"),
        ("(2, -4)", "dim -4"),
        ("(3, 4)", "truncated: its header says 3 x 4 float32, which takes"),
        ("(1, 4)", "too long"),
        ("(4611686018427387904, 4)", "truncated"),
        ("(1, 4611686018427387904)", "dim 4611686018427387904"),
        (f"({2**64}, 4)", "shape"),
        ("(2.0, 4)", "shape"),
        ("(True, 8)", "shape"),
        ("[2, 4]", "shape"),
        ("2", "shape"),
    ],
)
def test_a_header_that_does_not_fit_the_file_is_damage(tmp_path: Path, shape: str, message: str) -> None:
    path = with_header(tmp_path, f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}")
    with pytest.raises(DataLossError, match=message):
        open_vectors(path)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "{",
        "open('x', 'w')",
        "{'descr': '<f4'}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), 'more': 1}",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 4)}",
        "(" * 200,
    ],
)
def test_a_header_that_is_none_is_damage(tmp_path: Path, header: str) -> None:
    with pytest.raises(DataLossError, match=r"v.npy is damaged"):
        open_vectors(with_header(tmp_path, header))


def test_headers_of_absurd_length_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / NPY
    path.write_bytes(b"\x93NUMPY\x02\x00" + (2**32 - 1).to_bytes(4, "little") + bytes(100))
    with pytest.raises(DataLossError, match="4,294,967,295"):
        open_vectors(path)


@pytest.mark.parametrize(
    "content", [b"\x93NUM", b"\x93NUMPY\x01\x00", b"\x93NUMPY\x01\x00\x76\x00{'descr'", b"not numpy."]
)
def test_truncated_and_foreign_headers_are_damage(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NPY).write_bytes(content)
    with pytest.raises(DataLossError, match=r"v.npy is (truncated|not a .npy file)"):
        open_vectors(tmp_path / NPY)


def test_an_unknown_version_is_damage(tmp_path: Path) -> None:
    (tmp_path / NPY).write_bytes(b"\x93NUMPY\x04\x00" + bytes(20))
    with pytest.raises(DataLossError, match=r"version 4\.0"):
        open_vectors(tmp_path / NPY)
