from __future__ import annotations

import logging
import os
import signal
import threading

import pytest

from tiervec.rpc.foreground import run_until_signalled


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops(number: signal.Signals, caplog: pytest.LogCaptureFixture) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    happened: list[str] = []

    def on_ready() -> None:
        happened.append("ready")
        send(number)

    with caplog.at_level(logging.INFO):
        run_until_signalled(
            start=lambda: happened.append("start"),
            stop=lambda: happened.append("stop"),
            cut_short=lambda: happened.append("cut short"),
            on_ready=on_ready,
            drain_s=2.5,
        )
    assert happened == ["start", "ready", "stop"]
    assert caplog.messages == [f"{number.name}: stopping, running calls get 2.5 s"]
    assert {each: signal.getsignal(each) for each in before} == before


def test_a_second_signal_ends_the_draining() -> None:
    drained = threading.Event()

    def stop() -> None:
        send(signal.SIGTERM)
        assert drained.wait(60)

    run_until_signalled(
        start=lambda: None, stop=stop, cut_short=drained.set, on_ready=lambda: send(signal.SIGINT), drain_s=60
    )
    assert drained.is_set()


def test_a_start_that_fails_leaves_the_handlers_as_they_were() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def fail() -> None:
        raise RuntimeError("no start")

    with pytest.raises(RuntimeError, match="no start"):
        run_until_signalled(start=fail, stop=lambda: None, cut_short=lambda: None, on_ready=lambda: None, drain_s=1)
    assert signal.getsignal(signal.SIGTERM) is before
