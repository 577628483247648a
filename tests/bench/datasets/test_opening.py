from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiervec.bench.datasets import (
    LocalFiles,
    dataset_of_files,
    exact_neighbours,
    is_at_hand,
    load_registry,
    open_dataset,
    parse_dataset_name,
    remember_files,
)
from tiervec.errors import DataLossError, InvalidArgumentError, NotFoundError
from tiervec.vectors.ground_truth import write_ground_truth
from tiervec.vectors.vector_files import open_vectors, write_big_ann

RNG = np.random.default_rng(3)
BASE = RNG.normal(size=(400, 6)).astype(np.float32)
QUERIES = RNG.normal(size=(20, 6)).astype(np.float32)


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    np.save(tmp_path / "base.npy", BASE)
    np.save(tmp_path / "queries.npy", QUERIES)
    return LocalFiles(base=str(tmp_path / "base.npy"), queries=str(tmp_path / "queries.npy"))


def truth_file(tmp_path: Path, base: np.ndarray) -> str:
    np.save(tmp_path / "other.npy", base)
    ids, distances = exact_neighbours(open_vectors(tmp_path / "other.npy"), QUERIES, "l2", 10)
    write_ground_truth(tmp_path / "gt.bin", ids, distances)
    return str(tmp_path / "gt.bin")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sift1m", ("sift1m", None)),
        ("sift1m:100k", ("sift1m", 100_000)),
        ("bigann:1.5M", ("bigann", 1_500_000)),
        ("bigann:1B", ("bigann", 10**9)),
        ("x:7", ("x", 7)),
        ("synthetic:n=5,dim=3", ("synthetic:n=5,dim=3", None)),
    ],
)
def test_names_have_slices(text: str, expected: tuple[str, int | None]) -> None:
    assert parse_dataset_name(text) == expected


@pytest.mark.parametrize("text", ["x:", "x:0", "x:-3", "x:ten", "x:1T"])
def test_a_slice_is_a_number(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="must be a number such as 100k"):
        parse_dataset_name(text)


def test_the_sample_and_a_slice_of_it(own_cache: Path) -> None:
    whole, part = open_dataset("sample", queries=5), open_dataset("sample:1k", queries=5)
    assert (whole.key.n, part.key.n, part.key.slice, part.key.queries) == (5000, 1000, 1000, 5)
    assert part.vectors.dtype == np.float16
    assert (part.vectors.rows(0, 1000) == whole.vectors.rows(0, 1000)).all()
    assert part.ground_truth.max() < 1000
    assert whole.key.checksum != part.key.checksum
    assert whole.key.queries_checksum == part.key.queries_checksum


