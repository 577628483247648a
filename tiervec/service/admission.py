"""How many searches run and wait at once: the bound that keeps an overloaded server answering."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tiervec.errors import DeadlineExceededError, ResourceExhaustedError
from tiervec.rpc.limits import usable_time_left

__all__ = ["Admission"]


class Admission:
    """Slots for running searches and a bounded queue in front of them.

    Args:
        running_limit: Searches that hold a slot at once.
        waiting_limit: Searches that may wait for one.
    """

    def __init__(self, running_limit: int, waiting_limit: int) -> None:
        self._running_limit = running_limit
        self._waiting_limit = waiting_limit
        self._running = 0
        self._waiting = 0
        self._freed = threading.Condition()

    @contextmanager
    def slot(self, time_left_s: float | None) -> Iterator[float | None]:
        """Holds a slot; waits for one no longer than ``time_left_s`` seconds.

        Args:
            time_left_s: None, or more than a year: without end.

        Yields:
            The seconds that are left after the wait, more than 0, or None.

        Raises:
            ResourceExhaustedError: Too many searches wait already.
            DeadlineExceededError: No slot came free in time.
        """
        left_s = self._enter(time_left_s)
        try:
            yield left_s
        finally:
            with self._freed:
                self._running -= 1
                self._freed.notify()

    def _enter(self, time_left_s: float | None) -> float | None:
        time_left_s = usable_time_left(time_left_s)
        deadline = None if time_left_s is None else time.monotonic() + time_left_s
        with self._freed:
            if self._waiting or self._running >= self._running_limit:  # first come, first served
                self._wait(deadline)
            left_s = None if deadline is None else deadline - time.monotonic()
            if left_s is not None and left_s <= 0:
                self._freed.notify()  # the wake-up that brought us here belongs to the next one
                raise DeadlineExceededError("the call's deadline passed before its search began")
            self._running += 1
            return left_s

    def _wait(self, deadline: float | None) -> None:
        if self._waiting >= self._waiting_limit:
            raise ResourceExhaustedError(
                f"the server is busy: {self._running} searches run and {self._waiting} wait; try again later"
            )
        self._waiting += 1
        try:
            self._freed.wait_for(
                lambda: self._running < self._running_limit, None if deadline is None else deadline - time.monotonic()
            )
        finally:
            self._waiting -= 1
        if self._running >= self._running_limit:
            raise DeadlineExceededError("the call's deadline passed while it waited for other searches")
