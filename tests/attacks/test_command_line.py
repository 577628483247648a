"""Every option of every command with texts that people mistype: one line on stderr, an exit status, and no traceback.

The options come from the parser, so that a new one is tested without a line here. With ``--json`` stdout holds one
document or nothing.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import tiervec
from tiervec.cli.main import _parser, main
from tiervec.vectors.ground_truth import write_ground_truth


class Outcome(NamedTuple):
    """What a command left."""

    status: int
    out: str
    err: str


class Terminal:
    """Runs commands in this process, with stdout and stderr of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def run(self, arguments: tuple[str, ...]) -> Outcome:
        """One command."""
        streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2)]
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", streams[0])
            patch.setattr(sys, "stderr", streams[1])
            status = main(arguments)
        out, err = (stream.buffer.getvalue().decode() for stream in streams)  # type: ignore[attr-defined]
        return Outcome(status, out, err)


def problem(arguments: tuple[str, ...], done: Outcome) -> str | None:
    """What is wrong with how a command ended, or None."""
    lines = done.err.splitlines()
    if done.status not in (0, 1, 2):
        return f"status {done.status}"
    if "Traceback" in done.err or "a bug of tiervec" in done.err:
        return "a bug"
    errors = [line for line in lines if "error: " in line]
    if done.status == 1 and len(errors) != 1:
        return f"{len(errors)} lines of errors"
    if done.status == 2 and not (errors and lines[0].startswith("usage: ")):
        return "no usage"
    if max(map(len, lines), default=0) > 6000:
        return "a very long line"
    if done.status and done.out:
        return "output beside an error"
    if done.status == 0 and "--json" in arguments:
        json.loads(done.out)
    return None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Indexes, vectors and ground truth."""
    folder = tmp_path_factory.mktemp("command-line")
    vectors = np.random.default_rng(3).normal(size=(80, 8)).astype(np.float32)
    tiervec.build(vectors, folder / "graph", params={"graph_degree": 8}, threads=1)
    tiervec.build(vectors, folder / "cluster", kind="cluster", threads=1)
    np.save(folder / "v.npy", vectors)
    write_ground_truth(folder / "truth.bin", np.arange(400).reshape(80, 5))
    (folder / "config.toml").write_text('listen = "127.0.0.1:0"\n')
    return folder


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that a server cannot have, so that it ends at once."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def texts(folder: Path) -> tuple[str, ...]:
    """What people give where something else is meant."""
    return (
        "",
        " ",
        "a",
        "0",
        "-1",
        "1.5",
        "nan",
        "inf",
        "1e400",
        "9" * 30,
        "9" * 5000,
        "a=b",
        "search_list=9" + "9" * 400,
        "layout=",
        "=",
        "8G",
        "1TiB",
        "数",
        "\udcff",
        "a\nb",
        "x" * 5000,
        "%s%n{}",
        "dram:",
        "ssd:x",
        "emulated:none",
        "tcp://",
        "tcp://127.0.0.1:1/r?timeout_ms=1",
        "127.0.0.1:1",
        "[::1]:99999",
        "../../../../etc/passwd",
        "/dev/null",
        "/proc/self/mem",
        str(folder),
        str(folder / "graph"),
        str(folder / "none"),
        str(folder / "v.npy"),
        str(folder / "graph" / "manifest.json"),
    )


def some(every: tuple[str, ...], choice: random.Random) -> tuple[str, ...]:
    """A few of them, all where the attacks are to run for long."""
    return every if "TIERVEC_FUZZ_ROUNDS" in os.environ else tuple(choice.sample(every, 6))


def commands(parser: argparse.ArgumentParser, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(words of a command, its parser) for all commands."""
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not inner:
        yield path, parser
    for action in inner:
        for name, child in action.choices.items():
            yield from commands(child, (*path, name))


def valid(words: tuple[str, ...], folder: Path, out: Path, port: int) -> dict[str, str]:
    """Options of a command that is right, or fails late and at once."""
    v, graph = str(folder / "v.npy"), str(folder / "graph")
    return {
        ("build",): {"--data": v, "--out": str(out), "--threads": "1"},
        ("import", "diskann"): {"directory": str(folder), "--out": str(out)},
        ("info",): {"directory": graph},
        ("verify",): {"directory": graph},
        ("relayout",): {"directory": graph, "--out": str(out), "--set": "layout=plain"},
        ("search",): {"directory": graph, "--queries": v, "--threads": "1", "--k": "2"},
        ("serve",): {"indexes": graph, "--listen": f"127.0.0.1:{port}"},
        ("publish",): {"directory": graph, "--to": "tcp://127.0.0.1:1/r"},
        ("memory-node",): {"--listen": f"127.0.0.1:{port}", "--capacity": "1MiB"},
        ("regions",): {"node": "127.0.0.1:1"},
        ("profile",): {"url": "none:"},
        ("advise",): {"--data": str(folder / "none.npy")},
        ("bench", "list"): {"--cache": str(out)},
        ("bench", "fetch"): {"dataset": "none", "--cache": str(out)},
        ("bench", "setup"): {"system": "none", "--cache": str(out)},
        ("bench", "run"): {"plan": "none", "--cache": str(out), "--results": str(out)},
        ("bench", "compare"): {"runs": str(out), "--a": "a", "--b": "b"},
        ("bench", "report"): {"runs": str(out)},
        ("doctor",): {},
    }[words]


def words_of(words: tuple[str, ...], options: dict[str, str]) -> tuple[str, ...]:
    """The command line; a positional argument stands behind ``--`` when it begins with a dash."""
    named = [f"{name}={text}" for name, text in options.items() if name.startswith("-")]
    placed = [text for name, text in options.items() if not name.startswith("-")]
    return (*words, *named, "--", *placed)


@pytest.mark.parametrize("words", [words for words, _ in commands(_parser())], ids=" ".join)
def test_every_option_with_every_text(
    words: tuple[str, ...], folder: Path, tmp_path: Path, taken_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIERVEC_CACHE", str(tmp_path / "cache"))
    terminal = Terminal(monkeypatch)
    parser = dict(commands(_parser()))[words]
    problems = []
    choice = random.Random(0)
    options_with_values = [action for action in parser._actions if action.nargs != 0]
    given = [(action, text) for action in options_with_values for text in some(texts(folder), choice)]
    for number, (action, text) in enumerate(given):
        name = action.option_strings[0] if action.option_strings else action.dest
        options = {**valid(words, folder, tmp_path / f"out-{number}", taken_port), name: text}
        json_option = ("--json",) if any(other.option_strings == ["--json"] for other in parser._actions) else ()
        line = (*words, *json_option, *words_of((), options))
        try:
            done = terminal.run(line)
            wrong = problem(line, done)
        except BaseException as error:  # SystemExit too
            done, wrong = Outcome(-1, "", ""), f"{type(error).__name__}: {error}"
        if wrong is not None:
            problems.append(f"{name}={text[:40]!r}: {wrong}: {done.err[-300:]}")
    assert not problems, "\n".join(problems)
