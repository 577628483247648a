"""What tests of the advisor share: a small set, runs with made-up counts, a made-up profile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiervec.advisor import advising, measurement
from tiervec.advisor.cost_model import MemoryGrowth
from tiervec.advisor.design import Design
from tiervec.advisor.measurement import Run
from tiervec.engine.receipt import Receipt


@pytest.fixture
def profile() -> dict[str, Any]:
    """What `tiervec profile --json` prints, as far as the advisor reads it."""
    return {
        "latency_us": {"p50": {"median": 5.0}},
        "device": {"block_bytes": 64},
        "sizes": [
            {"read_bytes": 64, "reads_per_s": {"median": 2e6}},
            {"read_bytes": 4096, "reads_per_s": {"median": 1e6}},
        ],
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 3,000 vectors of dimension 16."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(3000, 6)) @ rng.normal(size=(6, 16)) + 0.05 * rng.normal(size=(3000, 16))
    np.save(folder / "base.npy", vectors.astype(np.float32))
    return folder / "base.npy"


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many rounds as there must be, of each query once: no test here looks at how long a search took."""
    monkeypatch.setattr(advising, "_MEASURED_S", 0.0)
    monkeypatch.setattr(measurement, "_CALL_S", 0.0)


@pytest.fixture
def flat_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """No measurement of memory: it takes seconds, and no test here looks at its result."""
    monkeypatch.setattr(MemoryGrowth, "more_us", lambda self, sizes: [0.0] * len(sizes))


@pytest.fixture
def run_of() -> Callable[..., Run]:
    """A run of a graph index with these counts and this CPU time of a query."""

    def make(codes: float, reads: float, rounds: float, us: float) -> Run:
        receipt = Receipt(
            queries=1000,
            k=10,
            threads=1,
            params={},
            tier="dram:",
            emulated=False,
            reads=round(reads * 1000),
            bytes_read=round(reads * 256_000),
            rounds=round(rounds * 1000),
            code_distances=round(codes * 1000),
            cpu_us=us * 1000,
            wall_us=us * 1000,
            latency_us=np.zeros(1000, np.float32),
        )
        run = Run(design=Design(kind="graph", params={}), size=1, path=Path(), width=1, target_recall=0.9)
        run.receipts.append(receipt)
        return run

    return make
