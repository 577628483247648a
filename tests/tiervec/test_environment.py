from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import pytest

import tiervec
from tiervec import environment as module
from tiervec.environment import environment


def test_describes_this_machine() -> None:
    found = environment()
    assert found["python"] == platform.python_version()
    assert found["tiervec"] == tiervec.__version__
    assert found["allowed_cpus"] == len(os.sched_getaffinity(0))
    assert found["memory_bytes"] > 1 << 20
    assert found["cpu"]
    assert set(found) == {
        "cpu",
        "cores",
        "allowed_cpus",
        "simd",
        "memory_bytes",
        "os",
        "kernel",
        "python",
        "tiervec",
        "commit",
    }
    json.dumps(found, allow_nan=False)


def test_callers_cannot_change_it() -> None:
    environment()["cpu"] = "other"
    assert environment()["cpu"] != "other"


def test_what_cannot_be_read_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_MEMINFO", tmp_path / "none")
    assert module._memory_bytes() is None
    assert module._commit(tmp_path / "tiervec") is None
