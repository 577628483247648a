from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec

INFO_KEYS = {
    "format_version",
    "kind",
    "metric",
    "dtype",
    "dim",
    "vectors",
    "dataset_bytes",
    "tier_bytes",
    "fast_bytes",
    "amplification",
    "fast_bytes_per_vector",
    "sections",
    "params",
    "calibration",
    "details",
}


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch, fake_index: Any) -> list[dict[str, Any]]:
    """Makes ``tiervec.build`` report progress and return the fake index's info; holds the arguments."""
    calls: list[dict[str, Any]] = []

    def fake_build(data: Any, out: Any, **arguments: Any) -> Any:
        calls.append({"data": data, "out": out, **arguments})
        arguments["progress"]("linking", 0, 100, None)
        arguments["progress"]("linking", 100, 100, 0.0)
        return fake_index.info

    monkeypatch.setattr(tiervec, "build", fake_build)
    return calls


def test_build_passes_everything_on(command: Any, builds: Any, tmp_path: Path) -> None:
    ids = tmp_path / "ids.npy"
    np.save(ids, np.array([5, 7]))
    arguments = ["--metric", "ip", "--set", "graph_degree=24", "--set", "alpha=1.1", "--threads", 2, "--seed", 9]
    arguments += ["--memory-limit", "1GiB", "--ids", ids, "--calibration-queries", "q.npy", "--json"]
    arguments += ["--attributes", "a.jsonl"]
    outcome = command("build", "--data", "x.npy", "--out", "dir", *arguments)
    assert outcome.status == 0
    assert outcome.document["vectors"] == 100
    call = builds[0]
    assert call.pop("ids").tolist() == [5, 7]
    del call["progress"]
    assert call == {
        "data": "x.npy",
        "out": "dir",
        "kind": "graph",
        "metric": "ip",
        "params": {"graph_degree": 24, "alpha": 1.1},
        "memory_limit": 1 << 30,
        "threads": 2,
        "seed": 9,
        "calibration_queries": "q.npy",
        "attributes": "a.jsonl",
    }


def test_progress_goes_to_stderr(command: Any, builds: Any) -> None:
    outcome = command("build", "--data", "x.npy", "--out", "dir")
    assert outcome.err.splitlines() == ["linking: 0% (0 of 100)", "linking: 100% (100 of 100), 0.0 s"]
    assert "linking" not in outcome.out
    assert "amplification 1.50" in outcome.out


def test_build_errors(command: Any, builds: Any, tmp_path: Path) -> None:
    outcome = command("build", "--data", "x.npy", "--out", "dir", "--set", "degree=3")
    assert outcome.status == 1
    assert "unknown parameter 'degree' for the build of a graph index" in outcome.err
    assert "graph_degree" in outcome.err
    outcome = command("build", "--data", "x.npy", "--out", "dir", "--kind", "cluster", "--set", "alpha=2")
    assert outcome.status == 1
    assert "unknown parameter 'alpha' for the build of a cluster index" in outcome.err
    assert "clusters, replicas, layout" in outcome.err
    bad = tmp_path / "bad.npy"
    bad.write_bytes(b"nonsense")
    outcome = command("build", "--data", "x.npy", "--out", "dir", "--ids", bad)
    assert outcome.status == 1
    assert "bad.npy is not a .npy file of ids" in outcome.err
    outcome = command("build", "--data", "x.npy", "--out", "dir", "--ids", tmp_path / "none.npy")
    assert outcome.status == 1
    assert "none.npy: No such file or directory" in outcome.err


def test_info(command: Any, saved: Path) -> None:
    document = command("info", saved, "--json").document
    assert set(document) == {"path"} | INFO_KEYS
    assert (document["tier_bytes"], document["fast_bytes"], document["calibration"]) == (4800, 4000, None)
    text = command("info", saved).out
    for words in ("graph index, format 2", "100 vectors of 8 x float32", "amplification 1.50", "40.0 bytes per vector"):
        assert words in text
    assert "records          tier       4,800  " in text
    assert "graph_degree=32 alpha=1.2" in text
