"""search_async: the answers of search, with no thread per call; cancel, deadline, close, fork and exit on the way."""

from __future__ import annotations

import asyncio
import doctest
import gc
import subprocess
import sys
import textwrap
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec.errors import (
    CancelledError,
    DeadlineExceededError,
    InvalidArgumentError,
    UnavailableError,
    UnsupportedError,
)

BASE = np.random.default_rng(2).normal(size=(600, 12)).astype(np.float32)
#: A device that gives one read a second, after ten: a search on it ends by a cancel or a deadline only.
NEVER = "emulated:latency_us=10000000,reads_mps=0.000001,gbps=1,block=64"
_LIMIT_S = 300.0  # of a busy machine


@pytest.fixture(scope="module", params=["graph", "cluster"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("async") / "index"
    tiervec.build(BASE, out, kind=request.param)
    return out


@pytest.mark.parametrize("tier", ["dram:", "mmap:", "emulated:rdma-200g"])
def test_it_finds_what_search_finds(path: Path, tier: str) -> None:
    with tiervec.open(path, tier=tier, threads=2) as index:
        expected = index.search(BASE[:100], 5)

        async def main() -> list[Any]:
            lone = [index.search_async(row, 5) for row in BASE[:100]]
            batch = index.search_async(BASE[:100], 5)
            step_by_step = index.search_async(BASE[:100], 5, params={"pipeline": False})
            return await asyncio.gather(batch, step_by_step, *lone)

        batch, step_by_step, *lone = asyncio.run(main())
    np.testing.assert_array_equal(batch.ids, expected.ids)
    np.testing.assert_array_equal(batch.distances, expected.distances)
    np.testing.assert_array_equal(np.concatenate([found.ids for found in lone]), expected.ids)
    assert step_by_step.ids.shape == expected.ids.shape
    assert set(batch.receipt.as_dict()) == set(expected.receipt.as_dict())
    assert batch.receipt.reads == expected.receipt.reads
    assert sum(found.receipt.reads for found in lone) == expected.receipt.reads
    assert batch.receipt.params == expected.receipt.params
    assert 1 <= batch.receipt.threads <= 2
    assert all(found.receipt.queries == found.receipt.threads == 1 for found in lone)
    assert batch.receipt.cpu_us > 0


def test_far_queries_are_searched_again(tmp_path: Path) -> None:
    tiervec.build(BASE, tmp_path / "index", kind="graph")
    far = np.concatenate([BASE[:5], 40 * BASE[:5]])
    with tiervec.open(tmp_path / "index") as index:
        expected = index.search(far, 10)
        found = asyncio.run(_once(index, far, 10))
    np.testing.assert_array_equal(found.ids, expected.ids)
    assert found.receipt.reads == expected.receipt.reads


def test_calls_make_no_threads(path: Path) -> None:
    with tiervec.open(path, tier=NEVER, threads=2) as index:

        async def main() -> None:
            tasks = [asyncio.create_task(index.search_async(row, 5)) for row in BASE[:100]]
            await asyncio.sleep(0)
            threads = len(list(Path("/proc/self/task").iterdir()))
            assert threads <= before + 2
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

        before = len(list(Path("/proc/self/task").iterdir()))
        asyncio.run(main())


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"queries": BASE[:2, :5]}, InvalidArgumentError),
        ({"queries": np.full((1, 12), np.nan, np.float32)}, InvalidArgumentError),
        ({"queries": BASE[:2], "k": 0}, InvalidArgumentError),
        ({"queries": BASE[:2], "params": {"color": 3}}, InvalidArgumentError),
        ({"queries": BASE[:2], "cancel": 3}, InvalidArgumentError),
        ({"queries": BASE[:2], "timeout_s": -1}, InvalidArgumentError),
        ({"queries": BASE[:2], "filter": "x"}, InvalidArgumentError),
    ],
)
def test_it_refuses_what_search_refuses(path: Path, arguments: dict[str, Any], kind: type[Exception]) -> None:
    with tiervec.open(path) as index:
        with pytest.raises(kind) as expected:
            index.search(**arguments)
        with pytest.raises(kind) as caught:
            asyncio.run(_once(index, **arguments))
    assert str(caught.value) == str(expected.value)


