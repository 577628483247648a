"""Systems that need an environment or a module of their own, as they ship; skipped where a user has not set them up."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tiervec.bench.datasets.cache import default_cache
from tiervec.bench.systems.environments import python_of, why_missing
from tiervec.bench.systems.registry import SYSTEMS

VENVS = default_cache().resolve() / "venvs"

PLAN = """
repeats = 2
[[experiment]]
name = "peer"
datasets = "synthetic:n=3000,dim=32,intrinsic=12,clusters=30,queries=100,dtype={dtype},metric=l2,seed=3"
threads = 2
[[experiment.system]]
{system}
"""

_ON_THE_SAME_GRAPH = 'system = "tiervec-diskann"\ntiers = ["ssd:", "dram:"]\nbuild = {{ layout = "{}" }}\n{}'
_CASES = {
    "diskannpy-memory": ('system = "diskannpy-memory"\nsearch = { complexity = 64 }', "float32"),
    "diskannpy-disk": ('system = "diskannpy-disk"\nsearch = { complexity = 64 }', "uint8"),
    "tiervec-diskann": (_ON_THE_SAME_GRAPH.format("sectors", "search = { search_list = 64 }"), "uint8"),
    "scalable-vs": ('system = "scalable-vs"\nsearch = { search_window_size = 64 }', "float32"),
    "sptag": ('system = "sptag"\nsearch = { heads = 64 }', "float32"),
}


def require(name: str) -> None:
    """Skips the test, and says how to get the system, when it is not there."""
    spec = SYSTEMS[name].imports or SYSTEMS[name]
    if python_of(spec, VENVS) is None:
        pytest.skip(why_missing(spec))
    if spec.environment is None and importlib.util.find_spec(spec.module) is None:
        pytest.skip(f"{spec.module} is not installed: {spec.get_it}")


@pytest.mark.slow
@pytest.mark.parametrize("name", _CASES)
def test_a_peer_answers_as_it_ships(tmp_path: Path, name: str) -> None:
    require(name)
    system, dtype = _CASES[name]
    (tmp_path / "plan.toml").write_text(PLAN.format(system=system, dtype=dtype))
    cache = tmp_path / "cache"  # indexes of a test do not belong into the user's
    cache.mkdir()
    (cache / "venvs").symlink_to(VENVS)
    measured = _run(tmp_path / "plan.toml", cache, tmp_path / "results")
    assert measured
    for cell in measured:
        assert cell["status"] == "ok", cell
        assert cell["recall"] > 0.9
        assert cell["qps"] > 0


def _run(plan: Path, cache: Path, results: Path) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "tiervec.cli", "bench", "run", str(plan), "--results", str(results), "--json"]
    environment = {**os.environ, "TIERVEC_CACHE": str(cache)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    cells: list[dict[str, Any]] = json.loads(done.stdout)["cells"]
    assert cells, done.stderr
    return cells
