"""Whatever bytes a file holds, opening and reading it gives vectors or a TiervecError."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiervec.errors import TiervecError
from tiervec.vectors.ground_truth import read_ground_truth
from tiervec.vectors.vector_files import VECTOR_SUFFIXES, open_vectors

Write = Callable[[Path, np.ndarray[Any, Any]], str]

_SHARED_FIXTURE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@contextlib.contextmanager
def errors_that_name(name: str) -> Iterator[None]:
    """Lets only a TiervecError of one line that names the file pass."""
    message = None
    try:
        yield
    except TiervecError as error:
        message = str(error)
    if message is not None:
        assert name in message
        assert "\n" not in message


def open_and_read(path: str) -> None:
    """Reads at most a few rows of whatever a damaged header promises, as a caller with limited memory would."""
    with errors_that_name(Path(path.partition(":")[0]).name):
        file = open_vectors(path)
        assert min(file.shape) >= 1
        assert file.dtype.name in ("float32", "float16", "int8", "uint8")
        rows = min(file.shape[0], 1000)
        assert file.rows(0, rows).shape == (rows, file.shape[1])
        for _, block in file.chunks(4096):
            assert block.shape[1] == file.shape[1]
        if file.mapped is not None:
            assert file.mapped.shape == file.shape


@given(suffix=st.sampled_from(VECTOR_SUFFIXES), content=st.binary(max_size=200))
@_SHARED_FIXTURE
def test_random_bytes(suffix: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"v{suffix}"
        path.write_bytes(content)
        open_and_read(str(path))


@given(header=st.binary(max_size=60), shape=st.tuples(st.integers(-2, 9), st.integers(-2, 9)))
@_SHARED_FIXTURE
def test_random_npy_headers(header: bytes, shape: tuple[int, int]) -> None:
    candidates = [
        header,
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}".encode(),
        b"{'descr': '" + header[:4] + b"', 'fortran_order': False, 'shape': (2, 2)}",
        b"{'descr': '<f4', 'fortran_order': " + header[:8] + b", 'shape': (2, 2)}",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, " + header[:20] + b")}",
        b"[" * 5000,
    ]
    with tempfile.TemporaryDirectory() as folder:
        for candidate in candidates:
            path = Path(folder) / "v.npy"
            path.write_bytes(b"\x93NUMPY\x01\x00" + len(candidate).to_bytes(2, "little") + candidate + bytes(16))
            open_and_read(str(path))


@given(data=st.data())
@_SHARED_FIXTURE
def test_damaged_files(data: st.DataObject, write: Write, dtypes: tuple[str, ...], tmp_path: Path) -> None:
    path = write(tmp_path, np.arange(24).reshape(8, 3).astype(data.draw(st.sampled_from(dtypes))))
    file = Path(path.rpartition(":")[0] or path)
    content = bytearray(file.read_bytes())
    # Damage at the ends, where the headers and the footers are, as often as anywhere.
    near_start, near_end = (
        st.integers(0, min(160, len(content) - 1)),
        st.integers(max(0, len(content) - 160), len(content) - 1),
    )
    anywhere = st.integers(0, len(content) - 1)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(near_start | near_end | anywhere)
        content[at] = data.draw(st.sampled_from([0, 1, 127, 128, 255]) | st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(anywhere) :]
    file.write_bytes(content)
    open_and_read(path)


@given(suffix=st.sampled_from([".bin", ".ivecs", ".npy", ".hdf5"]), content=st.binary(max_size=100))
@_SHARED_FIXTURE
def test_random_ground_truth(suffix: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"truth{suffix}"
        path.write_bytes(content)
        with errors_that_name(path.name):
            assert read_ground_truth(path).ids.dtype == np.int64


@pytest.mark.parametrize("name", ["", ".", "\0.npy", "a\0b.fbin", "x" * 5000 + ".npy", "nothing.npy", "no_suffix"])
def test_names_that_are_no_files(name: str) -> None:
    with pytest.raises(TiervecError):
        open_vectors(name)
