from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tiervec.errors import InvalidArgumentError, NotFoundError, PermissionDeniedError, UnsupportedError
from tiervec.vectors.vector_files import VECTOR_SUFFIXES, open_vectors
from tiervec.vectors.vector_files.opening import split_path

EVERY_SUFFIX = pytest.mark.parametrize("suffix", [*VECTOR_SUFFIXES, ".FBIN"])


@EVERY_SUFFIX
def test_a_missing_file_is_not_found(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(NotFoundError, match=f"nothing{suffix} does not exist"):
        open_vectors(tmp_path / f"nothing{suffix}")


@EVERY_SUFFIX
def test_a_directory_is_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"d{suffix}").mkdir()
    with pytest.raises(InvalidArgumentError, match="is a directory"):
        open_vectors(tmp_path / f"d{suffix}")


@EVERY_SUFFIX
def test_an_empty_file_is_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"e{suffix}").touch()
    with pytest.raises(InvalidArgumentError, match="is empty"):
        open_vectors(tmp_path / f"e{suffix}")


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.npy")
    with pytest.raises(InvalidArgumentError, match="not a regular file"):
        open_vectors(tmp_path / "p.npy")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.ones((1, 1), np.float32))
    (tmp_path / "v.npy").chmod(0)
    with pytest.raises(PermissionDeniedError, match="may not be read"):
        open_vectors(tmp_path / "v.npy")


@pytest.mark.parametrize("name", ["v.txt", "v", "v.npz", "v.npy.gz"])
def test_an_unknown_suffix_lists_the_known_ones(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"suffix .*; vectors are read from \.npy, \.fbin"):
        open_vectors(tmp_path / name)


def test_the_suffix_may_be_in_capitals(tmp_path: Path) -> None:
    np.save(tmp_path / "v", np.ones((1, 2), np.float32))
    (tmp_path / "v.npy").rename(tmp_path / "V.NPY")
    assert open_vectors(tmp_path / "V.NPY").shape == (1, 2)


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("a.hdf5", ("a.hdf5", None)),
        ("a.hdf5:train", ("a.hdf5", "train")),
        ("d:e/a.H5:x/y", ("d:e/a.H5", "x/y")),
        ("a.parquet:my column", ("a.parquet", "my column")),
        ("a.hdf5.npy", ("a.hdf5.npy", None)),
        ("a:b.npy", ("a:b.npy", None)),
        ("a.hdf5:", ("a.hdf5:", None)),
    ],
)
def test_the_part_of_a_file_comes_after_the_colon(path: str, parts: tuple[str, str | None]) -> None:
    assert split_path(path) == parts


@pytest.mark.parametrize(
    ("name", "library", "extra"), [("v.hdf5", "h5py", "hdf5"), ("v.parquet", "pyarrow", "parquet")]
)
def test_a_missing_library_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, library: str, extra: str
) -> None:
    class NotInstalled:
        def find_spec(self, module: str, path: Sequence[str] | None = None, target: object = None) -> None:
            if module.partition(".")[0] == library:
                raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    (tmp_path / name).write_bytes(b"x")
    for module in [module for module in sys.modules if module.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [NotInstalled(), *sys.meta_path])
    with pytest.raises(UnsupportedError, match=rf"{library}.* not installed; run pip install 'tiervec\[{extra}\]'"):
        open_vectors(tmp_path / name)
