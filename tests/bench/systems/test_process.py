"""A system in its process, and what it may do to the harness."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiervec.bench.systems.process import SystemFailedError, SystemProcess
from tiervec.bench.systems.registry import SystemSpec
from tiervec.vectors.vector_files import write_big_ann

Find = Callable[[str], SystemSpec]
BASE = np.random.default_rng(1).normal(size=(300, 4)).astype(np.float32)
QUERIES = np.random.default_rng(2).normal(size=(40, 4)).astype(np.float32)


@pytest.fixture
def process(tmp_path: Path, find_fake: Find) -> Iterator[SystemProcess]:
    write_big_ann(tmp_path / "base.fbin", BASE)
    np.save(tmp_path / "queries.npy", QUERIES)
    (tmp_path / "index").mkdir()
    with SystemProcess(find_fake("fake"), python=Path(sys.executable), threads=1, log=tmp_path / "log") as process:
        yield process


@pytest.fixture
def job(tmp_path: Path) -> dict[str, Any]:
    return {
        "folder": str(tmp_path / "index"),
        "metric": "l2",
        "dim": 4,
        "dtype": "float32",
        "threads": 2,
        "affinity": None,
        "seed": 1,
        "build": {},
        "opening": {},
        "tier": None,
        "variant": {},
        "vectors": str(tmp_path / "base.fbin"),
        "queries": str(tmp_path / "queries.npy"),
        "most_queries": 40,
    }


@pytest.fixture
def opened(process: SystemProcess, job: dict[str, Any]) -> SystemProcess:
    process.ask({"do": "build", **job}, 60)
    process.ask({"do": "open", **job}, 60)
    return process


def search(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    request = {
        "do": "search",
        "k": 3,
        "params": {},
        "batch": 0,
        "threads": 1,
        "most_queries": 40,
        "arrivals": None,
        "ids": str(tmp_path / "ids.npy"),
    }
    return {**request, **changes}


def exact() -> np.ndarray:
    return np.argsort(((QUERIES[:, None] - BASE[None]) ** 2).sum(axis=2), axis=1, kind="stable")[:, :3]


def test_build_open_search_in_spite_of_noise(process: SystemProcess, job: dict[str, Any], tmp_path: Path) -> None:
    assert process.ask({"do": "version", **job}, 60)["version"] == "7"
    built = process.ask({"do": "build", **job}, 60)
    assert built["seconds"] > 0
    assert built["peak_bytes"] > 1_000_000
    opened = process.ask({"do": "open", **job}, 60)
    assert opened["tier_bytes"] == 500
    assert opened["memory_bytes"] >= 0
    found = process.ask(search(tmp_path), 60)
    assert (np.load(tmp_path / "ids.npy") == exact()).all()
    assert (found["answered"], found["unanswered"]) == (40, 0)
    assert found["sums"]["reads"] == 120
    assert found["peak_bytes"] > opened["memory_bytes"]
    assert found["latency_us"] is None  # one call for all: nobody timed single queries
    assert b"noise of a library" in (tmp_path / "log").read_bytes()


def test_a_system_may_measure_its_device_after_the_run(opened: SystemProcess, tmp_path: Path) -> None:
    assert opened.ask(search(tmp_path), 60)["sums"]["device_s"] == pytest.approx(0.04)
    assert opened.ask(search(tmp_path, params={"device_s": 0.7}), 60)["sums"]["device_s"] == 0.7


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_callers_share_the_queries(opened: SystemProcess, tmp_path: Path, batch: int) -> None:
    found = opened.ask(search(tmp_path, batch=batch, threads=2), 60)
    assert (np.load(tmp_path / "ids.npy") == exact()).all()
    assert found["sums"]["reads"] == 120
    assert 0 < found["latency_us"]["p50"] <= found["latency_us"]["p95"] <= found["latency_us"]["p99"]


def test_queries_that_arrive_are_answered_when_they_are_due(opened: SystemProcess, tmp_path: Path) -> None:
    np.save(tmp_path / "due.npy", np.arange(1, 61) * 0.005)
    found = opened.ask(search(tmp_path, batch=1, arrivals=str(tmp_path / "due.npy")), 60)
    assert found["seconds"] >= 0.3
    assert found["answered"] == 60
    assert (np.load(tmp_path / "ids.npy") == exact()[np.arange(60) % 40]).all()


def test_latency_counts_from_the_arrival_and_not_from_the_call(opened: SystemProcess, tmp_path: Path) -> None:
    # Ten queries arrive at once; each takes 20 ms: the last one has waited for the nine before it.
    np.save(tmp_path / "due.npy", np.full(10, 0.01))
    found = opened.ask(search(tmp_path, batch=1, params={"sleep": 0.02}, arrivals=str(tmp_path / "due.npy")), 60)
    assert found["latency_us"]["p99"] > 190_000
    assert found["latency_us"]["p50"] > 90_000
    both = opened.ask(search(tmp_path, batch=10, params={"sleep": 0.02}, arrivals=str(tmp_path / "due.npy")), 60)
    assert both["sums"]["reads"] == 30  # all ten in one call


def test_an_open_run_that_cannot_keep_up_is_stopped(opened: SystemProcess, tmp_path: Path) -> None:
    np.save(tmp_path / "due.npy", np.arange(1, 201) * 0.001)
    found = opened.ask(search(tmp_path, batch=1, params={"sleep": 0.1}, arrivals=str(tmp_path / "due.npy")), 60)
    assert 0 < found["answered"] < 200
    assert found["answered"] + found["unanswered"] == 200
    assert (np.load(tmp_path / "ids.npy")[:, 0] == -2).sum() == found["unanswered"]
    assert found["latency_us"]["p99"] > 1_000_000


@pytest.mark.parametrize(
    ("how", "status", "says"),
    [
        ("crash", "crashed", "ended by SIGSEGV; its last words: my last words"),
        ("exit", "crashed", "ended by itself with status 3"),
        ("fail", "failed", "ValueError: no such thing"),
        ("missing", "missing", "No module named 'a_module_that_nobody_has'"),
        ("full", "full", "No space left on device"),
        ("short", "full", "100 requested and 20 written"),
    ],
)
def test_what_goes_wrong_has_a_name(opened: SystemProcess, tmp_path: Path, how: str, status: str, says: str) -> None:
    with pytest.raises(SystemFailedError, match=says) as raised:
        opened.ask(search(tmp_path, params={"do": how}), 60)
    assert raised.value.status == status
    assert opened.is_alive == (status != "crashed")


@pytest.mark.realtime
def test_what_hangs_is_ended(opened: SystemProcess, tmp_path: Path) -> None:
    with pytest.raises(SystemFailedError, match=r"search took longer than 0\.2 s and was ended") as raised:
        opened.ask(search(tmp_path, params={"do": "hang"}), 0.2)
    assert raised.value.status == "hung"
    assert not opened.is_alive


def test_a_failing_caller_is_not_lost(opened: SystemProcess, tmp_path: Path) -> None:
    with pytest.raises(SystemFailedError, match="no such thing"):
        opened.ask(search(tmp_path, batch=1, threads=2, params={"do": "fail"}), 60)
    assert opened.ask(search(tmp_path), 60)["answered"] == 40


def test_what_it_started_ends_with_it(tmp_path: Path, job: dict[str, Any]) -> None:
    module = tmp_path / "parent.py"
    module.write_text(
        "import subprocess\nclass System:\n    def __init__(self, job):\n"
        "        self.child = subprocess.Popen(['sleep', '600'])\n"
        "    def version(self):\n        return str(self.child.pid)\n"
    )
    spec = SystemSpec(name="parent", title="", file=module)
    with SystemProcess(spec, python=Path(sys.executable), threads=1, log=tmp_path / "log") as process:
        child = int(process.ask({"do": "version", **job}, 60)["version"])
        assert os.path.exists(f"/proc/{child}")
    deadline = time.monotonic() + 300
    while _runs(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_may_tidy_up_before_it_ends(tmp_path: Path, job: dict[str, Any]) -> None:
    (tmp_path / "index").mkdir()
    module = tmp_path / "tidy.py"
    module.write_text(
        "class System:\n    def __init__(self, job):\n        self.folder = job.folder\n"
        "    def version(self):\n        return '1'\n"
        "    def close(self):\n        self.folder.joinpath('closed').touch()\n"
    )
    spec = SystemSpec(name="tidy", title="", file=module)
    with SystemProcess(spec, python=Path(sys.executable), threads=1, log=tmp_path / "log") as process:
        process.ask({"do": "version", **job}, 60)
        assert not (tmp_path / "index" / "closed").exists()
    assert (tmp_path / "index" / "closed").exists()


def test_one_that_does_not_end_is_ended(tmp_path: Path, job: dict[str, Any]) -> None:
    module = tmp_path / "stays.py"
    module.write_text(
        "import time\nclass System:\n    def __init__(self, job):\n        pass\n"
        "    def version(self):\n        return '1'\n"
        "    def close(self):\n        time.sleep(600)\n"
    )
    spec = SystemSpec(name="stays", title="", file=module)
    with SystemProcess(spec, python=Path(sys.executable), threads=1, log=tmp_path / "log") as process:
        process.ask({"do": "version", **job}, 60)
    assert not process.is_alive
    assert not _runs(process.pid)


def test_answers_that_are_none_are_refused(tmp_path: Path) -> None:
    module = tmp_path / "rude.py"
    lines = ["import os", "for at in range(3, 10):", "    try:", "        os.write(at, b'hello\\n')"]
    module.write_text("\n".join([*lines, "    except OSError:", "        pass"]))
    spec = SystemSpec(name="rude", title="", file=module)
    with SystemProcess(spec, python=Path(sys.executable), threads=1, log=tmp_path / "log") as process:
        with pytest.raises(SystemFailedError) as raised:
            process.ask({"do": "version", "affinity": None}, 60)
        assert raised.value.status == "failed"


def test_the_cpus_are_those_asked_for(process: SystemProcess, job: dict[str, Any], tmp_path: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    process.ask({"do": "version", **job, "affinity": [cpu]}, 60)
    assert os.sched_getaffinity(process.pid) == {cpu}


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
