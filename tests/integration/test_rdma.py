"""Indexes published to two memory nodes and searched by one-sided RDMA; needs a device (`make guest` has one).

A guest under emulation takes ten seconds to start a process. So two nodes serve all tests, the last of which ends them.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec.cluster_index.params import ClusterSearchParams
from tiervec.errors import UnavailableError
from tiervec.graph_index.params import GraphSearchParams
from tiervec.index_files.directory import IndexDirectory
from tiervec.kinds.index_kind import search_natively
from tiervec.kinds.registry import index_kind
from tiervec.placement.publish import publish
from tiervec.rdma.profile import profile

pytestmark = pytest.mark.hardware

CLI = [sys.executable, "-m", "tiervec.cli"]
K = 10
PARAMS = {"graph": GraphSearchParams(search_list=40), "cluster": ClusterSearchParams(nprobe=20, rerank=40)}
Array = np.ndarray[Any, Any]


@dataclass
class Node:
    process: subprocess.Popen[bytes]
    address: str

    def cpu_seconds(self) -> float:
        """Of all its threads, user and system."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        """At once, as a machine that loses its power."""
        self.process.kill()
        self.process.wait(60)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Node]]:
    if "TIERVEC_TEST_RDMA" not in os.environ:
        pytest.skip("TIERVEC_TEST_RDMA names no RDMA device; `make guest` runs this with one")
    folder = tmp_path_factory.mktemp("nodes")
    arguments = ["--capacity", "128MiB", "--transports", "rdma,tcp", "--allow-anonymous", "--scrub-rate", "0"]
    command = [*CLI, "memory-node", "--listen", f"{os.environ['TIERVEC_TEST_RDMA']}:0", *arguments]
    with ExitStack() as stack:
        started = []
        for said in (folder / "a.txt", folder / "b.txt"):
            stderr = stack.enter_context(said.open("wb"))
            process = subprocess.Popen(command, stderr=stderr)
            stack.callback(stop, process)
            started.append((process, said))
        first, second = (Node(process, address_of(process, said)) for process, said in started)
        yield first, second


def address_of(process: subprocess.Popen[bytes], said: Path) -> str:
    give_up = time.monotonic() + 180
    while time.monotonic() < give_up:
        if found := re.search(r"listening on (\S+)", said.read_text()):
            return found[1]
        assert process.poll() is None, said.read_text()
        time.sleep(0.2)
    raise AssertionError(f"the memory node does not start; it said: {said.read_text()}")


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGCONT)
    process.terminate()
    process.wait(60)


@dataclass
class Published:
    """An index that was built outside of the guest, on memory nodes, and what it finds in this machine's memory."""

    path: Path
    url: str
    kind: str
    queries: Array
    exact: Array
    local: Array


def on_nodes(name: str, places: str, nodes: tuple[Node, Node], folder: Path) -> Published:
    """Publishes it; `places` are ``a`` for one node, ``a,b`` for two replicas, ``a+b`` for two stripes."""
    built = Path(os.environ.get("TIERVEC_GUEST_DATA", "/nowhere"), name)
    if not built.is_dir():
        pytest.skip(f"{built} is not there; tests/guest/run.sh makes it, sift only where its vectors are")
    path = Path(shutil.copytree(built / "index", folder / name))
    authority = re.sub("[ab]", lambda place: nodes["ab".index(place[0])].address, places)
    url = f"rdma://{authority}/{name}{'-striped' if '+' in places else ''}"
    publish(path, url)
    queries = np.load(built / "queries.npy")
    with tiervec.open(path, tier="dram:", threads=1) as index:
        kind = index.info.kind
        local = index.search(queries, K, params=PARAMS[kind]).ids
    return Published(path, f"{url}?timeout_ms=20000", kind, queries, np.load(built / "exact.npy"), local)


@pytest.mark.parametrize(("name", "places"), [("sample", "a,b"), ("sample", "a+b"), ("clusters", "a"), ("sift", "a")])
def test_finds_what_dram_finds(
    name: str, places: str, nodes: tuple[Node, Node], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = on_nodes(name, places, nodes, tmp_path)
    opened = index_kind(index.kind).open(IndexDirectory.open(index.path, remote_tier=True), index.url)
    params = PARAMS[index.kind]
    assert (search_natively(opened.searcher, index.queries, K, params, threads=1).ids == index.local).all()

    # The nodes' processes may even be stopped: their device answers.
    cpu_before = [node.cpu_seconds() for node in nodes]
    reads_before = opened.tier.counters["reads"]
    for node in nodes:
        node.process.send_signal(signal.SIGSTOP)
    started = time.monotonic()
    assert (search_natively(opened.searcher, index.queries, K, params, threads=1).ids == index.local).all()
    taken = time.monotonic() - started
    cpu = [node.cpu_seconds() - before for node, before in zip(nodes, cpu_before, strict=True)]
    for node in nodes:
        node.process.send_signal(signal.SIGCONT)

    reads = opened.tier.counters["reads"] - reads_before
    reads_per_doorbell = opened.tier.counters["reads"] / opened.tier.counters["doorbells"]
    recall = tiervec.recall(index.local, index.exact, K)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{name} on {places}: {len(index.queries)} queries, recall {recall:.3f} on dram: and on rdma:, all ids "
            f"identical; {reads:,} reads in {taken:.1f} s with the nodes' processes stopped, "
            f"their CPU time {sum(cpu):.2f} s; 1 doorbell for {reads_per_doorbell:.1f} reads\n"
        )
    assert recall > 0.9
    assert reads > 0
    assert sum(cpu) < 0.1  # some ticks of the clock, to stop and go on
    assert reads_per_doorbell >= 8


