"""``tiervec serve`` in this process, up to the signal that ends it."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tiervec.client import Client
from tiervec.errors import NotFoundError, UnavailableError


@pytest.fixture
def address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def visitor(address: str, fake_index: Any) -> Iterator[Future[list[str]]]:
    """Waits for the server, searches once, sends SIGTERM; gives the names of the served indexes."""

    def visit() -> list[str]:
        try:
            with Client(address, timeout_s=60) as client:
                while not _answers(client):
                    time.sleep(0.02)
                names = client.indexes()
                assert client.search(names[0], fake_index.vectors[:1], 1).ids.tolist() == [[0]]
                return names
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(visit)


def _answers(client: Client) -> bool:
    try:
        return client.is_serving()
    except (UnavailableError, NotFoundError):
        return False


def test_serves_until_sigterm(
    command: Any, opened: Any, fake_index: Any, address: str, visitor: Future[list[str]], tmp_path: Path
) -> None:
    folder = tmp_path / "photographs"
    arguments = ["--index", "peps=some/dir", "--index", folder, "--listen", address, "--tier", "mmap:", "--threads", 1]
    outcome = command("serve", *arguments)
    assert visitor.result() == ["peps", "photographs"]
    assert (outcome.status, outcome.out) == (0, "")
    assert f"listening on {address}\n" in outcome.err
    assert fake_index.closed
    assert opened == [
        {"path": "some/dir", "tier": "mmap:", "fast_memory": None, "threads": 1},
        {"path": str(folder), "tier": "mmap:", "fast_memory": None, "threads": 1},
    ]


def test_options_win_over_the_file(
    command: Any, opened: Any, address: str, visitor: Future[list[str]], tmp_path: Path
) -> None:
    config = tmp_path / "serve.toml"
    config.write_text(
        "listen = '192.0.2.1:1'\ntier = 'dram:'\n[[index]]\npath = 'a'\n"
        "[[index]]\nname = 'b'\npath = 'x'\ntier = 'mmap:'\n"
    )
    arguments = ["--config", config, "--index", "c=y", "--listen", address, "--tier", "emulated:cxl-x8"]
    assert command("serve", *arguments).status == 0
    assert visitor.result() == ["a", "b", "c"]
    assert [(call["path"], call["tier"]) for call in opened] == [
        (str(tmp_path / "a"), "emulated:cxl-x8"),
        (str(tmp_path / "x"), "mmap:"),
        ("y", "emulated:cxl-x8"),
    ]


def test_mistakes(command: Any, opened: Any, fake_index: Any, tmp_path: Path) -> None:
    config = tmp_path / "serve.toml"
    config.write_text("listn = 'a:1'\n")
    outcome = command("serve", "--config", config)
    assert outcome.status == 1
    assert "unknown key 'listn'" in outcome.err
    assert "does not exist" in command("serve", "--config", tmp_path / "none.toml").err
    assert "must be HOST:PORT" in command("serve", "--index", "a=x", "--listen", "7700").err
    assert "two indexes are called 'a'" in command("serve", "--index", "a=x", "--index", "a=y").err


def test_a_taken_port(command: Any, opened: Any, fake_index: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        outcome = command("serve", "--index", "a=x", "--listen", address)
    assert outcome.status == 1
    assert outcome.err == f"tiervec: error: cannot listen on {address}: Address already in use\n"
    assert fake_index.closed
    assert threading.active_count() < 20


def test_on_remote_memory_it_says_when_the_first_query_was_answered(
    command: Any, opened: Any, address: str, visitor: Future[list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        outcome = command("serve", "--index", "peps=some/dir", "--listen", address, "--tier", "tcp://node:1/peps")
    assert visitor.result() == ["peps"]
    assert outcome.status == 0
    assert "first query answered after" in caplog.text