def test_cancelling_the_task_cancels_its_queries(path: Path) -> None:
    with tiervec.open(path, tier=NEVER, threads=1) as index:

        async def main() -> None:
            tasks = [asyncio.create_task(index.search_async(BASE, 5)) for _ in range(3)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            done, _ = await asyncio.wait(tasks)
            assert all(task.cancelled() for task in done)

        asyncio.run(main())
    # The close waited: nothing hangs.


def test_a_token_ends_its_search_and_no_other(path: Path) -> None:
    with tiervec.open(path, tier=NEVER, threads=1) as index:

        async def main() -> None:
            token = tiervec.CancelToken()
            stopped = [asyncio.create_task(index.search_async(BASE[:50], 5, cancel=token)) for _ in range(3)]
            other = asyncio.create_task(index.search_async(BASE[0], 5))
            await asyncio.sleep(0)
            token.cancel()
            for task in stopped:
                with pytest.raises(CancelledError):
                    await task
            assert not other.done()
            other.cancel()
            await asyncio.wait([other])
            with pytest.raises(CancelledError):
                await index.search_async(BASE[:50], 5, cancel=token)

        asyncio.run(main())


def test_a_deadline_ends_what_runs_and_what_waits(path: Path) -> None:
    with tiervec.open(path, tier=NEVER, threads=1) as index:

        async def main() -> None:
            for queries in (BASE[0], BASE):
                tasks = [asyncio.create_task(index.search_async(queries, 5, timeout_s=0.01)) for _ in range(3)]
                for task in tasks:
                    with pytest.raises(DeadlineExceededError):
                        await task

        asyncio.run(main())


def test_a_closed_index_refuses(path: Path) -> None:
    index = tiervec.open(path)
    index.close()
    with pytest.raises(UnavailableError) as expected:
        index.search(BASE[:1])
    with pytest.raises(UnavailableError) as caught:
        asyncio.run(_once(index, BASE[:1]))
    assert str(caught.value) == str(expected.value)


def test_a_close_waits_for_the_searches_that_run(path: Path) -> None:
    index = tiervec.open(path, tier="emulated:latency_us=3000,reads_mps=1,gbps=1,block=64", threads=1)

    async def main() -> list[Any]:
        tasks = [asyncio.create_task(index.search_async(row, 1)) for row in BASE[:20]]
        await asyncio.sleep(0)
        index.close()  # on the loop's own thread
        with pytest.raises(UnavailableError):
            await index.search_async(BASE[0], 1)
        return await asyncio.gather(*tasks)

    found = asyncio.run(main())
    assert [answer.ids.tolist() for answer in found] == [[[row]] for row in range(20)]


def test_a_close_of_another_thread_waits_and_a_cancel_lets_it_go(path: Path) -> None:
    index = tiervec.open(path, tier=NEVER, threads=1)

    async def main() -> None:
        task = asyncio.create_task(index.search_async(BASE, 1))
        await asyncio.sleep(0)
        closing = threading.Thread(target=index.close)
        closing.start()
        while True:  # until close has begun
            try:
                await index.search_async(BASE[0], 1, timeout_s=1e-3)
            except DeadlineExceededError:
                continue
            except UnavailableError:
                break
        assert closing.is_alive()
        task.cancel()
        await asyncio.wait([task])
        await asyncio.to_thread(closing.join, _LIMIT_S)
        assert not closing.is_alive()

    asyncio.run(main())


def test_several_loops_share_an_index(path: Path) -> None:
    with tiervec.open(path, tier="emulated:rdma-200g", threads=2) as index:
        expected = index.search(BASE[:50], 5).ids
        results: list[Any] = []

        async def main() -> None:
            found = await asyncio.gather(*(index.search_async(row, 5) for row in BASE[:50]))
            results.append(np.concatenate([answer.ids for answer in found]))

        threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_LIMIT_S)
    assert len(results) == 4
    for ids in results:
        np.testing.assert_array_equal(ids, expected)


