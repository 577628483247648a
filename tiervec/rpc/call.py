"""One call as its handler sees it, in a thread: the client, its headers, the time left, and when it has gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from tiervec.rpc.limits import peer_host, usable_time_left

__all__ = ["Call"]


class Call:
    """What gRPC knows of a call. Safe to use from many threads.

    Args:
        method: ``Search``, without its service.
        context: The context of grpc.aio.

    Attributes:
        method: As above.
        address: The client as gRPC names it, with its port.
        host: The client for bounds: see `CallLimits`.
    """

    __slots__ = ("_callbacks", "_context", "_deadline", "_lock", "address", "host", "method")

    def __init__(self, method: str, context: Any) -> None:
        self.method = method
        self.address: str = context.peer()
        self.host = peer_host(self.address)
        self._context = context
        left_s = usable_time_left(context.time_remaining())
        self._deadline = None if left_s is None else time.monotonic() + left_s
        self._callbacks: list[Callable[[], object]] | None = []
        self._lock = threading.Lock()

    def headers(self) -> dict[str, str]:
        """Headers of text; the last of each name."""
        return {key: value for key, value in self._context.invocation_metadata() or () if isinstance(value, str)}

    def time_left_s(self) -> float | None:
        """Seconds until the client stops waiting, 0 or more; None: it waits without end."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def on_end(self, callback: Callable[[], object]) -> None:
        """Calls `callback` when the call ends, also by a client that went away; at once when it has."""
        with self._lock:
            if self._callbacks is not None:
                self._callbacks.append(callback)
                return
        callback()

    def end(self) -> None:
        """The call has ended."""
        with self._lock:
            callbacks, self._callbacks = self._callbacks or [], None
        for callback in callbacks:
            callback()
