from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiervec.errors import DataLossError, InvalidArgumentError, NotFoundError
from tiervec.vectors.vector_files import open_vectors

h5py = pytest.importorskip("h5py")

VECTORS = np.arange(12, dtype=np.float32).reshape(6, 2)


def test_train_is_the_default_and_others_go_by_name(tmp_path: Path) -> None:
    path = tmp_path / "v.hdf5"
    with h5py.File(path, "w") as file:
        file["train"] = VECTORS
        file["test"] = VECTORS[:2]
        file["group/inner"] = VECTORS[:3]
    assert open_vectors(path).shape == (6, 2)
    assert open_vectors(f"{path}:test").shape == (2, 2)
    assert open_vectors(f"{path}:group/inner").shape == (3, 2)
    for missing in ("nothing", "group", "train/x"):
        with pytest.raises(NotFoundError, match=f"no dataset '{missing}'; it has test, train"):
            open_vectors(f"{path}:{missing}")


def test_the_only_matrix_needs_no_name(tmp_path: Path) -> None:
    path = tmp_path / "v.h5"
    with h5py.File(path, "w") as file:
        file["vectors"] = VECTORS
        file["ids"] = np.arange(6)
    assert open_vectors(path).shape == (6, 2)
    with h5py.File(path, "a") as file:
        file["more"] = VECTORS
    with pytest.raises(
        InvalidArgumentError, match=r"no dataset 'train'; name one as .*:DATASET .it has ids, more, vectors"
    ):
        open_vectors(path)


@pytest.mark.parametrize(
    "options", [{}, {"chunks": (2, 2), "compression": "gzip"}, {"chunks": (4, 1), "shuffle": True}]
)
def test_float64_is_read_as_float32(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "v.hdf5"
    with h5py.File(path, "w") as file:
        file.create_dataset("train", data=VECTORS.astype(">f8"), **options)
    opened = open_vectors(path)
    assert opened.dtype == np.float32
    assert opened.mapped is None
    np.testing.assert_array_equal(opened.rows(1, 5), VECTORS[1:5])


def test_float64_beyond_float32_names_its_row(tmp_path: Path) -> None:
    path = tmp_path / "v.hdf5"
    values = VECTORS.astype(np.float64)
    values[5, 0] = 1e99
    with h5py.File(path, "w") as file:
        file.create_dataset("train", data=values, chunks=(2, 2))
    with pytest.raises(InvalidArgumentError, match="at row 5, column 0"):
        list(open_vectors(path).chunks(16))


@pytest.mark.parametrize(
    "data", [np.arange(4), np.zeros((2, 2), np.int64), np.zeros((0, 2), "f4"), np.zeros((2, 2, 2), "f4")]
)
def test_other_shapes_and_dtypes_are_refused(tmp_path: Path, data: np.ndarray[Any, Any]) -> None:
    path = tmp_path / "v.hdf5"
    with h5py.File(path, "w") as file:
        file["train"] = data
    with pytest.raises(InvalidArgumentError, match=r"v.hdf5:train"):
        open_vectors(path)


def test_values_that_were_never_written_are_missed(tmp_path: Path) -> None:
    path = tmp_path / "v.hdf5"
    with h5py.File(path, "w") as file:
        file.create_dataset("chunked", (10**12, 128), np.float32, chunks=(1000, 128))
        file.create_dataset("contiguous", (10**9, 128), np.float32)
        file["chunked"][5] = 1
    with pytest.raises(DataLossError, match="takes 1,000,000,000 chunks, but 1 are stored"):
        open_vectors(f"{path}:chunked")
    with pytest.raises(DataLossError, match="takes 512,000,000,000 bytes, but 0 are stored"):
        open_vectors(f"{path}:contiguous")


def test_values_in_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(48))
    with h5py.File(tmp_path / "v.hdf5", "w") as file:
        file.create_dataset("external", (6, 2), np.float32, external=[(str(tmp_path / "secret"), 0, 48)])
        layout = h5py.VirtualLayout((6, 2), np.float32)
        layout[...] = h5py.VirtualSource(str(tmp_path / "other.hdf5"), "x", (6, 2))
        file.create_virtual_dataset("virtual", layout)
    for name in ("external", "virtual"):
        with pytest.raises(InvalidArgumentError, match="keeps its values in other files"):
            open_vectors(f"{tmp_path / 'v.hdf5'}:{name}")


def test_compact_storage_is_read(tmp_path: Path) -> None:
    path = tmp_path / "v.hdf5"
    with h5py.File(path, "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((6, 2))
        dataset = h5py.h5d.create(file.id, b"train", h5py.h5t.IEEE_F32LE, space, plist)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, VECTORS)
    np.testing.assert_array_equal(open_vectors(path).rows(0, 6), VECTORS)


def test_what_is_not_hdf5_is_damage(tmp_path: Path) -> None:
    (tmp_path / "v.h5").write_bytes(b"x" * 4096)
    with pytest.raises(DataLossError, match=r"v.h5 cannot be read as HDF5"):
        open_vectors(tmp_path / "v.h5")
