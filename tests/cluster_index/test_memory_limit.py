"""What a limit of memory promises: measured in a process of its own, on a file of vectors larger than the limit."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiervec.cluster_index.build import estimate_memory_bytes
from tiervec.cluster_index.params import ClusterBuildParams
from tiervec.index_directory import IndexDirectory

ROWS, DIM = 1_000_000, 64  # 244 MiB
PARAMS: dict[str, Any] = {"clusters": 64, "replicas": 1}
THREADS = 2

_BUILD = """
import json, sys
import numpy as np
import tiervec
data, out, params, limit, threads = sys.argv[1:]
tiervec.build(
    data, out, kind="cluster", params=json.loads(params), memory_limit=int(limit), threads=int(threads),
    calibration_queries=np.load(data, mmap_mode="r")[:5],
)
"""


def peak_memory(*command: object) -> int:
    """Runs Python code and returns the largest number of bytes of its own memory: without pages of mapped files."""
    process = subprocess.Popen([sys.executable, "-c", *map(str, command)], stderr=subprocess.PIPE, text=True)
    peak = 0
    try:
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            found = re.search(r"^RssAnon:\s*(\d+) kB", status, re.MULTILINE)
            peak = max(peak, 1024 * int(found[1]) if found else 0)
            time.sleep(0.005)
        _, errors = process.communicate()
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, errors
    return peak


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "base.npy"
    random = np.random.default_rng(1)
    base = np.lib.format.open_memmap(path, "w+", np.float32, (ROWS, DIM))  # type: ignore[no-untyped-call]
    for start in range(0, ROWS, 100_000):
        base[start : start + 100_000] = random.random((100_000, DIM), np.float32)
    return path


def test_a_streamed_build_stays_within_its_limit(data: Path) -> None:
    limit = estimate_memory_bytes(ROWS, DIM, 4, ClusterBuildParams(**PARAMS), THREADS, streamed=True)
    out = data.parent / "index"
    peak = peak_memory(_BUILD, data, out, json.dumps(PARAMS), limit, THREADS)
    assert 0 < peak <= limit
    # With the vectors or their section on the tier in memory, too, it would be more.
    assert limit < ROWS * DIM * 4 + (64 << 20)
    assert IndexDirectory.open(out).manifest.calibration is not None
