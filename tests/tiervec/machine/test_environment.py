from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

import tiervec
from tiervec.machine import environment as module
from tiervec.machine.environment import environment


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


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_changed_source_tree_is_known_by_its_changes(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    git("init")
    (tmp_path / "CMakeLists.txt").write_text("")
    git("add", ".")
    git("commit", "-m", "first")
    found = [module._commit(tmp_path / "tiervec")]
    for text in ("one", "two", "one"):
        (tmp_path / "CMakeLists.txt").write_text(text)
        found.append(module._commit(tmp_path / "tiervec"))
    clean, one, two, again = found
    assert clean is not None
    assert len(clean) == 40
    assert one == again != two
    assert one is not None
    assert one.startswith(f"{clean}-dirty-")
