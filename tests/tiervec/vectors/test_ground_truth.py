from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tiervec.errors import DataLossError, InvalidArgumentError, NotFoundError
from tiervec.vectors.ground_truth import read_ground_truth, recall, write_ground_truth

Array = np.ndarray[Any, Any]


def recall_by_sets(ids: Array, truth: Array, k: int) -> float:
    """The definition, slowly."""
    shares = []
    for found, true in zip(ids.tolist(), truth.tolist(), strict=True):
        shares.append(len({i for i in found[:k] if i >= 0} & {i for i in true[:k] if i >= 0}) / k)
    return float(np.mean(shares))


@given(
    pair=st.integers(1, 20).flatmap(
        lambda queries: st.tuples(
            hnp.arrays(np.int64, (queries, 6), elements=st.integers(-2, 8)),
            hnp.arrays(np.int64, (queries, 5), elements=st.integers(-2, 8)),
        )
    ),
    k=st.integers(1, 5),
)
def test_recall_is_the_mean_share_of_common_ids(pair: tuple[Array, Array], k: int) -> None:
    assert recall(*pair, k) == pytest.approx(recall_by_sets(*pair, k))


def test_recall_of_many_queries_in_blocks() -> None:
    random = np.random.default_rng(3)
    ids, truth = random.integers(0, 300, (30_000, 100)), random.integers(0, 300, (30_000, 100))
    assert recall(ids, truth, 100) == pytest.approx(recall_by_sets(ids, truth, 100))


def test_absent_ids_never_match() -> None:
    assert recall([[1, -1, -1]], [[1, -1, -1]], 3) == pytest.approx(1 / 3)


def test_only_the_first_k_count() -> None:
    assert recall([[1, 2, 3]], [[3, 1, 2]], 1) == 0.0
    assert recall([[1, 2, 3]], [[3, 1, 2]], np.int64(3)) == 1.0


def test_ids_of_any_integer_dtype_compare() -> None:
    assert recall(np.array([[2**31 + 1]], np.uint32), np.array([[2**31 + 1]], np.int64), 1) == 1.0
    assert recall(np.array([[2**40]], np.uint64), [[2**40]], 1) == 1.0


