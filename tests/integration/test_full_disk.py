"""A disk that is full in the middle of a build: one sentence, nothing left behind, the other indexes as they were."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec.cluster_index.params import LAYOUTS
from tiervec.errors import AlreadyExistsError, ResourceExhaustedError

BASE = np.random.default_rng(1).normal(size=(400, 16)).astype(np.float32)
PARAMS = {"graph_degree": 8, "build_list": 16}
CLUSTERS = {"clusters": 20, "replicas": 4}

_LIMITED = """
import json, resource, signal, sys
import numpy as np
import tiervec
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
what, out, params = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
base = np.load("base.npy")
if what == "cluster":
    import faiss
for limit in map(int, sys.argv[4:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        if what == "relayout":
            tiervec.relayout("clusters", None if out == "clusters" else out, params=params)
        else:
            tiervec.build(base, out, kind=what, params=params, calibration_queries=base[:2])
    except tiervec.ResourceExhaustedError as error:
        print(error, flush=True)
"""


def limited(what: str, out: str, params: dict[str, Any], limits: list[int], folder: Path) -> None:
    """Runs out of disk at a file of so many bytes, for each limit, and says so."""
    command = [sys.executable, "-c", _LIMITED, what, out, json.dumps(params), *map(str, limits)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(limits)
    assert all("no space left" in line or "cannot write" in line for line in lines)


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
    limited("graph", "new", PARAMS, [limit_bytes], tmp_path)
    assert contents(tmp_path) == before
    with tiervec.open(tmp_path / "old") as index:
        assert index.search(BASE[:3], k=1).ids.ravel().tolist() == [0, 1, 2]


# Which file does not fit any more: the centroids' codes, the ids, the codes, the vectors or the postings.
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_limit_in_the_middle_of_clusters_leaves_nothing(layout: str, tmp_path: Path) -> None:
    pytest.importorskip("faiss", reason="clusters are built with faiss, which is not installed")
    np.save(tmp_path / "base.npy", BASE)
    limited("cluster", "new", {**CLUSTERS, "layout": layout}, [100, 700, 1500, 6000, 20_000], tmp_path)
    assert list(contents(tmp_path)) == ["base.npy"]


@pytest.mark.parametrize("out", ["other", "clusters"], ids=["beside", "in place"])
def test_a_limit_in_the_middle_of_a_relayout_leaves_the_old_layout(out: str, tmp_path: Path) -> None:
    pytest.importorskip("faiss", reason="clusters are built with faiss, which is not installed")
    np.save(tmp_path / "base.npy", BASE)
    tiervec.build(BASE, tmp_path / "clusters", kind="cluster", params=CLUSTERS, calibration_queries=BASE[:2])
    before = contents(tmp_path)
    limited("relayout", out, {"layout": "replicated"}, [100, 700, 6000, 20_000], tmp_path)
    assert contents(tmp_path) == before
    with tiervec.open(tmp_path / "clusters") as index:
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
