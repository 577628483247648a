"""Ctrl-C: a build and a search end within a moment, and nothing half-written stays."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec

# The promise is a second. Shared machines stall; what hangs takes minutes.
PATIENCE_S = 300.0


def interrupt_when(process: subprocess.Popen[str], sign: str) -> float:
    """Sends Ctrl-C once a line of the process's stderr holds `sign`; the seconds until it ended."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if sign in line:
            break
    else:
        pytest.fail(f"no {sign!r} in {''.join(seen)!r}")
    time.sleep(0.15)  # into the native call
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"it went on for {PATIENCE_S:.0f} s after Ctrl-C")
    return time.monotonic() - sent


@pytest.fixture(scope="module")
def large_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So many vectors that every stage lasts, also while this process waits for a processor to interrupt it."""
    path = tmp_path_factory.mktemp("data") / "base.npy"
    np.save(path, np.random.default_rng(1).normal(size=(200_000, 48)).astype(np.float32))
    return path


@pytest.mark.parametrize(
    ("kind", "stage"),
    [("graph", "linking"), ("graph", "encoding"), ("cluster", "estimated"), ("cluster", "assigning")],
)
def test_ctrl_c_ends_a_build_of_the_command_line(kind: str, stage: str, large_file: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tiervec.cli",
        "build",
        "--kind",
        kind,
        "--data",
        str(large_file),
        "--out",
        str(tmp_path / "index"),
    ]
    if kind == "cluster":
        pytest.importorskip("faiss", reason="clusters are built with faiss, which is not installed")
        command += ["--set", "clusters=6000"]  # so that each stage takes its time
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        took_s = interrupt_when(process, stage)
        assert process.stdout is not None
        assert process.stderr is not None
        rest, out = process.stderr.read(), process.stdout.read()
    assert process.returncode == 130
    assert took_s < PATIENCE_S
    assert rest.splitlines()[-1] == "tiervec: interrupted"
    assert "Traceback" not in rest
    assert out == ""
    assert list(tmp_path.iterdir()) == []


_BUILD = """
import sys
import numpy as np
import tiervec

def progress(stage, done, total, eta_s):
    print(stage, file=sys.stderr, flush=True)

base = np.load(sys.argv[1])
try:
    params = {"graph_degree": 16, "build_list": 32}
    tiervec.build(base[: int(sys.argv[4])], sys.argv[2], progress=progress, params=params)
except KeyboardInterrupt:
    sys.exit(42)
"""


@pytest.mark.parametrize(
    ("stage", "rows"), [("linking", 60_000), ("calibration: exact", 3000), ("calibration", 3000)], ids=str
)
def test_ctrl_c_reaches_the_caller_of_build(stage: str, rows: int, large_file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _BUILD, str(large_file), str(tmp_path / "index"), stage, str(rows)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        interrupt_when(process, stage)
    assert process.returncode == 42
    assert list(tmp_path.iterdir()) == []


_SEARCH = """
import sys
import numpy as np
import tiervec

index = tiervec.open(sys.argv[1], tier=sys.argv[2], threads=2)
queries = np.random.default_rng(1).normal(size=(int(sys.argv[3]), index.info.dim)).astype(np.float32)
print("searching", file=sys.stderr, flush=True)
try:
    index.search(queries, k=10, params={"search_list": 300})
    print("too fast", file=sys.stderr)
except KeyboardInterrupt:
    assert index.search(queries[:1], k=1, params={"search_list": 1}).ids.shape == (1, 1)
    index.close()
    sys.exit(42)
"""


@pytest.mark.parametrize(
    ("tier", "queries"),
    [
        ("dram:", 1_000_000),
        ("emulated:latency_us=20000,reads_mps=1,gbps=1,block=64", 1000),
        # Few queries on a device so slow that they take long all the same.
        ("emulated:latency_us=100000,reads_mps=1,gbps=1,block=64", 1),
    ],
    ids=str,
)
def test_ctrl_c_ends_a_search_and_the_index_goes_on(tier: str, queries: int, tmp_path: Path) -> None:
    base = np.random.default_rng(2).normal(size=(2000, 16)).astype(np.float32)
    tiervec.build(base, tmp_path / "index", params={"graph_degree": 16, "build_list": 32}, calibration_queries=base[:2])
    command = [sys.executable, "-c", _SEARCH, str(tmp_path / "index"), tier, str(queries)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        interrupt_when(process, "searching")
    assert process.returncode == 42


def test_a_killed_build_is_cleaned_up_by_the_next_one(large_file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _BUILD, str(large_file), str(tmp_path / "index"), "", "60000"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "linking" in line:
                break
        process.kill()
    assert not (tmp_path / "index").exists()
    assert list(tmp_path.iterdir()) != []
    base: Any = np.load(large_file)[:100]
    tiervec.build(base, tmp_path / "index", calibration_queries=base[:2])
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