@pytest.mark.parametrize(
    ("ids", "truth", "k", "message"),
    [
        ([[1]], [[1]], 0, "k is 0"),
        ([[1]], [[1]], 1.5, "k is 1.5"),
        ([[1]], [[1]], None, "k is None"),
        ([[1]], [[1, 2]], 2, "k is 2, but ids has 1 ids per query"),
        ([[1, 2]], [[1]], 2, "k is 2, but ground_truth has 1 ids per query"),
        ([[1], [2]], [[1]], 1, "ids has 2 queries and ground_truth 1"),
        (np.zeros((0, 1), int), np.zeros((0, 1), int), 1, "at least 1"),
        ([1], [[1]], 1, r"ids has the shape \(1,\)"),
        ([[1]], [[1.0]], 1, "ground_truth has the dtype float64"),
        ([[1], [2, 3]], [[1]], 1, "rows of different lengths"),
        (np.array([[2**63]], np.uint64), [[1]], 1, "below 2..63"),
    ],
)
def test_recall_refuses_what_it_cannot_compare(ids: object, truth: object, k: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        recall(ids, truth, k)


@given(
    ids=hnp.arrays(np.int64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.integers(-1, 2**32 - 2)),
    with_distances=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read(ids: Array, with_distances: bool, tmp_path: Path) -> None:
    distances = np.arange(ids.size, dtype=np.float32).reshape(ids.shape) if with_distances else None
    write_ground_truth(tmp_path / "gt.bin", ids, distances)
    read = read_ground_truth(tmp_path / "gt.bin")
    assert read.ids.dtype == np.int64
    np.testing.assert_array_equal(read.ids, ids)
    assert (read.distances is None) == (distances is None)
    if read.distances is not None:
        assert read.distances.dtype == np.float32
        np.testing.assert_array_equal(read.distances, distances)


@pytest.mark.parametrize(
    ("name", "ids", "distances"),
    [
        ("gt.bin", [[2**32 - 1]], None),
        ("gt.bin", [[-2]], None),
        ("gt.bin", np.zeros((0, 3), int), None),
        ("gt.bin", [[1, 2]], [[0.5]]),
        ("gt.npy", [[1, 2]], None),
        ("gt.ivecs", [[1, 2]], None),
    ],
)
def test_what_does_not_fit_is_not_written(tmp_path: Path, name: str, ids: object, distances: object) -> None:
    with pytest.raises(InvalidArgumentError):
        write_ground_truth(tmp_path / name, ids, distances)
    assert list(tmp_path.iterdir()) == []


def test_other_formats_are_read(tmp_path: Path) -> None:
    ids = np.array([[3, 1], [2, -1]])
    (tmp_path / "gt.ivecs").write_bytes(b"".join(struct.pack("<iii", 2, *row) for row in ids.tolist()))
    np.testing.assert_array_equal(read_ground_truth(tmp_path / "gt.ivecs").ids, ids)
    for dtype in ("int32", "int64", ">i4"):
        np.save(tmp_path / "gt.npy", ids.astype(dtype))
        read = read_ground_truth(str(tmp_path / "gt.npy"))
        assert read.ids.dtype == np.int64
        assert read.distances is None
        np.testing.assert_array_equal(read.ids, ids)


def test_the_neighbours_of_an_ann_benchmarks_file_are_read(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "data.hdf5"
    with h5py.File(path, "w") as file:
        file["neighbors"] = np.array([[3, 1]], np.int32)
        file["distances"] = np.array([[0.5, 1.5]])
        file["other"] = np.array([[9]])
        file["wrong"] = np.array([9.0])
    ids, distances = read_ground_truth(path)
    assert ids.tolist() == [[3, 1]]
    assert distances is not None
    assert distances.tolist() == [[0.5, 1.5]]
    assert read_ground_truth(f"{path}:other").distances is None
    with pytest.raises(NotFoundError, match="no dataset 'none'"):
        read_ground_truth(f"{path}:none")
    with pytest.raises(InvalidArgumentError, match=r"data.hdf5:wrong"):
        read_ground_truth(f"{path}:wrong")
    with h5py.File(path, "a") as file:
        del file["distances"]
        file["distances"] = np.array([[0.5]])
    with pytest.raises(DataLossError, match="distances of the shape"):
        read_ground_truth(path)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (struct.pack("<II", 2, 3) + bytes(2 * 3 * 8 - 1), DataLossError),
        (struct.pack("<II", 2, 3) + bytes(2 * 3 * 8 + 4), DataLossError),
        (struct.pack("<II", 2**32 - 1, 2**32 - 1), DataLossError),
        (struct.pack("<II", 0, 3), InvalidArgumentError),
        (struct.pack("<II", 3, 0), InvalidArgumentError),
        (b"abc", DataLossError),
        (b"", InvalidArgumentError),
    ],
)
def test_a_big_ann_file_of_the_wrong_size_is_refused(tmp_path: Path, content: bytes, error: type[Exception]) -> None:
    (tmp_path / "gt.bin").write_bytes(content)
    with pytest.raises(error, match=r"gt\.bin"):
        read_ground_truth(tmp_path / "gt.bin")


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"gt\.bin does not exist"):
        read_ground_truth(tmp_path / "gt.bin")


@pytest.mark.data
def test_the_ground_truth_of_sift_is_read(data_dir: Path) -> None:
    ids, distances = read_ground_truth(data_dir / "sift1m" / "gt100.bin")
    assert ids.shape == (10_000, 100)
    assert distances is not None
    assert (np.diff(distances, axis=1) >= 0).all()
    assert recall(ids, ids, 100) == 1.0
