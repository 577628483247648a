"""Threads for one kind of call: its own, so that no other kind can take them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from tiervec.errors import ResourceExhaustedError
from tiervec.rpc.limits import PeerCount

__all__ = ["Lane"]

_log = logging.getLogger(__name__)
Result = TypeVar("Result")


class Lane:
    """Runs the calls whose message has come.

    An executor of the standard library does the same; it costs a lock, two futures and their callbacks for each call,
    a fifth of what a short search takes.

    Args:
        loop: Where `run` is called, and nowhere else.
        what: Plural noun for messages.
        threads: Calls that run at once.
        limit: Calls that run or wait for a thread.
        limit_per_peer: The same of one client.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, what: str, *, threads: int, limit: int, limit_per_peer: int
    ) -> None:
        self.count = PeerCount(what, limit, limit_per_peer)
        self._loop = loop
        self._most_threads = threads
        self._most_queued = 4 * limit
        self._threads: list[threading.Thread] = []
        self._queue: SimpleQueue[tuple[asyncio.Future[Any], str, list[Callable[[], Any]]] | None] = SimpleQueue()

    async def run(self, peer: str, work: Callable[[], Result]) -> Result:
        """Runs `work` in a thread, first come, first served.

        The client's place is free again when the work is done. A caller that is cancelled before its turn gives its
        place back at once, and the work is not done.

        Raises:
            ResourceExhaustedError: The client, or all of them, have as many calls here as they may; or the system
                gives no thread.
        """
        if self._queue.qsize() >= self._most_queued:  # of callers that went away, too
            raise ResourceExhaustedError("the server is busy; try again later")
        self.count.enter(peer)
        try:
            if self.count.total > len(self._threads) < self._most_threads:
                self._start_thread()
        except BaseException:
            self.count.leave(peer)
            raise
        future: asyncio.Future[tuple[Any, BaseException | None]] = self._loop.create_future()
        unclaimed = [work]  # belongs to whichever takes it out: a thread, or a caller that goes away
        self._queue.put((future, peer, unclaimed))
        try:
            result, error = await future
        except asyncio.CancelledError:
            with contextlib.suppress(IndexError):
                unclaimed.pop()
                self.count.leave(peer)
            raise
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    def close(self) -> None:
        """Waits for the threads; not on the loop."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._work, name="tiervec-grpc", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if not self._threads:
                raise ResourceExhaustedError("the system gives the server no thread; try again later") from None
            _log.warning("the system gives no more threads; calls wait for the %d there are", len(self._threads))
            return
        self._threads.append(thread)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            future, peer, unclaimed = item
            result, error = None, None
            try:
                work = unclaimed.pop()
            except IndexError:  # its caller went away
                continue
            try:
                result = work()
            except BaseException as raised:
                error = raised
            self._loop.call_soon_threadsafe(self._done, future, peer, result, error)
            del item, future, unclaimed, work, result, error  # nothing of a call outlives it here

    def _done(self, future: asyncio.Future[Any], peer: str, result: Any, error: BaseException | None) -> None:
        self.count.leave(peer)
        if not future.done():  # its caller went away
            future.set_result((result, error))
