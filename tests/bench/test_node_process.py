"""A memory node for measurements."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

_STARTS_ONE = """
import sys, time
from pathlib import Path
from tiervec.bench.node_process import NodeProcess
node = NodeProcess(Path(sys.argv[1]), capacity_bytes=1 << 20)
print(node._process.pid, flush=True)
time.sleep(600)
"""


def test_a_node_ends_with_who_measures(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _STARTS_ONE, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        node = int(process.stdout.readline())
        assert _is_running(node)
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 300
    while _is_running(node) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _is_running(node)


def _is_running(process: int) -> bool:
    """A process that ended and was not waited for does not run."""
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
