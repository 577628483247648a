from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from tiervec.errors import DataLossError, InvalidArgumentError
from tiervec.vectors.vector_files import open_vectors
from tiervec.vectors.vector_files.texmex import open_texmex


def fvecs(folder: Path, rows: list[list[float]]) -> Path:
    path = folder / "v.fvecs"
    path.write_bytes(b"".join(struct.pack(f"<i{len(row)}f", len(row), *row) for row in rows))
    return path


def test_a_row_of_another_dim_is_found_when_it_is_read(tmp_path: Path) -> None:
    # Rows of dims 3, 7 and 3 fill exactly as many bytes as four rows of dim 3.
    file = open_vectors(fvecs(tmp_path, [[1, 2, 3], [1, 2, 3, 4, 5, 6, 7], [1, 2, 3]]))
    assert file.shape == (4, 3)
    for read in (lambda: file.rows(0, 4), lambda: file.rows(1, 2), lambda: list(file.chunks(12)), lambda: file.mapped):
        with pytest.raises(DataLossError, match="row 1 says dim 7, but row 0 says 3"):
            read()
    np.testing.assert_array_equal(file.rows(3, 4), [[1, 2, 3]])


def test_a_last_row_of_another_dim_is_found_at_once(tmp_path: Path) -> None:
    path = tmp_path / "v.fvecs"
    path.write_bytes(struct.pack("<i2fi2f", 2, 1, 2, 9, 1, 2))
    with pytest.raises(DataLossError, match="row 1 says dim 9, but row 0 says 2"):
        open_vectors(path)


@pytest.mark.parametrize(
    ("dim", "message"), [(-1, "dim -1"), (2**31 - 1, "dim 2147483647"), (4, "multiple of 20 bytes")]
)
def test_a_dim_that_does_not_fit_the_file_is_damage(tmp_path: Path, dim: int, message: str) -> None:
    path = tmp_path / "v.fvecs"
    path.write_bytes(struct.pack("<i", dim) + bytes(12))
    with pytest.raises(DataLossError, match=message):
        open_vectors(path)


def test_vectors_without_dimensions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.bvecs"
    path.write_bytes(bytes(8))
    with pytest.raises(InvalidArgumentError, match="dim 0"):
        open_vectors(path)


def test_the_map_is_a_strided_view(tmp_path: Path) -> None:
    mapped = open_vectors(fvecs(tmp_path, [[1, 2], [3, 4]])).mapped
    assert mapped is not None
    assert mapped.strides == (12, 4)


def test_ids_are_no_vectors_but_can_be_read_as_ids(tmp_path: Path) -> None:
    path = tmp_path / "truth.ivecs"
    path.write_bytes(struct.pack("<i2ii2i", 2, 5, 6, 2, 7, -1))
    with pytest.raises(InvalidArgumentError, match="holds int32 ids"):
        open_vectors(path)
    np.testing.assert_array_equal(open_texmex(str(path)).rows(0, 2), [[5, 6], [7, -1]])
