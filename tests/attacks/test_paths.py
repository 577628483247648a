"""Every name that a file system can hold works wherever a path is taken, or is refused before any work is done."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec.cli.main import main
from tiervec.vectors.ground_truth import read_ground_truth, write_ground_truth
from tiervec.vectors.vector_files import open_vectors, write_big_ann

NAMES = {
    "not UTF-8": b"d\xff\xfe",
    "Chinese": "数据".encode(),
    "emoji": "🗄️".encode(),
    "spaces and quotes": b"a b'c\"d",
    "a line feed": b"a\nb",
    "a dash": b"-d",
    "like a dataset of HDF5": b"d.hdf5:x",
    "like a column of Parquet": b"d.parquet:x",
    "an equals sign": b"a=b",
    "a percent sign": b"%s%n{}",
}
TIERS = ("dram:", "mmap:", "emulated:rdma-200g")


@pytest.fixture(params=list(NAMES))
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with a name that is hard to handle; everything in it has such a path."""
    folder = tmp_path / os.fsdecode(NAMES[request.param])
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def vectors() -> np.ndarray[Any, Any]:
    """60 vectors of dim 8."""
    return np.random.default_rng(5).normal(size=(60, 8)).astype(np.float32)


def test_vector_files(folder: Path, vectors: np.ndarray[Any, Any]) -> None:
    h5py, pyarrow = pytest.importorskip("h5py"), pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    np.save(folder / "v.npy", vectors)
    write_big_ann(folder / "v.fbin", vectors)
    with h5py.File(os.fsencode(folder / "v.hdf5"), "w") as file:
        file["train"] = vectors
        file["group/other"] = vectors
        file.create_dataset("chunks", data=vectors, chunks=(7, 8))
    column = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(vectors.reshape(-1)), 8)
    with open(folder / "v.parquet", "wb") as file:
        parquet.write_table(pyarrow.table({"v": column}), file)
    for name in ("v.npy", "v.fbin", "v.hdf5", "v.hdf5:group/other", "v.hdf5:chunks", "v.parquet", "v.parquet:v"):
        opened = open_vectors(f"{folder}/{name}")
        np.testing.assert_array_equal(opened.rows(0, 60), vectors, err_msg=name)
        assert opened.mapped is None or opened.mapped.shape == vectors.shape
    write_ground_truth(folder / "truth.bin", np.arange(20).reshape(4, 5))
    assert read_ground_truth(folder / "truth.bin").ids.shape == (4, 5)
    with pytest.raises(tiervec.InvalidArgumentError, match="is a directory"):
        open_vectors(folder)


@pytest.mark.parametrize("kind", ["graph", "cluster"])
def test_indexes(kind: str, folder: Path, vectors: np.ndarray[Any, Any]) -> None:
    np.save(folder / "v.npy", vectors)
    info = tiervec.build(folder / "v.npy", folder / "index", kind=kind, threads=1, calibration_queries=folder / "v.npy")
    for tier in TIERS:
        with tiervec.open(info.path, tier=tier, threads=1) as index:
            assert index.search(vectors[:3], 1).ids.shape == (3, 1)
    other = "plain" if kind == "graph" else "grouped"
    tiervec.relayout(folder / "index", folder / "other", params={"layout": other}, threads=1)
    tiervec.relayout(folder / "index", params={"layout": other}, threads=1)
    json.dumps(tiervec.open(folder / "other").info.as_dict()).encode()


def test_a_region_cannot_have_such_a_name(folder: Path, vectors: np.ndarray[Any, Any]) -> None:
    path = folder / folder.name
    tiervec.build(vectors, path, threads=1)
    with pytest.raises((tiervec.InvalidArgumentError, tiervec.UnavailableError)):
        tiervec.publish(path, "tcp://127.0.0.1:1")


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1"])
def test_commands_print_such_paths_on_every_terminal(
    encoding: str, folder: Path, vectors: np.ndarray[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(folder / "v.npy", vectors)
    index = f"{folder}/index"
    for command in (
        ("build", "--data", f"{folder}/v.npy", "--out", index, "--threads", "1"),
        ("info", index),
        ("info", index, "--json"),
        ("verify", index),
        ("search", index, "--queries", f"{folder}/v.npy", "--k", "2", "--threads", "1", "--out", f"{folder}/ids.npy"),
        ("search", index, "--queries", f"{folder}/v.npy", "--k", "2", "--threads", "1", "--json"),
        ("relayout", index, "--set", "layout=plain"),
    ):
        output = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        errors = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", output)
        monkeypatch.setattr(sys, "stderr", errors)
        status = main(command)
        errors.flush()
        assert status == 0, (command, errors.buffer.getvalue())  # type: ignore[attr-defined]
        if "--json" in command:
            json.loads(output.buffer.getvalue())  # type: ignore[attr-defined]


def test_mistakes_in_such_paths_are_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (
        ("info", f"{folder}/none"),
        ("build", "--data", f"{folder}/none.npy", "--out", f"{folder}/index"),
        ("search", f"{folder}/none", "--queries", f"{folder}/none.npy"),
        ("serve", "--config", f"{folder}/none.toml"),
        ("serve", "--config", f"{folder}"),
    ):
        assert main(command) == 1, command
        assert capsys.readouterr().err.count("\n") == 1
