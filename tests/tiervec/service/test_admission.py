from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tiervec.errors import DeadlineExceededError, ResourceExhaustedError
from tiervec.service.admission import Admission


def test_never_more_at_once_than_allowed() -> None:
    admission = Admission(running_limit=3, waiting_limit=100)
    lock, running, most = threading.Lock(), [0], [0]

    def work(_: int) -> None:
        for _ in range(50):
            with admission.slot(None):
                with lock:
                    running[0] += 1
                    most[0] = max(most[0], running[0])
                with lock:
                    running[0] -= 1

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    assert running[0] == 0
    assert 1 <= most[0] <= 3


def test_no_waiting_allowed() -> None:
    admission = Admission(running_limit=1, waiting_limit=0)
    with (
        admission.slot(None),
        pytest.raises(ResourceExhaustedError, match="1 searches run and 0 wait"),
        admission.slot(1),
    ):
        pass
    with admission.slot(None):
        pass


@pytest.mark.realtime
def test_late_calls_leave_the_slots_alone() -> None:
    admission = Admission(running_limit=1, waiting_limit=8)
    with admission.slot(None), pytest.raises(DeadlineExceededError, match="while it waited"), admission.slot(0.01):
        pass
    with pytest.raises(DeadlineExceededError, match="before its search began"), admission.slot(0):
        pass
    with admission.slot(1):
        pass


@pytest.mark.parametrize("without_end", [None, math.inf, 9.3e9, 1e300])
def test_a_time_that_no_wait_can_take_is_a_wait_without_end(without_end: float | None) -> None:
    admission = Admission(running_limit=1, waiting_limit=1)
    entered = threading.Event()

    def wait() -> float | None:
        with admission.slot(without_end) as left_s:
            entered.set()
            return left_s

    with ThreadPoolExecutor(1) as pool:
        with admission.slot(without_end):
            waiting = pool.submit(wait)
            while not admission._waiting:
                assert not waiting.done()
            assert not entered.is_set()
        assert waiting.result() is None


@pytest.mark.parametrize("over", [0.0, -1.0, -math.inf, math.nan])
def test_a_time_that_is_over_is_refused(over: float) -> None:
    admission = Admission(running_limit=1, waiting_limit=1)
    with pytest.raises(DeadlineExceededError), admission.slot(over):
        pass
    with admission.slot(None), pytest.raises(DeadlineExceededError), admission.slot(over):
        pass
    with admission.slot(None):
        pass


def test_a_failing_search_gives_its_slot_back() -> None:
    admission = Admission(running_limit=1, waiting_limit=0)
    with pytest.raises(ZeroDivisionError), admission.slot(None):
        raise ZeroDivisionError
    with admission.slot(None):
        pass


@pytest.mark.realtime
def test_short_deadlines_under_contention_lose_no_slot() -> None:
    admission = Admission(running_limit=2, waiting_limit=100)

    def work(number: int) -> None:
        for step in range(100):
            try:
                with admission.slot(0.0001 * ((number + step) % 5)):
                    pass
            except DeadlineExceededError:
                continue

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    assert (admission._running, admission._waiting) == (0, 0)
    with admission.slot(None), admission.slot(None):  # both slots are there
        assert admission._running == 2
