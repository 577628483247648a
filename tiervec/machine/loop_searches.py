"""Native searches that coroutines wait for, with no thread for any of them.

    coroutine   submit -> awaits a future
    worker      ends the search -> its ticket into the loop's list; the first one makes a descriptor readable
    loop        readable -> takes all tickets -> their futures

Workers never need the GIL, and the loop wakes once for all searches that ended meanwhile.
"""

from __future__ import annotations

import asyncio
import itertools
import weakref
from collections.abc import Awaitable
from typing import Any, Protocol

from tiervec import _core
from tiervec.errors import UnsupportedError
from tiervec.machine.processes import NativeWork, renew_in_children

__all__ = ["LoopSearches", "loop_searches"]

_FORKED = "this process was forked during a call of tiervec, which ends in the parent only"
_EXIT_WAIT_S = 0.1


class _Submit(Protocol):
    def __call__(self, *, ended: _core.EndedSearches, ticket: int) -> _core.PendingSearch: ...


class _Waiting(NativeWork):
    """A search, and the coroutine that waits for it unless it has left."""

    __slots__ = ("future", "has_left", "running", "search")

    def __init__(
        self, search: _core.PendingSearch, future: asyncio.Future[None], running: set[_core.PendingSearch]
    ) -> None:
        super().__init__(self._stop_at_exit)
        self.search, self.future, self.running = search, future, running
        self.has_left = False
        running.add(search)

    def end(self) -> None:
        super().end()
        self.running.discard(self.search)

    def _stop_at_exit(self) -> None:
        # The loop may never run again.
        self.search.cancel()
        if self.search.wait(_EXIT_WAIT_S):
            self.end()


class LoopSearches:
    """The searches of one event loop. Used on its thread only.

    Raises:
        UnsupportedError: The loop cannot watch descriptors.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ended = _core.EndedSearches()
        # Until they have ended: also those whose coroutine has left, since workers use what they hold.
        self._waiting: dict[int, _Waiting] = {}
        self._tickets = itertools.count()
        self._forked = False
        try:
            loop.add_reader(self._ended.fileno(), self._deliver)
        except NotImplementedError:
            raise UnsupportedError(
                f"search_async needs an event loop that watches descriptors; {type(loop).__name__} does not"
            ) from None
        renew_in_children(self)

    def begin(
        self, submit: _Submit, timeout_s: float | None, running: set[_core.PendingSearch]
    ) -> Awaitable[tuple[Any, ...]]:
        """Submits a search at once; awaiting what it returns waits for the end, and gives the answers.

        A coroutine that is cancelled leaves at once; its queries stop within a moment.

        Args:
            submit: Begins the search.
            timeout_s: Seconds after which it fails; None: no deadline.
            running: Holds the search until it has ended.

        Raises:
            UnsupportedError: This process was forked meanwhile, or the loop is its parent's.
            TiervecError: What the search itself raises.
        """
        if self._forked:
            raise UnsupportedError("this event loop was made before the process was forked; use one of this process")
        loop = asyncio.get_running_loop()
        ticket = next(self._tickets)
        search = submit(ended=self._ended, ticket=ticket)
        waiting = _Waiting(search, loop.create_future(), running)
        if search.answered_at_once:
            waiting.future.set_result(None)
            running.discard(search)
        else:
            self._waiting[ticket] = waiting
            waiting.begin()
        return _answers(waiting, None if timeout_s is None else loop.call_later(timeout_s, search.expire))

    def renew_after_fork(self) -> None:
        """In a forked child: its searches end in the parent, and the loop watches the parent's descriptors, too."""
        self._forked = True
        waiting, self._waiting = self._waiting, {}
        for each in waiting.values():
            if not each.has_left and not each.future.done():
                each.future.set_exception(UnsupportedError(_FORKED))
                each.future.exception()  # nobody may be left to ask for it

    def _deliver(self) -> None:
        if self._forked:
            return  # what there is to take is the parent's
        for ticket in self._ended.take():
            waiting = self._waiting.pop(ticket, None)
            if waiting is None:
                continue  # answered before it waited: its call failed
            waiting.end()
            if not waiting.has_left and not waiting.future.done():
                waiting.future.set_result(None)


async def _answers(waiting: _Waiting, timer: asyncio.TimerHandle | None) -> tuple[Any, ...]:
    try:
        await waiting.future
    except BaseException:
        waiting.has_left = True
        waiting.search.cancel()
        raise
    finally:
        if timer is not None:
            timer.cancel()
    return waiting.search.result()


_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopSearches] = weakref.WeakKeyDictionary()


def loop_searches() -> LoopSearches:
    """Those of the running event loop.

    Raises:
        UnsupportedError: No event loop runs on this thread, or it cannot watch descriptors.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise UnsupportedError("search_async needs a running event loop of this process; see asyncio.run") from None
    found = _loops.get(loop)
    if found is None:
        for each in [each for each in list(_loops) if each.is_closed()]:
            _loops.pop(each, None)
        found = _loops[loop] = LoopSearches(loop)
    return found
