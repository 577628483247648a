from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec import _core
from tiervec.errors import DataLossError, InvalidArgumentError
from tiervec.graph_index import GraphBuildParams
from tiervec.graph_index.build import estimate_memory_bytes, expected_index_bytes
from tiervec.index_files.directory import IndexDirectory
from tiervec.kinds.index_kind import NativeResult

BASE = np.random.default_rng(1).normal(size=(500, 10)).astype(np.float32)


def linked(base: Any, metric: str = "l2", degree: int = 8, threads: int = 1) -> _core.GraphBuilder:
    builder = _core.GraphBuilder(base, metric, threads)
    builder.link(degree, 2 * degree, 1.2, 1)
    return builder


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8"])
def test_the_graph_of_every_dtype_and_metric_is_sound(dtype: str, metric: str) -> None:
    base = BASE if dtype.startswith("float") else BASE * 20 + (60 if dtype == "uint8" else 0)
    neighbors = linked(base.astype(dtype), metric, threads=2).adjacency()
    for vertex, row in enumerate(neighbors.tolist()):
        listed = [other for other in row if other >= 0]
        assert 1 <= len(listed) <= 8
        assert len(set(listed)) == len(listed)
        assert vertex not in listed
        assert max(listed) < 500


def test_the_native_builder_refuses_a_wrong_order(tmp_path: Path) -> None:
    builder = _core.GraphBuilder(BASE, "l2", 1)
    with pytest.raises(InvalidArgumentError, match="linked"):
        builder.write_records(str(tmp_path / "records"))
    with pytest.raises(InvalidArgumentError, match="linked"):
        builder.adjacency()
    with pytest.raises(InvalidArgumentError, match="metric"):
        _core.GraphBuilder(BASE, "hamming", 1)
    with pytest.raises(InvalidArgumentError, match="one label per vector"):
        linked(BASE).write_records(str(tmp_path / "records"), np.arange(499))


def test_the_size_of_the_index_is_expected(tmp_path: Path) -> None:
    for number, params in enumerate(({}, {"graph_degree": 100, "build_list": 100}, {"code": "sq", "code_bits": 8})):
        out = tmp_path / str(number)
        info = tiervec.build(BASE, out, params=params, ids=np.arange(500) + 2**62, calibration_queries=BASE[:2])
        written = info.tier_bytes + info.fast_bytes
        expected = expected_index_bytes(500, 10, 4, GraphBuildParams(**params))
        assert written <= expected
        assert expected - (1 << 16) <= 2.5 * written


def test_the_estimate_grows_with_what_is_built() -> None:
    small = estimate_memory_bytes(1_000_000, 100, 4, GraphBuildParams(), 2)
    for changed in (
        estimate_memory_bytes(2_000_000, 100, 4, GraphBuildParams(), 2),
        estimate_memory_bytes(1_000_000, 200, 4, GraphBuildParams(), 2),
        estimate_memory_bytes(1_000_000, 100, 4, GraphBuildParams(graph_degree=64), 2),
        estimate_memory_bytes(1_000_000, 100, 4, GraphBuildParams(code_bits=8), 2),
    ):
        assert changed > small
    assert estimate_memory_bytes(1_000_000, 100, 4, GraphBuildParams(), 256) > small


_PEAK = r"""
import re, sys
from pathlib import Path
import numpy as np
import tiervec
base = np.random.default_rng(1).integers(0, 255, (int(sys.argv[2]), int(sys.argv[3])), np.uint8).astype(sys.argv[5])
tiervec.build(base, sys.argv[1], params={"graph_degree": 8, "build_list": 8, "code": sys.argv[4]}, threads=1,
              calibration_queries=base[:1])
# Not getrusage: its peak begins with that of the process that started this one.
print(1024 * int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]))
"""


@pytest.mark.parametrize(
    ("rows", "dim", "code", "dtype"),
    [
        (40_000, 64, "rabitq", "uint8"),
        (4000, 1024, "rabitq", "uint8"),
        (4000, 1024, "sq", "uint8"),
        (60_000, 256, "rabitq", "float32"),  # the training's sample is what takes most
    ],
)
def test_the_peak_stays_within_the_estimate(rows: int, dim: int, code: str, dtype: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _PEAK, str(tmp_path / "index"), str(rows), str(dim), code, dtype]
    # One thread of BLAS: its buffers are per core, not per vector.
    surroundings = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=True, env=surroundings)
    params = GraphBuildParams(graph_degree=8, build_list=8, code=code)
    estimate = estimate_memory_bytes(rows, dim, np.dtype(dtype).itemsize, params, threads=1)
    assert int(done.stdout) <= 1.1 * estimate


