from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Write = Callable[[Path, np.ndarray[Any, Any]], str]


def write_npy(folder: Path, array: np.ndarray[Any, Any]) -> str:
    np.save(folder / "v.npy", array)
    return str(folder / "v.npy")


def write_big_endian_npy(folder: Path, array: np.ndarray[Any, Any]) -> str:
    np.save(folder / "v.npy", array.astype(array.dtype.newbyteorder(">")))
    return str(folder / "v.npy")


def write_big_ann(folder: Path, array: np.ndarray[Any, Any]) -> str:
    suffix = {"float32": ".fbin", "float16": ".f16bin", "uint8": ".u8bin", "int8": ".i8bin"}[array.dtype.name]
    path = folder / f"v{suffix}"
    path.write_bytes(np.array(array.shape, "<u4").tobytes() + array.astype(array.dtype.newbyteorder("<")).tobytes())
    return str(path)


def write_texmex(folder: Path, array: np.ndarray[Any, Any]) -> str:
    path = folder / f"v{ {'float32': '.fvecs', 'uint8': '.bvecs', 'int32': '.ivecs'}[array.dtype.name] }"
    dim = np.array([array.shape[1]], "<i4").tobytes()
    path.write_bytes(b"".join(dim + row.astype(array.dtype.newbyteorder("<")).tobytes() for row in array))
    return str(path)


def write_contiguous_hdf5(folder: Path, array: np.ndarray[Any, Any]) -> str:
    h5py = importlib.import_module("h5py")
    with h5py.File(folder / "v.hdf5", "w", userblock_size=512) as file:
        file["test"] = array[:1]
        file["train"] = array
    return str(folder / "v.hdf5")


def write_packed_hdf5(folder: Path, array: np.ndarray[Any, Any]) -> str:
    h5py = importlib.import_module("h5py")
    with h5py.File(folder / "v.h5", "w") as file:
        file.create_dataset("base", data=array, chunks=(2, 1), compression="gzip")
    return str(folder / "v.h5") + ":base"


def write_parquet(folder: Path, array: np.ndarray[Any, Any]) -> str:
    pa, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    values = pa.array(array.reshape(-1))
    column = pa.FixedSizeListArray.from_arrays(values, array.shape[1])
    table = pa.table({"title": ["x"] * len(array), "vector": column})
    parquet.write_table(table, folder / "v.parquet", row_group_size=3)
    return str(folder / "v.parquet")


def write_lists_parquet(folder: Path, array: np.ndarray[Any, Any]) -> str:
    pa, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    column = pa.array([list(row) for row in array], type=pa.list_(pa.from_numpy_dtype(array.dtype)))
    parquet.write_table(pa.table({"a": column, "b": column}), folder / "v.parquet", row_group_size=4)
    return str(folder / "v.parquet") + ":b"


# Name -> (writer, dtypes it can store, can be mapped, library it needs)
FORMATS: dict[str, tuple[Write, tuple[str, ...], bool, str | None]] = {
    "npy": (write_npy, ("float32", "float16", "int8", "uint8"), True, None),
    "npy-big-endian": (write_big_endian_npy, ("float32", "float16"), False, None),
    "big_ann": (write_big_ann, ("float32", "float16", "int8", "uint8"), True, None),
    "texmex": (write_texmex, ("float32", "uint8"), True, None),
    "hdf5-contiguous": (write_contiguous_hdf5, ("float32", "float16", "int8", "uint8"), True, "h5py"),
    "hdf5-packed": (write_packed_hdf5, ("float32", "float16", "int8", "uint8"), False, "h5py"),
    "parquet": (write_parquet, ("float32", "int8", "uint8"), False, "pyarrow"),
    "parquet-lists": (write_lists_parquet, ("float32", "int8", "uint8"), False, "pyarrow"),
}


@pytest.fixture(params=FORMATS)
def format_name(request: pytest.FixtureRequest) -> str:
    """Every format in turn; skips those whose library is missing."""
    library = FORMATS[request.param][3]
    if library is not None:
        pytest.importorskip(library)
    return str(request.param)


@pytest.fixture
def write(format_name: str) -> Write:
    return FORMATS[format_name][0]


@pytest.fixture
def dtypes(format_name: str) -> tuple[str, ...]:
    return FORMATS[format_name][1]


@pytest.fixture
def mappable(format_name: str) -> bool:
    return FORMATS[format_name][2]