def test_without_a_loop_it_is_refused(path: Path) -> None:
    with tiervec.open(path) as index, pytest.raises(UnsupportedError, match="event loop"):
        index.search_async(BASE[:1]).send(None)


def test_an_index_and_a_loop_that_nobody_holds_are_given_back(path: Path) -> None:
    index = tiervec.open(path, tier=NEVER, threads=1)
    loop = asyncio.new_event_loop()

    async def main(opened: tiervec.Index) -> None:
        task = asyncio.create_task(opened.search_async(BASE, 5))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    loop.run_until_complete(main(index))
    loop.close()
    gone = weakref.ref(index)
    index.close()
    del index, main, loop
    gc.collect()
    assert gone() is None


_PRELUDE = """
import asyncio, os, signal, sys, threading, warnings
warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
import numpy as np
import tiervec
vectors = np.random.default_rng(2).normal(size=(600, 12)).astype(np.float32)
path, tier = sys.argv[1:3]
index = tiervec.open(path, tier=tier, threads=2)
"""


def _run(program: str, path: Path, tier: str) -> str:
    """Standard output of a program that must end by itself, without a word on stderr."""
    done = subprocess.run(
        [sys.executable, "-c", _PRELUDE + textwrap.dedent(program), str(path), tier],
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_a_forked_child_searches_on_a_loop_of_its_own(path: Path) -> None:
    program = """
    async def once(): return (await index.search_async(vectors[:50], 5)).ids
    expected = asyncio.run(once())
    child = os.fork()
    if child == 0:
        signal.alarm(250)
        os._exit(0 if (asyncio.run(once()) == expected).all() else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert (asyncio.run(once()) == expected).all()
    print("right")
    """
    assert _run(program, path, "emulated:rdma-200g") == "right\n"


def test_a_fork_while_a_search_runs_is_refused_in_the_child(path: Path) -> None:
    program = """
    async def main():
        task = asyncio.create_task(index.search_async(vectors[:50], 5))
        await asyncio.sleep(0)
        child = os.fork()
        if child == 0:
            signal.alarm(250)
            try:
                await task
            except tiervec.errors.UnsupportedError as error:
                print(error, flush=True)
            try:
                await index.search_async(vectors[:50], 5)
            except tiervec.errors.UnsupportedError as error:
                print(error, flush=True)
            index.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        task.cancel()
        await asyncio.wait([task])
    asyncio.run(main())
    """
    first, second = _run(program, path, NEVER).splitlines()
    assert first == "this process was forked during a call of tiervec, which ends in the parent only"
    assert "event loop" in second


@pytest.mark.parametrize(
    "end",
    [
        "loop.run_until_complete(main())",  # and the loop is left with its tasks
        "loop.run_until_complete(main()); loop.close()",
        "loop.run_until_complete(main()); del index",
        "threading.Thread(target=lambda: loop.run_until_complete(forever()), daemon=True).start(); began.wait()",
    ],
)
def test_the_interpreter_ends_with_searches_that_run(path: Path, end: str) -> None:
    program = f"""
    began = threading.Event()
    tasks = []
    loop = asyncio.new_event_loop()
    async def main():
        for row in vectors[:20]:
            task = asyncio.create_task(index.search_async(row, 5))
            task._log_destroy_pending = False
            tasks.append(task)
        await asyncio.sleep(0)
    async def forever():
        await main()
        began.set()
        await asyncio.Event().wait()
    warnings.simplefilter("ignore", ResourceWarning)
    {end}
    print("right", flush=True)
    """
    assert _run(program, path, NEVER) == "right\n"


def test_its_example_is_right() -> None:
    (example,) = doctest.DocTestFinder(recurse=False).find(tiervec.Index.search_async, "search_async")
    result = doctest.DocTestRunner().run(example)
    assert result.attempted > 0
    assert result.failed == 0


async def _once(index: tiervec.Index, *arguments: Any, **options: Any) -> Any:
    return await index.search_async(*arguments, **options)