def test_labels_take_as_many_bytes_as_the_largest_needs(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "params": {"graph_degree": 8, "build_list": 8},
        "threads": 1,
        "calibration_queries": BASE[:2],
    }
    sizes = {}
    shuffled = np.random.default_rng(1).permutation(500)
    for name, ids in (("none", None), ("shuffled", shuffled), ("big", np.arange(500) + 2**40)):
        tiervec.build(BASE, tmp_path / name, ids=ids, **options)
        sizes[name] = IndexDirectory.open(tmp_path / name).section("records").bytes
        with tiervec.open(tmp_path / name) as index:
            found = index.search(BASE[:20], k=1, params={"search_list": 64}).ids.ravel()
        expected = np.arange(20) if ids is None else ids[:20]
        np.testing.assert_array_equal(found, expected)
    assert sizes["shuffled"] == sizes["none"] + 2 * 500
    assert sizes["big"] == sizes["none"] + 6 * 500


def parts_of(tmp_path: Path) -> dict[str, Any]:
    """The arguments of a native searcher over a small index, by name."""
    from tiervec.codes import train_code

    builder = linked(BASE)
    written = builder.write_records(str(tmp_path / "records"))
    ids, edges = builder.navigation(16, 1)
    code = train_code("sq", BASE, metric="l2", code_bits=8).native()
    rows = np.empty((500, code.row_bytes), np.uint8)
    code.encode(BASE, rows, 1)
    return {
        "tier": _core.open_tier("dram:", str(tmp_path / "records")),
        "count": 500,
        "dim": 10,
        "dtype": "float32",
        "metric": "l2",
        "layout": dict(written["layout"]),
        "locator": written["locator"],
        "navigation_ids": ids.view(np.uint8),
        "navigation_edges": edges.reshape(-1).view(np.uint8),
        "code": code,
        "rows": rows.reshape(-1),
    }


def test_a_native_searcher_checks_its_parts(tmp_path: Path) -> None:
    parts = parts_of(tmp_path)
    searcher = _core.GraphSearcher(**parts)
    found = NativeResult._make(searcher.search(BASE[:4], 1, 30, 1, 0.0, True, 1))
    assert found.ids.ravel().tolist() == [0, 1, 2, 3]
    for name, value in (
        ("count", 499),
        ("dim", 11),
        ("dtype", "float16"),
        ("layout", {**parts["layout"], "id_bits": 0}),
        ("layout", {**parts["layout"], "id_bits": 10}),
        ("layout", {**parts["layout"], "label_bytes": 9}),
        ("layout", {**parts["layout"], "unit": 0}),
        ("locator", parts["locator"][:-1]),
        ("locator", parts["locator"][:-24]),
        ("navigation_ids", parts["navigation_ids"][:-1]),
        ("navigation_ids", np.full(64, 255, np.uint8)),
        ("navigation_edges", parts["navigation_edges"][:-4]),
        ("navigation_edges", np.full_like(parts["navigation_edges"], 77)),
        ("rows", parts["rows"][:-1]),
    ):
        with pytest.raises(DataLossError):
            _core.GraphSearcher(**{**parts, name: value})


def test_a_native_search_checks_its_arguments(tmp_path: Path) -> None:
    searcher = _core.GraphSearcher(**parts_of(tmp_path))
    for arguments in (
        (BASE[:2], 0, 30, 1, 0.0, True, 1),
        (BASE[:2], 1, 30, 0, 0.0, True, 1),
        (BASE[:2], 1, 30, 33, 0.0, True, 1),
        (np.ascontiguousarray(BASE[:2, :9]), 1, 30, 1, 0.0, True, 1),
        (BASE[:2].astype(np.int8), 1, 30, 1, 0.0, True, 1),
    ):
        with pytest.raises(InvalidArgumentError):
            searcher.search(*arguments)


def test_parameters_are_stored_as_given(tmp_path: Path) -> None:
    given = {"graph_degree": 7, "build_list": 50, "alpha": 1.3, "layout": "packed", "code": "rabitq", "code_bits": 3.5}
    info = tiervec.build(BASE, tmp_path / "index", params=given, seed=9, calibration_queries=BASE[:2])
    assert info.params == {**given, "target_recall": 0.95} == dataclasses.asdict(GraphBuildParams(**given))
    assert IndexDirectory.open(tmp_path / "index").manifest.seed == 9
