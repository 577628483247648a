"""A process that runs out of file descriptors, at every open that an operation does: ResourceExhaustedError, or done.

The soft limit is lowered to so many more than are open, one after the other, until the operation succeeds.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec.errors import ResourceExhaustedError
from tiervec.index_files.directory import IndexDirectory
from tiervec.rpc.tokens import read_token_file
from tiervec.vectors.ground_truth import read_ground_truth, write_ground_truth
from tiervec.vectors.vector_files import open_vectors, write_big_ann

_MOST_DESCRIPTORS = 40


@contextlib.contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """Lets this process open `count` more files and no other."""
    held = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Numbers below the highest one may be free: they are filled first.
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    while not held or held[-1] < highest:
        held.append(os.open(os.devnull, os.O_RDONLY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (held[-1] + 1 + count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in held:
            os.close(descriptor)


def exhausted_until_it_succeeds(operation: Callable[[], object]) -> int:
    """Runs `operation` with 0, 1, 2, ... descriptors; returns with how many it succeeded."""
    operation()  # imports what it needs
    for count in range(_MOST_DESCRIPTORS):
        with descriptors_left(count), contextlib.suppress(ResourceExhaustedError):
            operation()
            return count
    raise AssertionError(f"it does not succeed with {_MOST_DESCRIPTORS} descriptors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of each kind and a file of each format."""
    folder = tmp_path_factory.mktemp("descriptors")
    vectors = np.random.default_rng(3).normal(size=(80, 8)).astype(np.float32)
    tiervec.build(vectors, folder / "graph", params={"graph_degree": 8}, threads=1)
    tiervec.build(vectors, folder / "cluster", kind="cluster", threads=1)
    np.save(folder / "v.npy", vectors)
    write_big_ann(folder / "v.fbin", vectors)
    write_ground_truth(folder / "truth.bin", np.arange(20).reshape(4, 5))
    (folder / "tokens").write_text("0123456789abcdef0123456789abcdef\n")
    (folder / "tokens").chmod(0o600)
    return folder


@pytest.mark.parametrize("kind", ["graph", "cluster"])
@pytest.mark.parametrize("tier", ["dram:", "mmap:", "emulated:rdma-200g"])
def test_opening_an_index(kind: str, tier: str, folder: Path) -> None:
    queries = np.zeros((2, 8), np.float32)

    def open_and_search() -> None:
        with tiervec.open(folder / kind, tier=tier, threads=1) as index:
            index.search(queries, 1)

    assert exhausted_until_it_succeeds(open_and_search) > 0


def test_verifying_and_building(folder: Path, tmp_path: Path) -> None:
    vectors = np.load(folder / "v.npy")
    assert exhausted_until_it_succeeds(lambda: IndexDirectory.open(folder / "graph").verify()) > 0

    numbers = itertools.count()
    assert exhausted_until_it_succeeds(lambda: tiervec.build(vectors, tmp_path / str(next(numbers)), threads=1)) > 0
    done = next(numbers) - 1
    assert sorted(os.listdir(tmp_path)) == sorted(["0", str(done)])  # the first, the last, and nothing of the others


@pytest.mark.parametrize("name", ["v.npy", "v.fbin", "v.hdf5", "v.parquet"])
def test_vector_files(name: str, folder: Path) -> None:
    vectors = np.load(folder / "v.npy")
    if name == "v.hdf5":
        with pytest.importorskip("h5py").File(folder / name, "w") as file:
            file.create_dataset("train", data=vectors, chunks=(7, 8))
    if name == "v.parquet":
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        column = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(vectors.reshape(-1)), 8)
        parquet.write_table(pyarrow.table({"v": column}), folder / name)

    def read() -> Any:
        return open_vectors(folder / name).rows(0, 80)

    assert exhausted_until_it_succeeds(read) > 0


def test_small_files(folder: Path, tmp_path: Path) -> None:
    assert exhausted_until_it_succeeds(lambda: read_ground_truth(folder / "truth.bin")) > 0
    assert exhausted_until_it_succeeds(lambda: read_token_file(folder / "tokens")) > 0
    assert exhausted_until_it_succeeds(lambda: write_ground_truth(tmp_path / "truth.bin", np.ones((1, 1), int))) > 0