def test_a_profile_measures_it(nodes: tuple[Node, Node], tmp_path: Path) -> None:
    url = on_nodes("sample", "a,b", nodes, tmp_path).url
    measured = profile(url, threads=1, runs=1, read_sizes=(64, 4096), run_seconds=0.01)  # what the command calls
    assert measured.url == url
    assert not measured.emulated
    assert measured.latency_us_p50.median > 0
    assert all(size.reads_per_s.median > 0 for size in measured.sizes)
    assert url in measured.table()


def test_too_little_locked_memory_is_said(nodes: tuple[Node, Node], tmp_path: Path) -> None:
    index = on_nodes("sample", "a,b", nodes, tmp_path)
    queries = Path(os.environ["TIERVEC_GUEST_DATA"], "sample", "queries.npy")
    # Root may lock what it likes, so the right to do that is given up first.
    limited = ["prlimit", "--memlock=65536", "setpriv", "--bounding-set", "-ipc_lock", "--inh-caps", "-ipc_lock"]
    done = subprocess.run(
        [*limited, *CLI, "search", index.path, "--queries", queries, "--tier", index.url],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "ulimit -l" in done.stderr
    assert "65536 bytes" in done.stderr


_FORKS = """
import multiprocessing, signal, sys
import numpy as np
import tiervec
from tiervec.errors import UnsupportedError
from tiervec.graph_index.params import GraphSearchParams

path, url, folder = sys.argv[1:]
queries, local = np.load(folder + "/queries.npy"), np.load(folder + "/local.npy")

def found(index):
    return (index.search(queries, 10, params=GraphSearchParams(search_list=40)).ids == local).all()

def on_its_own():
    signal.alarm(250)
    with tiervec.open(path, tier=url, threads=1) as index:
        assert found(index), "wrong in a child that was forked before RDMA was used"

def refused(act):
    try:
        act()
    except UnsupportedError as error:
        assert "forked after RDMA was used" in str(error) and "spawn or forkserver" in str(error), error
    else:
        sys.exit("not refused")

def after_the_parent():
    signal.alarm(250)
    refused(lambda: found(index))
    refused(lambda: tiervec.open(path, tier=url, threads=1))
    index.close()

def run(body):
    process = multiprocessing.get_context("fork").Process(target=body)
    process.start()
    process.join()
    assert process.exitcode == 0, process.exitcode

run(on_its_own)
with tiervec.open(path, tier=url, threads=1) as index:
    assert found(index)
    connections = index._opened.tier.counters["connections"]
    for _ in range(2):
        run(after_the_parent)
        assert found(index)
    assert index._opened.tier.counters["connections"] == connections, "the parent had to connect again"
print("right")
"""


def test_a_forked_child_is_refused_at_once_and_the_parent_goes_on(nodes: tuple[Node, Node], tmp_path: Path) -> None:
    index = on_nodes("sample", "a", nodes, tmp_path)
    np.save(tmp_path / "queries.npy", index.queries)
    np.save(tmp_path / "local.npy", index.local)
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", _FORKS, index.path, index.url, tmp_path],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert (done.stdout, done.returncode) == ("right\n", 0), done.stderr


def test_a_node_that_dies_is_not_missed_and_without_any_it_is_said(nodes: tuple[Node, Node], tmp_path: Path) -> None:
    published = on_nodes("sample", "a,b", nodes, tmp_path)
    queries, local = published.queries, published.local
    first, second = nodes
    with tiervec.open(published.path, tier=published.url.replace("=20000", "=2000"), threads=1) as index:
        killer = threading.Timer(0.5, first.end)
        killer.start()
        while killer.is_alive():
            assert (index.search(queries, K, params=PARAMS["graph"]).ids == local).all()
        assert (index.search(queries, K, params=PARAMS["graph"]).ids == local).all()
        second.end()
        with pytest.raises(UnavailableError):
            index.search(queries, K, params=PARAMS["graph"])
