"""What a build says beforehand: sizes that it refuses, bytes on the disk, memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec.cluster_index.build import check_buildable, estimate_memory_bytes, expected_index_bytes
from tiervec.cluster_index.params import LAYOUTS, ClusterBuildParams
from tiervec.errors import InvalidArgumentError
from tiervec.index_files.directory import IndexDirectory

BASE = np.random.default_rng(1).normal(size=(900, 12)).astype(np.float32)


@pytest.mark.parametrize(
    ("vectors", "dim", "clusters", "word"),
    [
        (0, 4, None, "data has 0 vector"),
        (1, 4, None, "needs at least 2"),
        (2**31, 4, None, "holds at most 2,147,483,647"),
        (100, 16_385, None, "dimension 16385"),
        (100, 4, 101, "clusters is 101, but there are 100 vectors"),
    ],
)
def test_sizes_beyond_the_formats_are_refused(vectors: int, dim: int, clusters: int | None, word: str) -> None:
    with pytest.raises(InvalidArgumentError, match=word):
        check_buildable(vectors, dim, ClusterBuildParams(clusters=clusters))


@pytest.mark.parametrize(("vectors", "dim", "clusters"), [(2, 1, None), (2**31 - 1, 16_384, None), (100, 4, 100)])
def test_the_ends_of_the_sizes_are_taken(vectors: int, dim: int, clusters: int | None) -> None:
    check_buildable(vectors, dim, ClusterBuildParams(clusters=clusters))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("lists", [{}, {"closure": 10, "rng_factor": 10}], ids=["plain", "full"])
def test_the_size_of_the_index_is_expected(layout: str, lists: dict[str, Any], tmp_path: Path) -> None:
    params: dict[str, Any] = {"layout": layout, "clusters": 60, "replicas": 4, "align": 256, **lists}
    tiervec.build(BASE, tmp_path / "index", kind="cluster", params=params, calibration_queries=BASE[:2], threads=1)
    written = sum(section.bytes for section in IndexDirectory.open(tmp_path / "index").manifest.sections)
    expected = expected_index_bytes(*BASE.shape, 4, ClusterBuildParams(**params))
    assert written <= expected
    assert expected - (2 << 20) <= 1.5 * written


def test_the_estimate_grows_with_what_is_built() -> None:
    small = estimate_memory_bytes(4_000_000, 100, 4, ClusterBuildParams())
    for changed in (
        estimate_memory_bytes(8_000_000, 100, 4, ClusterBuildParams()),
        estimate_memory_bytes(4_000_000, 200, 4, ClusterBuildParams()),
        estimate_memory_bytes(4_000_000, 100, 4, ClusterBuildParams(replicas=32)),
        estimate_memory_bytes(4_000_000, 100, 4, ClusterBuildParams(code_bits=8)),
        estimate_memory_bytes(4_000_000, 100, 4, ClusterBuildParams(layout="grouped", rng_factor=1.5)),
        estimate_memory_bytes(4_000_000, 100, 4, ClusterBuildParams(clusters=1_000_000)),
    ):
        assert changed > small
    assert estimate_memory_bytes(4_000_000, 100, 4, ClusterBuildParams(), streamed=True) == small - 1_600_000_000


_PEAK = r"""
import re, sys
from pathlib import Path
import numpy as np
import tiervec
rows, dim, layout = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
base = np.random.default_rng(1).integers(0, 255, size=(rows, dim)).astype(np.uint8)
tiervec.build(base, sys.argv[1], kind="cluster", params={"layout": layout}, threads=1, calibration_queries=base[:1])
# Not getrusage: its peak begins with that of the process that started this one.
print(1024 * int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]))
"""


@pytest.mark.parametrize(
    ("rows", "dim", "layout"), [(40_000, 64, "coded"), (40_000, 64, "grouped"), (4000, 1024, "coded")]
)
def test_the_peak_stays_within_the_estimate(rows: int, dim: int, layout: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _PEAK, str(tmp_path / "index"), str(rows), str(dim), layout]
    # One thread of BLAS: its buffers are per core, not per vector.
    surroundings = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=True, env=surroundings)
    estimate = estimate_memory_bytes(rows, dim, 1, ClusterBuildParams(layout=layout), threads=1)
    assert int(done.stdout) <= 1.1 * estimate


@pytest.mark.parametrize("given", [{}, {"clusters": 30}])
def test_parameters_are_stored_with_the_number_of_clusters(given: dict[str, Any], tmp_path: Path) -> None:
    params = {**given, "replicas": 3, "layout": "decoupled", "closure": 0.3}
    out = tmp_path / "index"
    info = tiervec.build(BASE, out, kind="cluster", params=params, seed=9, calibration_queries=BASE[:2], threads=1)
    assert info.params.items() >= params.items()
    assert info.params["clusters"] == info.details["clusters"] == given.get("clusters", 14)
    assert IndexDirectory.open(out).manifest.seed == 9


@pytest.mark.parametrize("layout", ["coded", "grouped", "decoupled", "replicated"])
@pytest.mark.parametrize("largest", [2**56 - 1, 2**56, 2**57 + 5, 2**63 - 1])
def test_ids_of_63_bits(layout: str, largest: int, tmp_path: Path) -> None:
    vectors = np.random.default_rng(3).normal(size=(300, 8)).astype(np.float32)
    ids = largest - np.arange(300, dtype=np.int64)
    tiervec.build(vectors, tmp_path / "index", kind="cluster", ids=ids, params={"layout": layout}, threads=1)
    with tiervec.open(tmp_path / "index", tier="mmap:", threads=1) as index:
        assert index.search(vectors, 1, params={"nprobe": 64}).ids.ravel().tolist() == ids.tolist()
    other = "decoupled" if layout == "coded" else "coded"
    tiervec.relayout(tmp_path / "index", tmp_path / "other", params={"layout": other}, threads=1)
    with tiervec.open(tmp_path / "other", threads=1) as index:
        assert index.search(vectors, 1, params={"nprobe": 64, "rerank": 300}).ids.ravel().tolist() == ids.tolist()
