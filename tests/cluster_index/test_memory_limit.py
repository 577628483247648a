"""What a limit of memory promises: measured in a process of its own, on a file of vectors larger than the limit."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiervec.cluster_index.build import estimate_memory_bytes
from tiervec.cluster_index.params import ClusterBuildParams
from tiervec.cluster_index.relayout import estimate_conversion_bytes
from tiervec.index_files.directory import IndexDirectory

ROWS, DIM = 1_000_000, 64  # 244 MiB
PARAMS: dict[str, Any] = {"clusters": 512, "replicas": 1}
THREADS = 2

_BUILD = """
import json, sys
import numpy as np
import tiervec
data, out, params = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
limit, threads = map(int, sys.argv[4:])
queries = np.load(data, mmap_mode="r")[:5]
given = {"memory_limit": limit, "threads": threads, "calibration_queries": queries}
tiervec.build(data, out, kind="cluster", params=params, **given)
"""


_RELAYOUT = """
import sys
import tiervec
given = {"memory_limit": int(sys.argv[4]), "threads": int(sys.argv[5])}
tiervec.relayout(sys.argv[1], sys.argv[2], params={"layout": sys.argv[3]}, **given)
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
    """Vectors in as many clusters as the index has: a calibration soon reaches its recall."""
    path = tmp_path_factory.mktemp("large") / "base.npy"
    random = np.random.default_rng(1)
    centers = random.random((PARAMS["clusters"], DIM), np.float32)
    base = np.lib.format.open_memmap(path, "w+", np.float32, (ROWS, DIM))  # type: ignore[no-untyped-call]
    for start in range(0, ROWS, 100_000):
        noise = random.random((100_000, DIM), np.float32)
        base[start : start + 100_000] = centers[random.integers(0, len(centers), 100_000)] + noise / 10
    return path


@pytest.fixture(scope="module")
def built(data: Path) -> tuple[Path, int, int]:
    """An index that was built under a limit, its peak memory, and the limit."""
    limit = estimate_memory_bytes(ROWS, DIM, 4, ClusterBuildParams(**PARAMS), THREADS, streamed=True)
    out = data.parent / "index"
    return out, peak_memory(_BUILD, data, out, json.dumps(PARAMS), limit, THREADS), limit


def test_a_streamed_build_stays_within_its_limit(built: tuple[Path, int, int]) -> None:
    out, peak, limit = built
    assert 0 < peak <= limit
    # With the vectors or their section on the tier in memory, too, it would be more.
    assert limit < ROWS * DIM * 4 + (64 << 20)
    assert IndexDirectory.open(out).manifest.calibration is not None


@pytest.mark.parametrize("layout", ["coded", "replicated"])
def test_a_streamed_conversion_stays_within_its_limit(layout: str, built: tuple[Path, int, int]) -> None:
    source = built[0]
    params = ClusterBuildParams(**{**PARAMS, "layout": layout})
    limit = estimate_conversion_bytes(IndexDirectory.open(source), params, threads=THREADS, streamed=True)
    out = source.parent / layout
    peak = peak_memory(_RELAYOUT, source, out, layout, limit, THREADS)
    assert 0 < peak <= limit
    assert limit < ROWS * DIM * 4 + (64 << 20)
    shutil.rmtree(out)
