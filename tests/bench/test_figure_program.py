"""What the programs that print figures share."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from tiervec.bench.figure_program import finish, program, short
from tiervec.errors import NotFoundError


@dataclass
class Pair:
    low: float
    high: float


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.base == "nowhere":
        raise NotFoundError("there is no nowhere")
    return {"base": arguments.base, "spread": Pair(1.0, 2.0)}


def show(result: dict[str, Any]) -> None:
    sys.stdout.write(f"base is {result['base']}\n")


def status(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["some_figures", *arguments])
    parser = program("some_figures", "What some cost.\n\nMore about it.", needed=("base",))
    return finish(parser, run, show, failed=lambda result: result["base"] == "wrong")


def test_text_or_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(monkeypatch, "--base", "here") == 0
    assert capsys.readouterr().out == "base is here\n"
    assert status(monkeypatch, "--base", "here", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"base": "here", "spread": {"low": 1.0, "high": 2.0}}


def test_a_wrong_result_shows_in_the_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(monkeypatch, "--base", "wrong") == 1
    assert capsys.readouterr().out == "base is wrong\n"


def test_an_error_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(monkeypatch, "--base", "nowhere") == 1
    assert capsys.readouterr().err == "python -m tiervec.bench.some_figures: there is no nowhere\n"
    with pytest.raises(SystemExit) as ended:
        status(monkeypatch)
    assert ended.value.code == 2
    assert "--base" in capsys.readouterr().err


def test_help_is_the_first_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        status(monkeypatch, "--help")
    said = capsys.readouterr().out
    assert "What some cost." in said
    assert "More about it" not in said


def test_numbers_are_short() -> None:
    assert [short(value) for value in (1234.5678, 0.00012345, 7, "text")] == ["1235", "0.0001234", "7", "text"]
