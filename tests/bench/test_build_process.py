"""A build in a process of its own says what it took."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tiervec
from tiervec.bench.build_process import Built, build_in_process


def test_it_builds_what_was_asked_and_says_what_it_took(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).normal(size=(500, 16)).astype(np.float32)
    np.save(tmp_path / "base.npy", vectors)
    built = build_in_process(
        tmp_path / "base.npy",
        tmp_path / "index",
        kind="cluster",
        params={"clusters": 9, "layout": "grouped"},
        threads=1,
    )
    info = tiervec.open(tmp_path / "index").info
    assert (info.kind, info.params["clusters"], info.params["layout"]) == ("cluster", 9, "grouped")
    assert built.raw_bytes == vectors.nbytes
    assert built.seconds > 0
    assert 20 << 20 < built.peak_bytes < 2 << 30  # numpy alone takes more than the lower bound


def test_its_error_is_passed_on(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"nowhere\.npy"):
        build_in_process(tmp_path / "nowhere.npy", tmp_path / "index", kind="graph")
    assert not (tmp_path / "index").exists()


def test_it_reads_as_a_line() -> None:
    assert str(Built(seconds=45.4, peak_bytes=3 << 20, raw_bytes=1 << 20)) == (
        "45 s, peak memory 3 MiB, 3.00 times the raw data"
    )
