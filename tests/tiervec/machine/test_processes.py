"""Forks, the end of the interpreter and a system without threads, each in a process of its own: none of them may hang
this one.
"""

from __future__ import annotations

import copy
import os
import pickle
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec.client import Client
from tiervec.errors import UnavailableError, UnsupportedError
from tiervec.machine.processes import NativeWork, NoThreadError, native_work, starting_threads
from tiervec.placement.publish import publish
from tiervec.rdma.memory_node.configuration import MemoryNodeConfig
from tiervec.rdma.memory_node.server import MemoryNodeServer

_TIMEOUT_S = 500.0  # of a busy machine
_PRELUDE = """
import multiprocessing, os, signal, sys, threading, time, warnings
warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
import numpy as np
import tiervec
vectors = np.random.default_rng(0).standard_normal((3000, 16)).astype(np.float32)
"""


def run(program: str, *arguments: object, limit_s: float = _TIMEOUT_S) -> subprocess.CompletedProcess[str]:
    """Runs a program; a time-out kills it and what it forked."""
    with subprocess.Popen(
        [sys.executable, "-c", _PRELUDE + textwrap.dedent(program), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            out, err = process.communicate()
            pytest.fail(f"it hangs; it had printed {out!r} {err!r}")
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture(scope="module")
def index_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph of the vectors of `_PRELUDE`; on a disk, if the folder for temporary files is on one."""
    path = tmp_path_factory.mktemp("processes") / "index"
    tiervec.build(np.random.default_rng(0).standard_normal((3000, 16)).astype(np.float32), path)
    return path


_SEARCH_IN_CHILDREN = """
path, tier = sys.argv[1:3]
try:
    index = tiervec.open(path, tier=tier, threads=2)
except tiervec.errors.UnsupportedError as error:
    print("skip", error)
    sys.exit()
expected = index.search(vectors[:100], 5).ids
stop = threading.Event()
failures = []
def search_on():
    while not stop.is_set():
        if not (index.search(vectors[:100], 5).ids == expected).all():
            failures.append("wrong in the parent")
other = threading.Thread(target=search_on, daemon=True)
other.start()
def child():
    signal.alarm(100)
    for queries in (1, 100):
        if not (index.search(vectors[:queries], 5, timeout_s=60).ids == expected[:queries]).all():
            sys.exit("wrong in the child")
    index.close()
context = multiprocessing.get_context("fork")
for _ in range(3):
    process = context.Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == 0, process.exitcode
stop.set()
other.join()
assert not failures, failures
assert (index.search(vectors[:100], 5).ids == expected).all()
print("right")
"""


@pytest.mark.parametrize("tier", ["dram:", "mmap:", "ssd:", "ssd:threads", "numa:0", "emulated:rdma-200g", "dax:"])
def test_a_forked_child_searches_and_the_parent_goes_on(tier: str, index_path: Path, tmp_path: Path) -> None:
    url = f"dax:{tmp_path}/device" if tier == "dax:" else tier
    found = run(_SEARCH_IN_CHILDREN, index_path, url)
    if found.stdout.startswith("skip"):
        pytest.skip(found.stdout)
    assert (found.stdout, found.returncode) == ("right\n", 0), found.stderr


@pytest.fixture(scope="module")
def published(index_path: Path) -> Iterator[str]:
    config = MemoryNodeConfig(
        listen="127.0.0.1:0", capacity_bytes=64 << 20, lock_memory="no", scrub_bytes_per_s=0, drain_s=5.0
    )
    with MemoryNodeServer(config) as server:
        url = f"tcp://{server.address}/processes"
        publish(index_path, url)
        yield url


def test_a_forked_child_has_connections_of_its_own(published: str, index_path: Path) -> None:
    found = run(_SEARCH_IN_CHILDREN, index_path, published)
    assert (found.stdout, found.returncode) == ("right\n", 0), found.stderr


_IN_A_POOL = """
def search(task):
    path, tier = task
    with tiervec.open(path, tier=tier) as index:
        return index.search(vectors[:20], 1).ids.ravel().tolist()

if __name__ == "__main__":
    method, *tiers = sys.argv[2:]
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(search, [(sys.argv[1], tier) for tier in tiers]) == [list(range(20))] * len(tiers)
    print("right")
"""


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_multiprocessing_opens_an_index_in_every_process(
    method: str, published: str, index_path: Path, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"  # spawn imports it
    program.write_text(_PRELUDE + _IN_A_POOL)
    found = subprocess.run(
        [sys.executable, program, index_path, method, "dram:", "mmap:", "emulated:rdma-200g", published],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    assert (found.stdout, found.returncode) == ("right\n", 0), found.stderr


@pytest.mark.parametrize("params", [{}, {"code": "pq"}])
def test_clusters_are_built_before_and_after_a_fork(params: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("faiss", reason="clusters are built with faiss")
    found = run(
        """
        import json
        folder, params = sys.argv[1], json.loads(sys.argv[2])
        tiervec.build(vectors, folder + "/a", kind="cluster", params=params, threads=2)
        child = multiprocessing.get_context("fork").Process(
            target=lambda: tiervec.build(vectors, folder + "/b", kind="cluster", params=params, threads=2)
        )
        child.start(); child.join(); assert child.exitcode == 0
        with tiervec.open(folder + "/b") as index:
            print(len(index.search(vectors[:3], 1).ids))
        """,
        tmp_path,
        '{"code": "pq"}' if params else "{}",
    )
    assert (found.stdout, found.returncode) == ("3\n", 0), found.stderr
    assert "faiss runs on 1 thread instead of 2" in found.stderr


def test_a_fork_in_the_middle_of_a_call_is_refused_in_the_child(index_path: Path) -> None:
    found = run(
        """
        from tiervec.machine.interruptible import run_interruptibly
        forked = []
        def watch():
            if not forked:
                forked.append(os.fork())
                if forked[0] == 0: signal.alarm(100)
        end = threading.Event()
        try:
            result = run_interruptibly(lambda: end.wait(0.5), None, watch)
        except tiervec.errors.UnsupportedError as error:
            print(error, flush=True)
            os._exit(0)
        assert os.waitpid(forked[0], 0)[1] == 0
        """
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout == "this process was forked during a call of tiervec, which ends in the parent only\n"


def test_an_index_and_a_client_say_what_to_do_instead_of_pickling(index_path: Path) -> None:
    with tiervec.open(index_path, tier="mmap:") as index:
        for act in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(
                UnsupportedError, match=r"call tiervec\.open\(path, tier='mmap:'\) in the other process$"
            ):
                act(index)
    with Client("127.0.0.1:1") as client, pytest.raises(UnsupportedError, match="in the other process"):
        pickle.dumps(client)


def test_a_client_connects_anew_in_a_child_or_says_why_not(serve: Any, index_path: Path) -> None:
    with tiervec.open(index_path) as index, serve({"a": index}) as server:
        found = run(
            """
            from tiervec.client import Client
            client = Client(sys.argv[1], timeout_s=60)
            assert client.indexes() == ["a"]
            def status_of_child(act):
                child = os.fork()
                if child == 0:
                    signal.alarm(100)
                    os._exit(0 if act() else 1)
                return os.waitpid(child, 0)[1]
            def answers():
                return client.search("a", vectors[:3], 5).ids.shape == (3, 5) and Client(sys.argv[1]).indexes() == ["a"]
            for _ in range(3):
                assert status_of_child(answers) == 0
                assert client.indexes() == ["a"]
            stop = threading.Event()
            def call_on():
                with client._connection.calling():  # else a fork may meet the moment between two calls
                    while not stop.is_set(): client.search("a", vectors[:3], 5)
            other = threading.Thread(target=call_on, daemon=True)
            other.start()
            def refuses():
                for call in (client.indexes, lambda: Client(sys.argv[1])):
                    try: call()
                    except tiervec.errors.UnsupportedError as error:
                        if "spawn or forkserver" not in str(error): return False
                    else: return False
                return True
            for _ in range(3): assert status_of_child(refuses) == 0
            stop.set()
            other.join()
            print(client.indexes())
            """,
            server.address,
        )
    assert (found.stdout, found.returncode) == ("['a']\n", 0), found.stderr


def test_an_interrupted_build_ends(tmp_path: Path) -> None:
    found = run(
        """
        def late(*_): raise RuntimeError("too late")
        import tiervec.graph_index.build as building
        def train(*arguments, **named):
            os.kill(os.getpid(), signal.SIGALRM)
            matrix = np.random.default_rng(0).standard_normal((900, 900))
            for _ in range(10): np.linalg.eigh(matrix @ matrix.T)
            raise SystemError("nobody wants this")
        signal.signal(signal.SIGALRM, late)
        building.train_code = train
        try: tiervec.build(vectors, sys.argv[1] + "/index")
        except RuntimeError as error: print(error)
        """,
        tmp_path,
    )
    assert (found.stdout, found.stderr, found.returncode) == ("too late\n", "", 0)


@pytest.mark.parametrize("queries", [1, 100])
def test_daemon_threads_that_search_at_exit_are_quiet(queries: int, index_path: Path) -> None:
    found = run(
        """
        index = tiervec.open(sys.argv[1], tier="mmap:")
        began = threading.Barrier(4)
        def search_on():
            index.search(vectors[:5]); began.wait()
            try:
                while True: index.search(vectors[: int(sys.argv[2])])
            except tiervec.errors.TiervecError: pass
        for _ in range(3): threading.Thread(target=search_on, daemon=True).start()
        began.wait()
        """,
        index_path,
        queries,
    )
    assert (found.stdout, found.stderr, found.returncode) == ("", "", 0)


_WITHOUT_THREADS = """
import resource
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
index = tiervec.open(sys.argv[1], threads=4)
ids = index.search(vectors[:100], 5).ids
if os.getuid() == 0: os.setuid(65534)  # the limit does not bind root
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
try:
    threading.Thread(target=int).start()
except RuntimeError:
    pass
else:
    print("skip: RLIMIT_NPROC does not bind here"); sys.exit()
"""


def without_threads(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    found = run(_WITHOUT_THREADS + textwrap.dedent(program), *arguments)
    if found.stdout.startswith("skip"):
        pytest.skip(found.stdout)
    return found


def test_a_search_without_threads_runs_on_the_callers(index_path: Path) -> None:
    os.chmod(index_path.parent, 0o755)
    found = without_threads(
        """
        for queries in (1, 100):
            result = index.search(vectors[:queries], 5)
            assert (result.ids == ids[:queries]).all()
            print(result.receipt.threads, *result.receipt.notes)
        """,
        index_path,
    )
    assert found.returncode == 0, found.stderr
    alone, many = found.stdout.splitlines()
    assert alone == "1"
    assert re.fullmatch(r"1 \d threads fewer worked than asked for: the system gave no more \(.*\)", many)


def test_a_build_without_threads_is_refused_at_once(index_path: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    found = without_threads(
        """
        import tempfile
        try: tiervec.build(vectors, tempfile.mkdtemp() + "/index")
        except tiervec.errors.ResourceExhaustedError as error: print(error)
        """,
        index_path,
    )
    assert found.returncode == 0, found.stderr
    assert "the system gives no more" in found.stdout


def test_only_a_refused_thread_is_resource_exhausted() -> None:
    with (
        pytest.raises(NoThreadError, match="a test needs a thread and the system gives no more"),
        starting_threads("a test"),
    ):
        raise RuntimeError("can't start new thread")
    with pytest.raises(RuntimeError, match="of its own"), starting_threads("a test"):
        raise RuntimeError("of its own")


def test_native_work_is_counted_until_it_ends() -> None:
    from tiervec.machine import processes

    with native_work():
        assert len(processes._running) >= 1
    work = NativeWork(None)
    failures: list[BaseException] = []

    def begin() -> None:
        try:
            work.begin()
        except UnavailableError as error:
            failures.append(error)

    processes._process.ending = True
    try:
        thread = threading.Thread(target=begin)
        thread.start()
        thread.join()
    finally:
        processes._process.ending = False
    assert "the interpreter is ending" in str(failures[0])
    assert work not in processes._running
