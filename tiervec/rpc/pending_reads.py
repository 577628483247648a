"""Calls whose next message has not come: bounded in number and time, oldest first.

A client may open a call and send nothing. Such a call holds no thread, and its place goes to the next one that needs
it: above the bound the read that has waited longest ends. A client that sends its message at once is never kept out.
Used on the event loop only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tiervec.errors import DeadlineExceededError, ResourceExhaustedError, TiervecError, UnavailableError

__all__ = ["PendingReads"]


class _Read:
    def __init__(self, task: asyncio.Task[Any], ends_at: float) -> None:
        self.task = task
        self.ends_at = ends_at
        self.error: TiervecError | None = None


class PendingReads:
    """Reads under way.

    Args:
        limit: Reads of all clients at once.
        limit_per_peer: Reads of one.
        timeout_s: What a read may take.
    """

    def __init__(self, limit: int, limit_per_peer: int, timeout_s: float) -> None:
        self._limit = limit
        self._limit_per_peer = limit_per_peer
        self._timeout_s = timeout_s
        # Ordered by age; all have the same time, so the oldest is also the first that is over.
        self._reads: dict[_Read, str] = {}
        self._by_peer: dict[str, dict[_Read, None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    def __len__(self) -> int:
        return len(self._reads)

    async def read(self, peer: str, read: Callable[[], Awaitable[Any]]) -> Any:
        """The message that `read` waits for.

        Raises:
            DeadlineExceededError: It did not come in time.
            ResourceExhaustedError: It did not come, and another call needed the place.
            UnavailableError: The server stops.
        """
        if self._stopped:
            raise UnavailableError("the server is stopping")
        task = asyncio.current_task()
        assert task is not None
        pending = _Read(task, asyncio.get_running_loop().time() + self._timeout_s)
        self._make_room(peer)
        self._reads[pending] = peer
        self._by_peer.setdefault(peer, {})[pending] = None
        if self._timer is None:
            self._watch_oldest()
        try:
            return await read()
        except asyncio.CancelledError:
            if pending.error is None:
                raise  # the client went away
            raise pending.error from None
        finally:
            self._forget(pending)

    def stop(self) -> None:
        """Ends all reads, also those to come."""
        self._stopped = True
        for pending in tuple(self._reads):
            self._end(pending, UnavailableError("the server is stopping"))

    def _make_room(self, peer: str) -> None:
        own = self._by_peer.get(peer, {})
        full = own if len(own) >= self._limit_per_peer else self._reads if len(self._reads) >= self._limit else {}
        for oldest in full:
            self._end(
                oldest,
                ResourceExhaustedError(
                    f"the call's message did not come, and {len(full)} calls wait for theirs, the most that may"
                ),
            )
            break

    def _end(self, pending: _Read, error: TiervecError) -> None:
        pending.error = error
        self._forget(pending)
        pending.task.cancel()

    def _forget(self, pending: _Read) -> None:
        peer = self._reads.pop(pending, None)
        if peer is None:
            return
        own = self._by_peer[peer]
        del own[pending]
        if not own:
            del self._by_peer[peer]

    def _watch_oldest(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        while self._reads:
            oldest = next(iter(self._reads))
            if oldest.ends_at > loop.time():
                self._timer = loop.call_at(oldest.ends_at, self._watch_oldest)
                return
            self._end(oldest, DeadlineExceededError(f"the call's message did not come within {self._timeout_s:g} s"))
