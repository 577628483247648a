"""Headers that lie about how much a file holds: an error of one line or the right rows, and never much memory.

The files are sparse, so that even a header that tells the truth about its length promises more than there is memory.
"""

from __future__ import annotations

import os
import random
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from tiervec import _core
from tiervec.errors import ResourceExhaustedError, TiervecError
from tiervec.vectors.ground_truth import read_ground_truth
from tiervec.vectors.vector_files import open_vectors
from tiervec.vectors.vector_files.file_access import allocated

ROUNDS: Final = int(os.environ.get("TIERVEC_FUZZ_ROUNDS", "60"))
_MOST_MEMORY: Final = 64 << 20  # far above a block of 8 MiB, far below what the headers promise
_NUMBERS: Final = (
    0, 1, 2, 3, 8, 127, 128, 255, 256, 65535, 1 << 20, (1 << 20) + 1, 2**31 - 1, 2**31, 2**32 - 1, -1, -2, -(2**31),
    2**62, 2**63 - 1, 2**63, 2**64 - 1, 10**30,
)  # fmt: skip


def packed(number: int, code: str) -> bytes:
    """A number of a header, cut to its width as damage would."""
    width = struct.calcsize(f"<{code}")
    return (number % 2 ** (8 * width)).to_bytes(width, "little")


def big_ann(rows: int, dim: int, dtype: str) -> tuple[bytes, int]:
    del dtype
    return packed(rows, "I") + packed(dim, "I"), 8


def texmex(rows: int, dim: int, dtype: str) -> tuple[bytes, int]:
    del rows, dtype
    return packed(dim, "i"), 4


def npy(rows: int, dim: int, dtype: str) -> tuple[bytes, int]:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({rows}, {dim}), }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header, 0


_FORMATS: Final[dict[str, tuple[Callable[..., tuple[bytes, int]], str]]] = {
    ".fbin": (big_ann, "<f4"),
    ".f16bin": (big_ann, "<f2"),
    ".u8bin": (big_ann, "|u1"),
    ".i8bin": (big_ann, "|i1"),
    ".fvecs": (texmex, "<f4"),
    ".bvecs": (texmex, "|u1"),
    ".npy": (npy, "<f8"),
}


def write(path: Path, choice: random.Random, format_: Callable[..., tuple[bytes, int]], dtype: str) -> None:
    """A header of any numbers, and a length that it promises, or nearly, or not at all."""
    rows, dim = choice.choice(_NUMBERS), choice.choice(_NUMBERS)
    header, _ = format_(rows, dim, dtype)
    promised = len(header) + max(0, rows * dim) * np.dtype(dtype).itemsize
    size = choice.choice([promised, promised - 1, promised + 1, len(header), len(header) // 2, 100, 0])
    path.write_bytes(header)
    os.truncate(path, min(max(size, 0), 1 << 40))


def within_memory(path: Path, read: Callable[[], Any]) -> None:
    """Reads; an error is one line that names the file. Either way the memory stays small."""
    message = path.name
    tracemalloc.start()
    try:
        read()
    except TiervecError as error:
        message = str(error)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert path.name in message
    assert "\n" not in message
    assert peak < _MOST_MEMORY, f"{path.name} took {peak:,} bytes"


@pytest.mark.parametrize("suffix", _FORMATS)
def test_vectors(suffix: str, tmp_path: Path) -> None:
    choice = random.Random(suffix)
    for number in range(ROUNDS):
        path = tmp_path / f"v{number}{suffix}"
        write(path, choice, *_FORMATS[suffix])

        def read(path: Path = path) -> None:
            file = open_vectors(path)
            assert min(file.shape) >= 1
            assert file.rows(0, min(file.shape[0], 3)).shape[1] == file.shape[1]
            file.rows(file.shape[0] - 1, file.shape[0])
            next(iter(file.chunks()))

        within_memory(path, read)
        path.unlink()


@pytest.mark.parametrize("suffix", [".bin", ".ivecs", ".npy"])
def test_ground_truth(suffix: str, tmp_path: Path) -> None:
    choice = random.Random(suffix)
    format_, dtype = {".bin": (big_ann, "<u8"), ".ivecs": (texmex, "<i4"), ".npy": (npy, "<i8")}[suffix]
    for number in range(ROUNDS):
        path = tmp_path / f"truth{number}{suffix}"
        write(path, choice, format_, dtype)
        if path.stat().st_size > _MOST_MEMORY // 4:  # it is read whole, and a header that is true may ask for that
            continue
        within_memory(path, lambda path=path: read_ground_truth(path))
        path.unlink()


def test_memory_that_is_not_there_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_core, "available_memory_bytes", lambda: 1000)
    assert allocated((10, 10), np.float64, "v.npy").nbytes == 800
    with pytest.raises(ResourceExhaustedError, match=r"reading v\.npy needs 1,008 bytes .* 1,000 are available"):
        allocated((126,), np.float64, "v.npy")


def test_ground_truth_of_more_than_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "truth.bin"
    path.write_bytes(packed(2**20, "I") + packed(2**20, "I"))
    os.truncate(path, 8 + 2**40 * 8)
    with pytest.raises(TiervecError, match=r"truth\.bin"):
        read_ground_truth(path)
