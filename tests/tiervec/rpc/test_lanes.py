from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from tiervec.errors import ResourceExhaustedError
from tiervec.rpc.event_loop import event_loop, run_on_loop
from tiervec.rpc.lanes import Lane


@pytest.fixture
def lane() -> Iterator[Lane]:
    """One thread, a place for two waiting calls."""
    lane = Lane(event_loop(), "calls", threads=1, limit=3, limit_per_peer=2)
    yield lane
    lane.close()
    run_on_loop(asyncio.sleep(0))
    assert lane.count.total == 0


def test_results_and_errors(lane: Lane) -> None:
    assert run_on_loop(lane.run("a", lambda: 5)) == 5
    for error in (ZeroDivisionError, StopIteration, SystemExit):

        def fail(error: type[BaseException] = error) -> None:
            raise error("x")

        with pytest.raises((error, RuntimeError)):
            run_on_loop(_caught(lane, fail))
    assert run_on_loop(lane.run("a", lambda: 6)) == 6


async def _caught(lane: Lane, fail: object) -> None:
    try:
        await lane.run("a", fail)  # type: ignore[arg-type]
    except BaseException as error:
        raise RuntimeError(repr(error)) from None


def test_a_call_that_goes_away_before_its_turn_gives_its_place_back(lane: Lane) -> None:
    go_on, ran = threading.Event(), []

    async def flood() -> None:
        running = asyncio.ensure_future(lane.run("a", go_on.wait))
        waiting = asyncio.ensure_future(lane.run("a", lambda: ran.append("a")))
        other = asyncio.ensure_future(lane.run("b", lambda: ran.append("b")))
        await asyncio.sleep(0)
        with pytest.raises(ResourceExhaustedError, match="the server is busy: it has 3 calls"):
            await lane.run("c", lambda: None)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert lane.count.total == 2
        again = asyncio.ensure_future(lane.run("a", lambda: ran.append("again")))
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(running, other, again)

    run_on_loop(flood())
    assert ran == ["b", "again"]


def test_one_client_leaves_places_for_others(lane: Lane) -> None:
    go_on = threading.Event()

    async def flood() -> None:
        calls = [asyncio.ensure_future(lane.run("a", go_on.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(ResourceExhaustedError, match="the client a has 2 calls here"):
            await lane.run("a", lambda: None)
        calls.append(asyncio.ensure_future(lane.run("b", lambda: True)))
        go_on.set()
        assert await asyncio.gather(*calls) == [True] * 3

    run_on_loop(flood())


def test_a_system_without_threads(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(ResourceExhaustedError, match="the system gives the server no thread"):
            run_on_loop(lane.run("a", lambda: 1))
    assert run_on_loop(lane.run("a", lambda: 1)) == 1
