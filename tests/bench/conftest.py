from __future__ import annotations

import os
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tiervec.bench.results import BuildFigures, Cell, DatasetKey, Latency, Repeat, Result
from tiervec.bench.systems.registry import SystemSpec

DATASET = DatasetKey(
    name="small",
    slice=None,
    n=1000,
    dim=8,
    dtype="float32",
    metric="l2",
    queries=10,
    checksum="aa",
    queries_checksum="bb",
    ground_truth_checksum="cc",
)
ENVIRONMENT = {
    "cpu": "Fast 1",
    "cores": 4,
    "allowed_cpus": 2,
    "simd": "avx2",
    "memory_bytes": 2**34,
    "os": "Debian",
    "kernel": "6.1",
    "tiervec": "0.1.0",
    "commit": "abc",
}


@pytest.fixture
def make_result() -> Callable[..., Result]:
    """A result with the given repeats of queries per second, and changes to its cell."""

    def make(
        label: str = "graph", qps: tuple[float, ...] = (100.0, 110.0), recall: float = 0.9, **changes: object
    ) -> Result:
        cell_changes = {key: changes.pop(key) for key in list(changes) if key in Cell.__dataclass_fields__}
        cell = Cell(**{**_CELL, "label": label, **cell_changes})  # type: ignore[arg-type]
        repeats = tuple(_repeat(number, value, recall) for number, value in enumerate(qps))
        control = tuple(_repeat(number, value * 1.01, recall) for number, value in enumerate(qps))
        fields = {
            "run": "r",
            "experiment": "recall",
            "provenance": "memory",
            "status": "ok",
            "group": "g",
            "build": BuildFigures(seconds=1.5, fast_bytes=64_000),
            "environment": ENVIRONMENT,
            "commit": "abc",
        }
        return Result(**{"cell": cell, "repeats": repeats, "control": control, **fields, **changes})  # type: ignore[arg-type]

    return make


_CELL = {"system": "tiervec-graph", "dataset": DATASET, "k": 10, "threads": 2, "affinity": (0, 1), "tier": "dram:"}


def _repeat(number: int, qps: float, recall: float) -> Repeat:
    return Repeat(
        round=number,
        started=1.0 + number,
        seconds=10 / qps,
        queries=10,
        qps=qps,
        recall=recall,
        latency_us=Latency(p50=10.0, p95=20.0, p99=1e6 / qps),
    )


# A system that answers exactly, and misbehaves as its search parameter `do` or its build parameter `at_build` says.
_FAKE = """
import os, sys, time
import numpy as np

class System:
    def __init__(self, job):
        self.job = job
        for _ in range(3):
            os.write(1, b"noise of a library\\n")
            print("more of it")

    def version(self):
        return "7"

    def build(self, vectors):
        with open(self.job.folder / ("builds" if self.job.source is None else "conversions"), "a") as log:
            log.write(f"{self.job.threads}\\n")
        if self.job.source is not None:
            (self.job.folder / "vectors.npy").write_bytes((self.job.source / "vectors.npy").read_bytes())
            return
        self.misbehave(self.job.build.get("at_build"))
        np.save(self.job.folder / "vectors.npy", vectors.all().astype(np.float32))

    def open(self):
        self.vectors = np.load(self.job.folder / "vectors.npy")
        return {"tier_bytes": 500, "notes": ["opened on " + str(self.job.tier)]}

    def configure(self, k, params):
        self.params = params

    def prepare_queries(self, queries):
        return queries.astype(np.float32)

    def search(self, queries, k, threads):
        self.misbehave(self.params.get("do"))
        time.sleep(self.params.get("sleep", 0.0))
        distances = ((queries[:, None, :] - self.vectors[None]) ** 2).sum(axis=2)
        ids = np.argsort(distances, axis=1, kind="stable")[:, :k]
        good = self.params.get("good", k)
        ids[:, good:] = -1
        return ids, {"reads": 3 * len(queries), "device_s": 0.001 * len(queries), "notes": []}

    def device_seconds(self, sums):
        return self.params.get("device_s", sums.get("device_s"))

    def misbehave(self, how):
        if how == "crash":
            sys.stderr.write("my last words\\n")
            sys.stderr.flush()
            os.kill(os.getpid(), 11)
        if how == "exit":
            os._exit(3)
        if how == "hang":
            time.sleep(600)
        if how == "fail":
            raise ValueError("no\\n  such thing")
        if how == "missing":
            import a_module_that_nobody_has
        if how == "full in C++":
            raise RuntimeError("basic_ios::clear: iostream error: No space left on device")
        if how == "full":
            raise OSError(28, "No space left on device")
        if how == "short":
            raise OSError("100 requested and 20 written")
"""


@pytest.fixture
def fake_file(tmp_path: Path) -> Path:
    """The module of the fake system."""
    path = tmp_path / "fake_system.py"
    path.write_text(textwrap.dedent(_FAKE))
    return path


@pytest.fixture
def find_fake(fake_file: Path) -> Callable[[str], SystemSpec]:
    """Every name is a fake system; `tiered` has tiers and is opened with `cached`, `tiervec-...` has tiers, `walled`
    needs an environment, indexes of `convertible` are converted when they differ in `form` alone and have size 1 by
    default, and `NAME-imported` imports that of `NAME`.
    """

    def find(name: str) -> SystemSpec:
        return SystemSpec(
            name=name,
            title="fake",
            file=fake_file,
            has_tiers=name == "tiered" or name.startswith("tiervec-"),
            opening_keys=("cached",) if name == "tiered" else (),
            environment="nowhere" if name == "walled" else None,
            build_defaults={"size": 1} if name == "convertible" else {},
            conversion_keys=("form",) if name == "convertible" else (),
            imports=find(name.removesuffix("-imported")) if name.endswith("-imported") else None,
        )

    return find


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of a test lands in the user's cache."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("TIERVEC_CACHE", os.fspath(cache))
    return cache
