"""Indexes on ``ssd:``: the same answers as on ``dram:``, what is read, and what is said."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tiervec
from tiervec import _core
from tiervec.errors import DataLossError, UnsupportedError
from tiervec.graph_index.params import LAYOUTS
from tiervec.index_files.directory import IndexDirectory
from tiervec.rdma.profile import profile

BASE = np.random.default_rng(4).normal(size=(600, 12)).astype(np.float32)
QUERIES = BASE[:40] + np.float32(0.01)
GRAPH = {"graph_degree": 8, "build_list": 16}
CLUSTERS = {"clusters": 20, "replicas": 3}


@pytest.fixture(scope="module", autouse=True)
def _a_disk(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("probe") / "region"
    path.write_bytes(bytes(4096))
    try:
        _core.open_tier("ssd:", str(path))
    except UnsupportedError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("graphs")
    for layout in LAYOUTS:
        params = {**GRAPH, "layout": layout}
        tiervec.build(BASE, folder / layout, params=params, calibration_queries=BASE[:10], threads=1)
    return {layout: folder / layout for layout in LAYOUTS}


def answers(out: Path, tier: str, **params: int) -> tiervec.SearchResult:
    with tiervec.open(out, tier=tier) as index:
        assert index.tier == tier
        assert not index.emulated
        return index.search(QUERIES, k=5, params=params)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("tier", ["ssd:", "ssd:threads"])
def test_a_graph(graphs: dict[str, Path], tier: str, layout: str) -> None:
    expected = answers(graphs["packed"], "dram:", beam_width=4)
    found = answers(graphs[layout], tier, beam_width=4)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.distances, expected.distances)
    assert found.receipt.reads == expected.receipt.reads
    assert found.receipt.device is not None
    assert found.receipt.device["source"] == "measured"
    assert found.receipt.device["block_bytes"] == 4096
    assert found.receipt.fraction_of_limit is not None


@pytest.mark.parametrize("layout", ["coded", "grouped", "decoupled", "replicated"])
def test_clusters(tmp_path: Path, layout: str) -> None:
    params = {**CLUSTERS, "layout": layout, "align": 4096}
    tiervec.build(BASE, tmp_path / "index", kind="cluster", params=params, calibration_queries=BASE[:10], threads=1)
    expected = answers(tmp_path / "index", "dram:", nprobe=6)
    np.testing.assert_array_equal(answers(tmp_path / "index", "ssd:", nprobe=6).ids, expected.ids)
    if layout == "replicated":
        offsets = IndexDirectory.open(tmp_path / "index").read_section("posting_offsets").view(np.uint64)
        assert (offsets[:-1] % 4096 == 0).all()


def test_sectors_say_what_they_take(graphs: dict[str, Path]) -> None:
    with tiervec.open(graphs["packed"]) as packed, tiervec.open(graphs["sectors"]) as sectors:
        per_sector = 4096 // (12 * 4 + 5 + 8 * 4)
        assert sectors.info.tier_bytes == -(-len(BASE) // per_sector) * 4096 + 64
        assert sectors.info.amplification == sectors.info.tier_bytes / BASE.nbytes
        assert sectors.info.fast_bytes < packed.info.fast_bytes
        assert "locator" not in [section["name"] for section in sectors.info.sections]


def test_threads_are_said(
    graphs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = answers(graphs["sectors"], "ssd:threads").receipt
    assert any("pool of threads" in note for note in asked.notes)
    assert "pool of threads" in str(asked)
    with caplog.at_level(logging.WARNING):
        plain = answers(graphs["sectors"], "ssd:").receipt
    refused = not _core.io_uring_status()["available"]
    assert any("instead of io_uring" in note for note in plain.notes) == refused
    assert ("instead of io_uring" in caplog.text) == refused


def test_damaged_records_are_noticed(tmp_path: Path) -> None:
    params = {**GRAPH, "layout": "sectors"}
    tiervec.build(BASE, tmp_path / "index", params=params, calibration_queries=BASE[:10], threads=1)
    path = IndexDirectory.open(tmp_path / "index").section_path("records")
    records = bytearray(path.read_bytes())
    records[:] = bytes(byte ^ 1 for byte in records)
    path.write_bytes(records)
    with pytest.raises(DataLossError, match="ssd:"):
        answers(tmp_path / "index", "ssd:")


def test_a_profile(tmp_path: Path) -> None:
    region = tmp_path / "region"
    region.write_bytes(bytes(1 << 20))
    measured = profile("ssd:", region=region, threads=1, runs=1, read_sizes=[64, 4096], run_seconds=0.005)
    assert not measured.emulated
    assert measured.device["source"] == "measured"
    assert [size.read_bytes for size in measured.sizes] == [64, 4096]


_SEARCH = """
import sys
import numpy
import tiervec
with tiervec.open(sys.argv[1], tier="ssd:", threads=1) as index:
    print(index.search(numpy.load(sys.argv[2]), k=5, params={"beam_width": 4}).receipt.notes)
"""


def test_a_receipt_says_when_the_kernel_keeps_no_buffers(graphs: dict[str, Path], tmp_path: Path) -> None:
    if not _core.io_uring_status()["available"]:
        pytest.skip("no io_uring here")
    np.save(tmp_path / "queries.npy", QUERIES)
    # Root may lock what it likes, so the right to do that is given up first.
    limited = ["prlimit", "--memlock=65536", "setpriv", "--bounding-set", "-ipc_lock", "--inh-caps", "-ipc_lock"]
    done = subprocess.run(
        [*limited, sys.executable, "-c", _SEARCH, graphs["sectors"], tmp_path / "queries.npy"],
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    assert "may lock 64 KiB of memory, ulimit -l" in done.stdout
