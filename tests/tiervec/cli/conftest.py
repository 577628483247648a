from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import tiervec
from tiervec.cli.main import main
from tiervec.index_files.directory import IndexDescription, IndexDirectoryWriter


class Outcome(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Outcome]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs ``tiervec ARGUMENTS...`` in this process."""

    def run(*arguments: object) -> Outcome:
        status = main([str(argument) for argument in arguments])
        return Outcome(status, *capsys.readouterr())

    return run


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, fake_index: Any) -> list[dict[str, Any]]:
    """Makes ``tiervec.open`` return the fake index; the list holds the arguments of each call."""
    calls: list[dict[str, Any]] = []

    def fake_open(path: Any, **arguments: Any) -> Any:
        calls.append({"path": str(path), **arguments})
        return fake_index

    monkeypatch.setattr(tiervec, "open", fake_open)
    return calls


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """An index directory with a manifest and sections, whose content no engine would take."""
    out = tmp_path / "saved"
    with IndexDirectoryWriter(out) as writer:
        writer.write_section("codes", bytes(4000), placement="fast")
        writer.write_section("records", bytes(4800), placement="tier")
        description = IndexDescription(
            kind="graph",
            metric="l2",
            dtype="float32",
            dim=8,
            vectors=100,
            dataset_bytes=3200,
            params={"graph_degree": 32, "alpha": 1.2},
        )
        writer.commit(description)
    return out


@pytest.fixture
def queries(tmp_path: Path, fake_index: Any) -> Path:
    """Five queries close to the fake index's first vectors."""
    path = tmp_path / "queries.npy"
    np.save(path, fake_index.vectors[:5] + np.float32(0.01))
    return path