def test_what_was_prepared_is_used_again(files: LocalFiles, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = dataset_of_files(files, slice=100)

    def never(*_: Any, **__: Any) -> Any:
        pytest.fail("computed again")

    monkeypatch.setattr("tiervec.bench.datasets.preparing.exact_neighbours", never)
    monkeypatch.setattr("tiervec.bench.datasets.preparing._write_slice", never)
    again = dataset_of_files(files, slice=100)
    assert again.key == first.key
    assert (again.ground_truth == first.ground_truth).all()


def test_a_source_that_changed_is_prepared_again(files: LocalFiles, own_cache: Path) -> None:
    before = dataset_of_files(files, slice=100)
    np.save(files.base, -BASE)
    os.utime(files.base, ns=(1, 1))
    after = dataset_of_files(files, slice=100)
    assert after.key.checksum != before.key.checksum
    assert (after.vectors.rows(0, 100) == -BASE[:100]).all()
    assert after.key.ground_truth_checksum != before.key.ground_truth_checksum


def test_a_big_ann_file_is_used_where_it_is(files: LocalFiles, tmp_path: Path) -> None:
    write_big_ann(tmp_path / "base.fbin", BASE)
    found = dataset_of_files(LocalFiles(base=str(tmp_path / "base.fbin"), queries=files.queries))
    assert found.vectors_path == tmp_path / "base.fbin"
    assert found.key.checksum == dataset_of_files(files).key.checksum


def test_given_neighbours_are_taken_when_they_are_right(files: LocalFiles, tmp_path: Path) -> None:
    given = LocalFiles(base=files.base, queries=files.queries, ground_truth=truth_file(tmp_path, BASE))
    found = dataset_of_files(given, queries=7)
    assert found.ground_truth.shape == (7, 10)
    assert (found.ground_truth == dataset_of_files(files, queries=7).ground_truth[:, :10]).all()


@pytest.mark.parametrize("other", [BASE[:300], BASE[::-1], np.concatenate([BASE, BASE + 1])])
def test_neighbours_of_other_vectors_are_refused(files: LocalFiles, tmp_path: Path, other: np.ndarray) -> None:
    given = LocalFiles(
        base=files.base, queries=files.queries, ground_truth=truth_file(tmp_path, np.ascontiguousarray(other))
    )
    with pytest.raises(
        InvalidArgumentError, match=r"gt\.bin does not hold the nearest neighbours among the 400 vectors"
    ):
        dataset_of_files(given)


def test_neighbours_that_were_right_are_not_those_of_other_queries(
    files: LocalFiles, tmp_path: Path, own_cache: Path
) -> None:
    truth = truth_file(tmp_path, BASE)
    dataset_of_files(LocalFiles(base=files.base, queries=files.queries, ground_truth=truth))
    np.save(tmp_path / "others.npy", QUERIES[::-1])
    others = LocalFiles(base=files.base, queries=str(tmp_path / "others.npy"), ground_truth=truth)
    with pytest.raises(InvalidArgumentError, match=r"gt\.bin does not hold the nearest neighbours"):
        dataset_of_files(others)


def test_neighbours_of_too_few_queries_are_refused(files: LocalFiles, tmp_path: Path) -> None:
    write_ground_truth(tmp_path / "gt.bin", np.zeros((3, 10), np.int64))
    given = LocalFiles(base=files.base, queries=files.queries, ground_truth=str(tmp_path / "gt.bin"))
    with pytest.raises(InvalidArgumentError, match=r"neighbours of 3 queries, but base\.npy has 20"):
        dataset_of_files(given)


def test_a_slice_has_neighbours_of_its_own(files: LocalFiles, tmp_path: Path) -> None:
    given = LocalFiles(base=files.base, queries=files.queries, ground_truth=truth_file(tmp_path, BASE))
    found = dataset_of_files(given, slice=50)
    distances = ((QUERIES[:, None] - BASE[None, :50]) ** 2).sum(axis=2)
    assert (found.ground_truth[:, 0] == distances.argmin(axis=1)).all()
    assert found.ground_truth.shape == (20, 50)


def test_without_queries_some_vectors_are_taken_out(files: LocalFiles) -> None:
    found = dataset_of_files(LocalFiles(base=files.base))
    assert (found.key.n, found.key.queries) == (360, 40)
    assert (found.queries == BASE[360:]).all()


def test_files_get_a_name(files: LocalFiles, own_cache: Path) -> None:
    remember_files("mine", files)
    assert open_dataset("mine:100").key.n == 100
    remember_files("mine", LocalFiles(base=files.base, metric="ip"))
    assert open_dataset("mine").metric == "ip"
    (own_cache / "files" / "mine.json").write_text("{")
    with pytest.raises(DataLossError, match=r"mine\.json"):
        open_dataset("mine")


@pytest.mark.parametrize("name", ["", "a/b", "../x", "synthetic", "a:b"])
def test_a_name_is_a_word(files: LocalFiles, name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="letters, digits, dots and dashes"):
        remember_files(name, files)


def test_files_must_fit_each_other(files: LocalFiles, tmp_path: Path) -> None:
    np.save(tmp_path / "wide.npy", np.zeros((3, 7), np.float32))
    with pytest.raises(InvalidArgumentError, match="have 7 dimensions, but the vectors"):
        dataset_of_files(LocalFiles(base=files.base, queries=str(tmp_path / "wide.npy")))
    with pytest.raises(InvalidArgumentError, match="metric is 'l1'"):
        LocalFiles(base=files.base, metric="l1")
    np.save(tmp_path / "whole.npy", np.zeros((30, 6), np.uint8))
    with pytest.raises(InvalidArgumentError, match="do not fit the uint8"):
        dataset_of_files(LocalFiles(base=str(tmp_path / "whole.npy"), queries=files.queries))
    with pytest.raises(InvalidArgumentError, match="a slice of 500 is more than that"):
        dataset_of_files(files, slice=500)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("sift2m", "there is no data set 'sift2m'; known: sample"),
        ("bigann:10M", "bigann:10000000 is not at hand; `tiervec bench fetch bigann:10000000` downloads it"),
        ("msmarco", r"get it from https://.*`tiervec bench fetch msmarco --path FILE`"),
    ],
)
def test_what_is_not_at_hand_says_how_to_get_it(name: str, says: str) -> None:
    with pytest.raises(NotFoundError, match=says):
        open_dataset(name)


