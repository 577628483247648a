"""The disk below an index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec.bench.disk import Disk


@pytest.mark.parametrize(
    ("read_bytes", "length"), [(1, 4096), (64.5, 4096), (4096, 4096), (4097, 8192), (20_000, 20_480)]
)
def test_reads_are_of_whole_sectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_bytes: float, length: int
) -> None:
    np.save(tmp_path / "data.npy", np.random.default_rng(1).normal(size=(500, 16)).astype(np.float32))
    tiervec.build(tmp_path / "data.npy", tmp_path / "index", params={"graph_degree": 8, "build_list": 16})
    disk = Disk(tmp_path / "index", 2, 0.01)
    assert disk.reads_per_s(read_bytes) > 0
    asked: list[tuple[int, ...]] = []

    class Fake:
        def measure_reads_per_s(self, *arguments: Any) -> float:
            asked.append(arguments[:2])
            return float(3 - arguments[1])

    monkeypatch.setattr(disk, "_tier", Fake())
    assert disk.reads_per_s(read_bytes) == 2.0  # what one thread got, which was more
    assert asked == [(length, 1), (length, 2)]
