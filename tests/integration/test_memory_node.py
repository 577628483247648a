"""An index on memory nodes in processes of their own: published, searched, killed, restarted."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec.errors import (
    DataLossError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)
from tiervec.rdma.memory_node.client import MemoryNodeClient
from tiervec.rpc.credentials import Credentials

PARAMS = {"search_list": 60}


class NodeProcess:
    """``tiervec memory-node`` as a process."""

    def __init__(self, log: Path, *arguments: object, listen: str = "127.0.0.1:0") -> None:
        command = [sys.executable, "-m", "tiervec.cli", "memory-node", "--listen", listen, "--capacity", "64MiB"]
        self._log = log
        with open(log, "w") as file:
            self.process = subprocess.Popen(
                [*command, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )
        self.address = self._wait_for_address()

    def _wait_for_address(self) -> str:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            found = re.search(r"^listening on (\S+)$", self._log.read_text(), re.MULTILINE)
            if found:
                return found[1]
            assert self.process.poll() is None, self._log.read_text()
            time.sleep(0.02)
        raise AssertionError("the node did not start")

    @property
    def log(self) -> str:
        return self._log.read_text()

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


Starter = Callable[..., NodeProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    started: list[NodeProcess] = []

    def factory(*arguments: object, **options: Any) -> NodeProcess:
        node = NodeProcess(tmp_path / f"node{len(started)}.log", *arguments, **options)
        started.append(node)
        return node

    yield factory
    for node in started:
        if node.process.poll() is None:
            node.end(signal.SIGKILL)


@pytest.fixture(autouse=True)
def no_credentials_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOKEN", "TOKEN_FILE", "CA", "CERT", "KEY"):
        monkeypatch.delenv(f"TIERVEC_{name}", raising=False)


@pytest.fixture
def right(built: Any, corpus: Any) -> Any:
    """What ``dram:`` answers."""
    with tiervec.open(built()) as index:
        return index.search(corpus("float32").queries, k=10, params=PARAMS)


def assert_right(index: tiervec.Index, corpus: Any, right: Any) -> Any:
    found = index.search(corpus("float32").queries, k=10, params=PARAMS)
    np.testing.assert_array_equal(found.ids, right.ids)
    np.testing.assert_array_equal(found.distances, right.distances)
    return found


def region_on(node: NodeProcess) -> str:
    """A reader of it waits long: the machine may be busy, and a node that has ended is noticed without a time-out."""
    return f"tcp://{node.address}/peps?timeout_ms=30000"


def wait_until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.02)


def test_published_searched_and_stopped(start: Starter, built: Any, corpus: Any, right: Any) -> None:
    node = start()
    url = tiervec.publish(built(), region_on(node)).url
    with tiervec.open(built(), tier=url) as index:
        assert index.tier == url
        found = assert_right(index, corpus, right)
    assert found.receipt.reads == right.receipt.reads
    assert not found.receipt.emulated
    assert node.end(signal.SIGTERM) == 0
    assert "stopping" in node.log
    with pytest.raises(UnavailableError, match="no memory node answers"):
        tiervec.open(built(), tier=url)


def test_a_compute_node_needs_no_copy_of_the_records(start: Starter, own_copy: Path, corpus: Any, right: Any) -> None:
    node = start()
    url = tiervec.publish(own_copy, region_on(node), strip=True).url
    assert not (own_copy / "records.bin").exists()
    with tiervec.open(own_copy, tier=url) as index:
        assert_right(index, corpus, right)
    with pytest.raises(NotFoundError, match=rf"records\.bin is not here, it was published to {re.escape(url)}"):
        tiervec.open(own_copy, tier="dram:")


@pytest.mark.parametrize("layout", ["coded", "grouped", "replicated"])
def test_clusters_on_two_replicas(layout: str, start: Starter, built: Any, corpus: Any, tmp_path: Path) -> None:
    pytest.importorskip("faiss", reason="clusters are built with faiss, which is not installed")
    queries, params = corpus("uint8").queries, {"nprobe": 6, "rerank": 40}
    shared = built("uint8", "l2", kind="cluster", layout=layout, replicas=4, closure=10, rng_factor=1.5, code_bits=4)
    path = Path(shutil.copytree(shared, tmp_path / "index"))
    with tiervec.open(path) as index:
        right = index.search(queries, k=10, params=params)
    first, second = start(), start()
    to = f"tcp://{first.address},{second.address}/clusters?timeout_ms=30000"
    published = tiervec.publish(path, to, strip=True)
    assert [(node.replica, node.stripes) for node in published.nodes] == [(0, 1), (1, 1)]
    assert published.stripped_bytes > 0
    with pytest.raises(NotFoundError, match="is not here, it was published to"):
        tiervec.open(path, tier="dram:")
    with tiervec.open(path, tier=published.url, threads=2) as index:

        def assert_right() -> None:
            found = index.search(queries, k=10, params=params)
            np.testing.assert_array_equal(found.ids, right.ids)
            np.testing.assert_array_equal(found.distances, right.distances)
            assert found.receipt.reads > 0

        assert_right()
        first.end(signal.SIGKILL)
        assert_right()
        second.end(signal.SIGKILL)
        with pytest.raises(UnavailableError):
            index.search(queries, k=10, params=params, timeout_s=60)


def test_the_region_of_another_index(start: Starter, built: Any) -> None:
    node = start()
    url = tiervec.publish(built(), region_on(node)).url
    with pytest.raises(NotFoundError, match=r"but not in version .*`tiervec publish`"):
        tiervec.open(built("int8", "ip"), tier=url)
    with pytest.raises(NotFoundError, match="no region 'other'"):
        tiervec.open(built(), tier=f"tcp://{node.address}/other")
    with pytest.raises(InvalidArgumentError, match="which is not HOST:PORT"):
        tiervec.open(built(), tier="tcp://nowhere/peps")


def test_a_new_version_beside_the_old_one(start: Starter, built: Any, corpus: Any, right: Any) -> None:
    node = start()
    to = region_on(node)
    tiervec.publish(built(), to)
    with tiervec.open(built(), tier=to) as index:
        tiervec.publish(built("float32", "cosine", graph_degree=20), to)
        assert_right(index, corpus, right)
        with tiervec.open(built("float32", "cosine", graph_degree=20), tier=to) as new:
            assert new.search(corpus("float32").queries, k=1).ids.shape[1] == 1
        assert_right(index, corpus, right)


def test_a_killed_node_with_a_data_directory_comes_back(
    start: Starter, built: Any, corpus: Any, right: Any, tmp_path: Path
) -> None:
    node = start("--data-dir", tmp_path / "data")
    url = tiervec.publish(built(), region_on(node)).url
    with tiervec.open(built(), tier=url) as index:
        assert_right(index, corpus, right)
        node.end(signal.SIGKILL)
        with pytest.raises(UnavailableError):
            index.search(corpus("float32").queries, k=10, params=PARAMS, timeout_s=60)
        start("--data-dir", tmp_path / "data", listen=node.address)

        def answers() -> bool:
            try:
                assert_right(index, corpus, right)
            except UnavailableError:
                return False
            return True

        wait_until(answers)
    with tiervec.open(built(), tier=url) as index:
        assert_right(index, corpus, right)


def test_a_node_without_a_data_directory_forgets(start: Starter, built: Any, corpus: Any) -> None:
    node = start()
    url = tiervec.publish(built(), region_on(node)).url
    with tiervec.open(built(), tier=url) as index:
        node.end(signal.SIGKILL)
        start(listen=node.address)
        for _ in range(3):
            with pytest.raises(UnavailableError):
                index.search(corpus("float32").queries[:4], k=10, timeout_s=60)
    with pytest.raises(NotFoundError, match="no region 'peps'"):
        tiervec.open(built(), tier=url)


def test_a_damaged_disk_is_not_served(start: Starter, built: Any, tmp_path: Path) -> None:
    node = start("--data-dir", tmp_path / "data")
    url = tiervec.publish(built(), region_on(node)).url
    assert node.end(signal.SIGTERM) == 0
    (path,) = (tmp_path / "data").rglob("extents.bin")
    harmed = bytearray(path.read_bytes())
    harmed[len(harmed) // 2] ^= 1
    path.write_bytes(harmed)
    again = start("--data-dir", tmp_path / "data", listen=node.address)
    wait_until(lambda: "is damaged on the disk" in again.log)
    with pytest.raises(DataLossError, match="is damaged in 1 of"):
        tiervec.open(built(), tier=url)
    tiervec.publish(built(), url)
    tiervec.open(built(), tier=url).close()


def test_tokens_over_processes(
    start: Starter, built: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, corpus: Any, right: Any
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("write=the-write-token-0001\nread=the-read-token-00002\n")
    tokens.chmod(0o600)
    node = start("--token-file", tokens)
    to = region_on(node)
    with pytest.raises(PermissionDeniedError, match="shows no token"):
        tiervec.publish(built(), to)
    monkeypatch.setenv("TIERVEC_TOKEN_FILE", str(tokens))
    tiervec.publish(built(), to)
    monkeypatch.delenv("TIERVEC_TOKEN_FILE")
    monkeypatch.setenv("TIERVEC_TOKEN", "the-read-token-00002")
    with tiervec.open(built(), tier=to) as index:
        assert_right(index, corpus, right)
    monkeypatch.setenv("TIERVEC_TOKEN", "the-wrong-token-0003")
    with pytest.raises(PermissionDeniedError, match="not one of this memory node's"):
        tiervec.open(built(), tier=to)
    for secret in ("the-write-token-0001", "the-read-token-00002", "the-wrong-token-0003"):
        assert secret not in node.log


def test_search_says_when_the_first_query_was_answered(start: Starter, built: Any, corpus: Any, tmp_path: Path) -> None:
    node = start()
    url = tiervec.publish(built(), region_on(node)).url
    np.save(tmp_path / "queries.npy", corpus("float32").queries)
    command = [sys.executable, "-m", "tiervec.cli", "search", str(built()), "--tier", url, "--queries"]
    done = subprocess.run(
        [*command, str(tmp_path / "queries.npy")], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"attached to tcp://\S+ and loaded the codes in [0-9.]+ s; first query answered", done.stderr)


def test_a_profile_of_a_region(start: Starter, built: Any) -> None:
    from tiervec.rdma.profile import profile

    node = start()
    url = tiervec.publish(built(), region_on(node)).url
    measured = profile(url, threads=1, runs=1, run_seconds=0.01, read_sizes=[256])
    assert measured.url == url
    assert not measured.emulated
    assert measured.sizes[0].reads_per_s.median > 0
    with pytest.raises(InvalidArgumentError, match="has its own bytes and size"):
        profile(url, region_bytes="2MiB")


@pytest.mark.realtime
def test_an_idle_node_uses_hardly_any_cpu_time(start: Starter, built: Any) -> None:
    node = start("--scrub-rate", 0)
    tiervec.publish(built(), region_on(node))
    with MemoryNodeClient(node.address, Credentials()) as client:
        before = client.stats().cpu_s
        time.sleep(1)
        assert client.stats().cpu_s - before < 0.5  # a thread that spins would use a second


def test_ctrl_c_ends_a_node_like_sigterm(start: Starter) -> None:
    node = start()
    assert node.end(signal.SIGINT) == 0
    assert os.path.exists(node._log)
    assert "Traceback" not in node.log