def test_without_the_folder_of_data_its_sets_are_not_at_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TIERVEC_DATA", str(tmp_path))
    with pytest.raises(NotFoundError, match="TIERVEC_DATA must name the folder that holds sift1m/"):
        open_dataset("sift1m")
    assert not is_at_hand(load_registry()["sift1m"])
    assert is_at_hand(load_registry()["sample"])


def test_a_packed_local_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard", reason="zstandard is not installed")
    folder = tmp_path / "sift1m"
    folder.mkdir()
    base, queries = (RNG.integers(0, 255, (n, 128)).astype(np.uint8) for n in (200, 20))
    write_big_ann(tmp_path / "base.u8bin", base)
    (folder / "base.u8bin.zst").write_bytes(zstandard.compress((tmp_path / "base.u8bin").read_bytes()))
    write_big_ann(folder / "query.u8bin", queries)
    ids, distances = exact_neighbours(open_vectors(tmp_path / "base.u8bin"), queries, "l2")
    write_ground_truth(folder / "gt100.bin", ids, distances)
    monkeypatch.setenv("TIERVEC_DATA", str(tmp_path))
    assert (open_dataset("sift1m").ground_truth == ids).all()
    assert open_dataset("sift1m:150").key.n == 150
    other = tmp_path / "elsewhere" / "sift1m"  # the same names with other vectors
    other.mkdir(parents=True)
    write_big_ann(tmp_path / "base.u8bin", np.ascontiguousarray(base[::-1]))
    (other / "base.u8bin.zst").write_bytes(zstandard.compress((tmp_path / "base.u8bin").read_bytes()))
    write_big_ann(other / "query.u8bin", queries)
    write_ground_truth(other / "gt100.bin", len(base) - 1 - ids, distances)
    monkeypatch.setenv("TIERVEC_DATA", str(tmp_path / "elsewhere"))
    assert (open_dataset("sift1m").vectors.rows(0, 200) == base[::-1]).all()
    (other / "base.u8bin.zst").write_bytes(b"not packed")
    with pytest.raises(DataLossError, match="is damaged"):
        open_dataset("sift1m")


@pytest.mark.data
def test_the_sets_at_hand(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("zstandard", reason="zstandard is not installed")
    monkeypatch.setenv("TIERVEC_DATA", str(data_dir))
    peps = open_dataset("peps:2k", queries=10)
    assert (peps.key.dim, peps.key.metric, peps.ground_truth.shape) == (384, "cosine", (10, 100))
    sift = open_dataset("sift1m", queries=100)
    assert (sift.key.n, sift.key.dtype, sift.ground_truth.shape) == (1_000_000, "uint8", (100, 100))


def test_the_registry_says_what_it_knows() -> None:
    registry = load_registry()
    assert {"sift1m", "peps", "sample", "synthetic", "bigann", "deep1b", "spacev", "text2image"} <= registry.keys()
    item = {"float32": 4, "float16": 2, "uint8": 1, "int8": 1}
    for entry in registry.values():
        if entry.source == "download":
            assert entry.base is not None
            assert entry.n
            assert entry.dim
            assert entry.dtype
            if entry.base.bytes is not None:
                assert entry.base.bytes == 8 + entry.n * entry.dim * item[entry.dtype]
                assert entry.query is not None
                assert entry.queries is not None
                assert entry.query.bytes == 8 + entry.queries * entry.dim * item[entry.dtype]
