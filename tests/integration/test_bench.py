"""The comparison harness as a user runs it."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

PATIENCE_S = 500


# The command on a machine that other programs leave a TiB: with less than about 1 GiB, cells are not measured in turn.
WITH_MEMORY = """
import sys
import tiervec.bench.group_run as group_run
from tiervec.cli.main import main

assert group_run._available_bytes() >= 0
group_run._available_bytes = lambda: 1 << 40
sys.exit(main())
"""


def tiervec_bench(
    cache: Path, *arguments: object, check: bool = True, program: str | None = None
) -> subprocess.CompletedProcess[str]:
    start = ["-m", "tiervec.cli"] if program is None else ["-c", program]
    command = [sys.executable, *start, "bench", *map(str, arguments)]
    environment = {**os.environ, "TIERVEC_CACHE": str(cache)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=check)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """One run of the plan that comes with the package."""
    folder = tmp_path_factory.mktemp("bench")
    done = tiervec_bench(
        folder / "cache", "run", "smoke", "--results", folder / "results", "--json", program=WITH_MEMORY
    )
    return folder, json.loads(done.stdout)


@pytest.mark.slow
def test_the_smoke_plan_measures_every_system_that_is_installed(smoke: tuple[Path, dict[str, Any]]) -> None:
    _, document = smoke
    assert len(document["cells"]) == 18
    for cell in document["cells"]:
        if cell["label"] == "hnswlib" and importlib.util.find_spec("hnswlib") is None:
            assert cell["status"] == "missing"
            assert "pip install 'tiervec[bench]'" in cell["reason"]
            continue
        assert cell["status"] == "ok", cell
        assert cell["qps"] > 0
        if cell["experiment"] != "arrivals":
            assert 0.6 < cell["recall"] <= 1
    assert {cell["provenance"] for cell in document["cells"]} == {"memory", "emulated"}
    tuned = [cell for cell in document["cells"] if cell["experiment"] == "target" and cell["status"] == "ok"]
    assert all(cell["recall"] >= 0.9 and cell["latency_us_p99"] > 0 for cell in tuned)


@pytest.mark.slow
def test_runs_are_compared_on_the_command_line(smoke: tuple[Path, dict[str, Any]]) -> None:
    folder, document = smoke
    run = document["folder"]
    names = ["--a", "graph@dram:", "--b", "faiss-ivfflat"]
    done = tiervec_bench(folder / "cache", "compare", run, *names, "--recall", "0.97", "--json")
    (found,) = json.loads(done.stdout)["comparisons"]
    assert found["ratio"]["low"] <= found["ratio"]["median"] <= found["ratio"]["high"]
    assert found["control"] is not None
    assert found["interleaved"]
    text = tiervec_bench(folder / "cache", "compare", run, *names).stdout
    assert "A/A" in text
    refused = tiervec_bench(folder / "cache", "compare", run, "--a", "graph", "--b", "nobody", check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith("tiervec: error: ")
    assert len(refused.stderr.splitlines()) == 1


SLOW_SYSTEM = """
import time, numpy as np
class System:
    def __init__(self, job): pass
    def version(self): return "1"
    def build(self, vectors): pass
    def open(self): return {}
    def configure(self, k, params): pass
    def prepare_queries(self, queries): return queries
    def search(self, queries, k, threads):
        time.sleep(0.2)
        return np.zeros((len(queries), k), np.int64), None
"""
PLAN = """
[[experiment]]
name = "first"
datasets = "sample"
repeats = 1
queries = 3
[[experiment.system]]
system = "{system}"
[[experiment]]
name = "second"
datasets = "sample"
repeats = 100
queries = 3
[[experiment.system]]
system = "{system}"
"""


def test_ctrl_c_keeps_what_is_finished_and_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW_SYSTEM)
    (tmp_path / "plan.toml").write_text(PLAN.format(system=tmp_path / "slow.py"))
    command = [sys.executable, "-m", "tiervec.cli", "bench", "run", str(tmp_path / "plan.toml"), "--results"]
    environment = {**os.environ, "TIERVEC_CACHE": str(tmp_path / "cache")}
    cells = tmp_path / "results" / "plan" / "cells"
    with subprocess.Popen(
        [*command, str(tmp_path / "results")],
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + PATIENCE_S
        while not (list(cells.glob("*.json")) and _children(process.pid)):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.3)
        children = _children(process.pid)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert said.splitlines()[-2:] == ["finished cells are kept; the same command goes on", "tiervec: interrupted"]
    assert children
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert [path.name.split("-")[0] for path in cells.iterdir()] == ["first"]


def _children(parent: int) -> list[int]:
    text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    return [int(child) for child in text.split()]
