"""An index published to a memory node and searched by one-sided RDMA; needs a device (`make guest` has one)."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec.errors import UnavailableError
from tiervec.graph_index.opened import open_graph
from tiervec.graph_index.params import GraphSearchParams
from tiervec.index_directory import IndexDirectory
from tiervec.index_kind import search_natively
from tiervec.rdma.publish import publish

pytestmark = pytest.mark.hardware

CLI = [sys.executable, "-m", "tiervec.cli"]
K = 10
PARAMS = GraphSearchParams(search_list=40)


@dataclass
class Node:
    process: subprocess.Popen[bytes]
    address: str

    def cpu_seconds(self) -> float:
        """Of all its threads, user and system."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    if "TIERVEC_TEST_RDMA" not in os.environ:
        pytest.skip("TIERVEC_TEST_RDMA names no RDMA device; `make guest` runs this with one")
    said = tmp_path / "node.txt"
    arguments = ["--capacity", "512MiB", "--transports", "rdma,tcp", "--allow-anonymous", "--scrub-rate", "0"]
    listen = ["--listen", f"{os.environ['TIERVEC_TEST_RDMA']}:0"]
    with said.open("wb") as stderr:
        process = subprocess.Popen([*CLI, "memory-node", *listen, *arguments], stderr=stderr)
    try:
        give_up = time.monotonic() + 120
        while not (found := re.search(r"listening on (\S+)", said.read_text())) and time.monotonic() < give_up:
            assert process.poll() is None, said.read_text()
            time.sleep(0.1)
        assert found, said.read_text()
        yield Node(process, found[1])
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(60)


def index_of(name: str, tmp_path: Path) -> tuple[Path, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """An index that was built outside of the guest, its queries and their exact answers."""
    folder = Path(os.environ.get("TIERVEC_GUEST_DATA", "/nowhere"), name)
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there; tests/guest/run.sh makes it, sift only where its vectors are")
    path = tmp_path / name
    shutil.copytree(folder / "index", path)
    return path, np.load(folder / "queries.npy"), np.load(folder / "exact.npy")


@pytest.mark.parametrize("name", ["sample", "sift"])
def test_finds_what_dram_finds(name: str, node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, queries, exact = index_of(name, tmp_path)
    publish(path, [f"rdma://{node.address}"])
    with tiervec.open(path, tier="dram:", threads=1) as index:
        local = index.search(queries, K, params=PARAMS)

    url = f"rdma://{node.address}/{name}?timeout_ms=20000"
    opened = open_graph(IndexDirectory.open(path, remote_tier=True), url)
    first = search_natively(opened.searcher, queries, K, PARAMS, threads=1)
    assert (first.ids == local.ids).all()

    # The node may even be stopped: its device answers.
    cpu_before, reads_before = node.cpu_seconds(), opened.tier.counters["reads"]
    node.process.send_signal(signal.SIGSTOP)
    started = time.monotonic()
    for _ in range(5):
        again = search_natively(opened.searcher, queries, K, PARAMS, threads=1)
        assert (again.ids == local.ids).all()
    taken = time.monotonic() - started
    node.process.send_signal(signal.SIGCONT)

    reads = opened.tier.counters["reads"] - reads_before
    doorbells_per_read = opened.tier.counters["doorbells"] / opened.tier.counters["reads"]
    recall = tiervec.recall(local.ids, exact, K)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{name}: {len(queries)} queries, recall {recall:.3f} on dram: and on rdma:, all ids identical; "
            f"{reads:,} reads in {taken:.1f} s with the node's process stopped, its CPU time "
            f"{node.cpu_seconds() - cpu_before:.2f} s; 1 doorbell for {1 / doorbells_per_read:.1f} reads\n"
        )
    assert recall > 0.9
    assert reads > 0
    assert doorbells_per_read <= 1 / 8


def test_a_node_that_dies_is_unavailable(node: Node, tmp_path: Path) -> None:
    path, queries, _ = index_of("sample", tmp_path)
    publish(path, [f"rdma://{node.address}"])
    with tiervec.open(path, tier=f"rdma://{node.address}/sample?timeout_ms=20000", threads=1) as index:
        index.search(queries, K)
        node.process.kill()
        node.process.wait(60)
        with pytest.raises(UnavailableError):
            index.search(np.tile(queries, (20, 1)), K)


def test_too_little_locked_memory_is_said(node: Node, tmp_path: Path) -> None:
    path, _, _ = index_of("sample", tmp_path)
    publish(path, [f"rdma://{node.address}"])
    queries = Path(os.environ["TIERVEC_GUEST_DATA"], "sample", "queries.npy")
    # Root may lock what it likes, so the right to do that is given up first.
    limited = ["prlimit", "--memlock=65536", "setpriv", "--bounding-set", "-ipc_lock", "--inh-caps", "-ipc_lock"]
    done = subprocess.run(
        [*limited, *CLI, "search", path, "--queries", queries, "--tier", f"rdma://{node.address}/sample"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "ulimit -l" in done.stderr
    assert "65536 bytes" in done.stderr
