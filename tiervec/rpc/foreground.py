"""A server in the foreground: it answers until its process is told to end."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from types import FrameType

__all__ = ["run_until_signalled"]

_log = logging.getLogger(__name__)


def run_until_signalled(
    *,
    start: Callable[[], None],
    stop: Callable[[], None],
    cut_short: Callable[[], object],
    on_ready: Callable[[], None],
    drain_s: float,
) -> None:
    """Starts a server, and stops it at SIGTERM or SIGINT; a second signal ends the draining at once. Main thread only.

    Args:
        start: Returns once calls are answered.
        stop: Lets running calls finish, for up to `drain_s`, which is only said here.
        cut_short: Called on each further signal, in its handler, while `stop` waits.
        on_ready: Called after `start`.
        drain_s: What running calls are given, in seconds.
    """
    signalled = threading.Event()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if signalled.is_set():
            cut_short()
            return
        _log.info("%s: stopping, running calls get %g s", signal.Signals(number).name, drain_s)
        signalled.set()

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        start()
        on_ready()
        signalled.wait()
        stop()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
