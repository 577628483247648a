"""Native work that the caller can watch and stop: Ctrl-C ends it within a moment."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from tiervec import _core
from tiervec.errors import UnsupportedError
from tiervec.machine.processes import NativeWork, NoThreadError, native_work, starting_threads

__all__ = ["BuildProgress", "run_interruptibly", "run_monitored", "run_search"]

_log = logging.getLogger(__name__)

T = TypeVar("T")
#: Called with (stage, steps done, steps in all, seconds left or None). What it raises stops the work.
BuildProgress = Callable[[str, int, int, "float | None"], None]

_POLL_S = 0.1
_LONGEST_START_S = 10.0  # of a thread
# From here on a search runs beside the caller's thread: many queries, or a slow device.
_LONG_SEARCH_QUERIES = 64
_LONG_SEARCH_LATENCY_US = 1000.0


def run_interruptibly(
    call: Callable[[], T], cancel: Callable[[], None] | None, watch: Callable[[], None] | None = None
) -> T:
    """Runs `call` on another thread and waits, so that signals reach this one.

    An exception here, KeyboardInterrupt among them, calls `cancel`, waits for `call` to end and goes on.

    Args:
        call: Native work that releases the GIL.
        cancel: Makes `call` return or raise soon. None: nothing does, so it is not waited for; it ends by itself, and
            must not need anything that the caller takes away.
        watch: Called every tenth of a second meanwhile.

    Raises:
        NoThreadError: At once, when the system gives no more threads.
        UnsupportedError: In a child that was forked meanwhile, as by a signal handler: the work is the parent's.
    """
    outcome: list[T] = []
    failure: list[BaseException] = []
    # Not Thread.join: a signal handler that raises inside join(timeout) makes CPython 3.11 take the thread for ended.
    done = threading.Event()
    native, process = NativeWork(cancel), os.getpid()

    def work() -> None:
        try:
            native.begin()  # here, because a thread that never starts would never end
            outcome.append(call())
        except BaseException as error:
            failure.append(error)
        finally:
            native.end()
            done.set()

    thread = threading.Thread(target=work, name="tiervec-native", daemon=True)
    try:
        with starting_threads("native work"):
            thread.start()  # waits for the thread, so a signal may end this, too
        while not done.wait(_POLL_S):
            if os.getpid() != process:
                raise UnsupportedError(
                    "this process was forked during a call of tiervec, which ends in the parent only"
                )
            if watch is not None:
                watch()
    except NoThreadError:
        raise
    except BaseException:
        if cancel is not None and os.getpid() == process:
            cancel()
            while not done.wait(_LONGEST_START_S) and thread.ident is not None:
                pass  # it runs; without an ident, start was interrupted before there was a thread
        raise
    if failure:
        raise failure[0]
    return outcome[0]


def run_monitored(stage: str, call: Callable[[_core.WorkMonitor], T], progress: BuildProgress | None) -> T:
    """Runs one stage of a build; reports its progress with the time that is left at the pace so far."""
    monitor = _core.WorkMonitor()
    began = time.monotonic()

    def watch() -> None:
        if progress is None:
            return
        done, total = min(monitor.done, monitor.total), monitor.total
        elapsed = time.monotonic() - began
        progress(stage, done, total, elapsed / done * (total - done) if done else None)

    result = run_interruptibly(lambda: call(monitor), monitor.cancel, watch)
    if monitor.threads_refused:
        _log.warning("%s: the system gave %d threads fewer than were asked for", stage, monitor.threads_refused)
    watch()
    return result


def run_search(call: Callable[[], T], cancel: Callable[[], None], queries: int, latency_us: float) -> T:
    """Runs the search of so many queries on a device with this latency of a read; Ctrl-C stops a long one.

    A short one runs on the caller's thread, which is faster and ends by itself within a moment.
    """
    is_long = queries >= _LONG_SEARCH_QUERIES or latency_us >= _LONG_SEARCH_LATENCY_US
    if is_long:
        return run_interruptibly(call, cancel)
    with native_work(cancel):
        return call()
