"""The demo as a user runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path


def test_the_demo_runs_and_cleans_up(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tiervec.demo"]
    surroundings = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert len(re.findall(r'^   "', done.stdout, flags=re.MULTILINE)) == 10
    assert "PEP 703 Making the Global Interpreter Lock Optional in CPython" in done.stdout
    for words in ("emulated:rdma-200g (emulated device)", "amplification", "bytes of fast memory per vector", "reads"):
        assert words in done.stdout
    own = re.search(r"(\d+) of 10 titles found a passage of their own PEP first", done.stdout)
    assert own is not None
    assert int(own[1]) >= 8
    recall = re.search(r"(\d+)% of the true 5 nearest passages", done.stdout)
    assert recall is not None
    assert int(recall[1]) >= 90
    assert "as a cluster index" in done.stdout
    assert "nprobe=" in done.stdout
    assert "in 1.0 dependent rounds" in done.stdout
