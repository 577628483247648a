from __future__ import annotations

import signal
import threading
from typing import Any

import numpy as np
import pytest

from tiervec import _core
from tiervec.errors import CancelledError
from tiervec.machine.interruptible import run_interruptibly, run_monitored


class Work:
    """Goes on until it is cancelled or told to end."""

    def __init__(self, result: Any = None) -> None:
        self.result = result
        self.end = threading.Event()
        self.cancelled = False
        self.ended = False
        self.thread: threading.Thread | None = None

    def __call__(self) -> Any:
        self.thread = threading.current_thread()
        assert self.end.wait(60)
        self.ended = True
        if self.cancelled:
            raise CancelledError("stopped by request")
        return self.result

    def cancel(self) -> None:
        self.cancelled = True
        self.end.set()


def test_the_result_comes_back_from_another_thread() -> None:
    work = Work("done")
    work.end.set()
    assert run_interruptibly(work, work.cancel) == "done"
    assert work.thread is not threading.current_thread()
    assert not work.cancelled


def test_an_error_of_the_work_is_raised_here() -> None:
    def fail() -> None:
        raise ZeroDivisionError("of the work")

    with pytest.raises(ZeroDivisionError, match="of the work"):
        run_interruptibly(fail, lambda: None)


def test_the_watcher_is_called_meanwhile() -> None:
    work, calls = Work(), []

    def watch() -> None:
        calls.append(None)
        if len(calls) == 3:
            work.end.set()

    run_interruptibly(work, work.cancel, watch)
    assert len(calls) >= 3
    assert not work.cancelled


def test_an_error_of_the_watcher_stops_the_work_and_waits_for_it() -> None:
    work = Work()

    def watch() -> None:
        raise KeyError("of the watcher")

    with pytest.raises(KeyError, match="of the watcher"):
        run_interruptibly(work, work.cancel, watch)
    assert work.cancelled
    assert work.ended


def test_ctrl_c_stops_the_work_and_waits_for_it() -> None:
    work = Work()
    timer = threading.Timer(0.3, lambda: signal.raise_signal(signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        run_interruptibly(work, work.cancel)
    timer.join()
    assert work.cancelled
    assert work.ended


def test_it_works_on_a_thread_without_signals() -> None:
    results: list[Any] = []
    work = Work(7)
    work.end.set()
    thread = threading.Thread(target=lambda: results.append(run_interruptibly(work, work.cancel)))
    thread.start()
    thread.join(60)
    assert results == [7]


def test_a_monitored_stage_reports_and_ends_at_its_total() -> None:
    base = np.zeros((2000, 8), np.float32)
    seen: list[tuple[str, int, int, float | None]] = []
    ids, _ = run_monitored(
        "comparing",
        lambda monitor: _core.exact_search(base, "l2", base, 1, None, 1, monitor),
        lambda *step: seen.append(step),
    )
    assert ids.shape == (2000, 1)
    assert seen[-1] == ("comparing", 2000, 2000, 0.0)
    assert all(stage == "comparing" and 0 <= done <= total for stage, done, total, _ in seen)


def test_an_error_of_the_callback_stops_native_work() -> None:
    base = np.random.default_rng(1).normal(size=(20_000, 64)).astype(np.float32)

    def progress(stage: str, done: int, total: int, eta_s: float | None) -> None:
        raise OverflowError("of the callback")

    monitors: list[_core.WorkMonitor] = []

    def compare(monitor: _core.WorkMonitor) -> Any:
        monitors.append(monitor)
        return _core.exact_search(base, "l2", base, 9, None, 1, monitor)

    with pytest.raises(OverflowError, match="of the callback"):
        run_monitored("comparing", compare, progress)
    assert monitors[0].done < monitors[0].total, "it went on to the end"


def test_a_cancelled_monitor_is_a_cancelled_error() -> None:
    monitor = _core.WorkMonitor()
    monitor.cancel()
    base = np.zeros((10, 2), np.float32)
    with pytest.raises(CancelledError):
        _core.exact_search(base, "l2", base, 1, None, 1, monitor)
