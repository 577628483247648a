"""Exit statuses and the one line of an error, whatever goes wrong."""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import tiervec
from tiervec.errors import DataLossError, NotFoundError
from tiervec.index_files.directory import IndexDirectory


def test_no_command_is_a_usage_error(command: Any) -> None:
    outcome = command()
    assert outcome.status == 2
    assert "usage: tiervec" in outcome.err
    assert outcome.out == ""


@pytest.mark.parametrize("name", ["build", "info", "verify", "search", "serve", "profile", "doctor"])
def test_every_command_has_help(command: Any, name: str) -> None:
    outcome = command(name, "--help")
    assert outcome.status == 0
    assert f"usage: tiervec {name}" in outcome.out
    assert name in command("--help").out


def test_version(command: Any) -> None:
    assert command("--version").out == f"tiervec {tiervec.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["info"],
        ["info", "a", "b"],
        ["info", "--jsn", "a"],
        ["build", "--data", "x.npy"],
        ["build", "--data", "x.npy", "--out", "y", "--kind", "tree"],
        ["build", "--data", "x.npy", "--out", "y", "--set", "alpha"],
        ["build", "--data", "x.npy", "--out", "y", "--threads", "-1"],
        ["build", "--data", "x.npy", "--out", "y", "--memory-limit", "8G"],
        ["search", "d", "--queries", "q", "--k", "0"],
        ["search", "d", "--queries", "q", "--k", "ten"],
        ["search", "d", "--queries", "q", "--repeat", "0"],
        ["search", "d", "--queries", "q", "--target-recall", "1.5"],
        ["search", "d", "--queries", "q", "--target-recall", "0.9", "--set", "search_list=10"],
        ["serve"],
        ["serve", "--index", "=x"],
        ["serve", "--index", "a", "--tls-cert", "x"],
    ],
)
def test_usage_errors(command: Any, arguments: list[str]) -> None:
    outcome = command(*arguments)
    assert outcome.status == 2
    assert outcome.out == ""
    assert "usage: " in outcome.err
    assert "error: " in outcome.err


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (NotFoundError("index directory 'x' does not exist"), "index directory 'x' does not exist"),
        (DataLossError("two\nlines"), "two lines"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), "/x/y: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (MemoryError(), "out of memory"),
        (ZeroDivisionError("oops"), "ZeroDivisionError: oops (a bug of tiervec; TIERVEC_DEBUG=1 shows where)"),
    ],
)
def test_an_error_is_one_line(command: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, line: str) -> None:
    monkeypatch.delenv("TIERVEC_DEBUG", raising=False)
    monkeypatch.setattr(IndexDirectory, "open", _raises(error))
    outcome = command("info", "x", "--json")
    assert outcome == (1, "", f"tiervec: error: {line}\n")


def test_traceback_on_request(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIERVEC_DEBUG", "1")
    monkeypatch.setattr(IndexDirectory, "open", _raises(ZeroDivisionError("oops")))
    outcome = command("info", "x")
    assert outcome.status == 1
    assert "Traceback" in outcome.err
    assert "tiervec: error: ZeroDivisionError: oops" in outcome.err.splitlines()[-1]


def test_ctrl_c(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IndexDirectory, "open", _raises(KeyboardInterrupt()))
    assert command("info", "x") == (130, "", "tiervec: interrupted\n")


def test_sigterm_unwinds(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cleaned = []

    def slow_open(*_: Any, **__: Any) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.sigtimedwait([signal.SIGUSR1], 5)
        finally:
            cleaned.append(True)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(IndexDirectory, "open", slow_open)
    assert command("info", "x") == (143, "", "tiervec: ended by SIGTERM\n")
    assert cleaned
    assert signal.getsignal(signal.SIGTERM) is before


def test_reader_of_our_output_went_away(command: Any, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "write", _raises(BrokenPipeError(errno.EPIPE, "Broken pipe")))
    assert command("info", saved).status == 141


def _raises(error: BaseException) -> Any:
    def function(*_: Any, **__: Any) -> None:
        raise error

    return function
