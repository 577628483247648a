"""A disk that is full in the middle of a build: one sentence, nothing left behind, the other indexes as they were."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec.errors import AlreadyExistsError, ResourceExhaustedError

BASE = np.random.default_rng(1).normal(size=(400, 16)).astype(np.float32)
PARAMS = {"graph_degree": 8, "build_list": 16}

_LIMITED = """
import resource, signal, sys
import numpy as np
import tiervec
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
base = np.load(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    tiervec.build(base, sys.argv[2], params={"graph_degree": 8, "build_list": 16}, calibration_queries=base[:2])
except tiervec.ResourceExhaustedError as error:
    print(error)
    sys.exit(7)
"""


def build(out: Path) -> Any:
    return tiervec.build(BASE, out, params=PARAMS, calibration_queries=BASE[:2])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# Which file does not fit any more: the trained code, the codes, the records.
@pytest.mark.parametrize("limit_bytes", [100, 1500, 4000, 10_000, 30_000])
def test_a_limit_in_the_middle_of_a_save_leaves_nothing(limit_bytes: int, tmp_path: Path) -> None:
    build(tmp_path / "old")
    np.save(tmp_path / "base.npy", BASE)
    before = contents(tmp_path)
    command = [sys.executable, "-c", _LIMITED, str(tmp_path / "base.npy"), str(tmp_path / "new"), str(limit_bytes)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 7, done.stderr
    assert "no space left" in done.stdout or "cannot write" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert contents(tmp_path) == before
    with tiervec.open(tmp_path / "old") as index:
        assert index.search(BASE[:3], k=1).ids.ravel().tolist() == [0, 1, 2]


def test_a_disk_that_is_full_from_the_start_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages: list[str] = []
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(ResourceExhaustedError, match="1,000 are free"):
        tiervec.build(BASE, tmp_path / "new", params=PARAMS, progress=lambda stage, *_: stages.append(stage))
    assert "linking" not in stages
    assert contents(tmp_path) == {}


def test_an_existing_index_is_never_overwritten(tmp_path: Path) -> None:
    build(tmp_path / "index")
    before = contents(tmp_path)
    with pytest.raises(AlreadyExistsError, match="index already exists"):
        tiervec.build(BASE[:50], tmp_path / "index")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("stage", ["training code", "encoding", "linking", "writing records", "calibration"])
def test_an_error_of_the_progress_callback_leaves_nothing(stage: str, tmp_path: Path) -> None:
    def progress(current: str, done: int, total: int, eta_s: float | None) -> None:
        if current == stage:
            raise ZeroDivisionError("the callback's own")

    with pytest.raises(ZeroDivisionError, match="the callback's own"):
        tiervec.build(BASE, tmp_path / "index", params=PARAMS, progress=progress, calibration_queries=BASE[:2])
    assert list(tmp_path.iterdir()) == []
