from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tiervec._core import CancelToken
from tiervec.api import SearchResult
from tiervec.engine.receipt import Receipt
from tiervec.errors import CancelledError, InvalidArgumentError
from tiervec.service.catalogue import IndexCatalogue
from tiervec.service.configuration import ServeConfig
from tiervec.service.server import Server
from tiervec.vectors.arrays import as_queries


class FakeIndex:
    """The API of tiervec.Index over brute force, with faults on demand."""

    def __init__(self, vectors: np.ndarray, tier: str = "emulated:rdma-200g") -> None:
        self.vectors = vectors
        self.tier = tier
        self.emulated = tier.startswith("emulated:")
        self.threads = 2
        self.closed = False
        self.fault: Exception | None = None  # raised by every search
        self.hold: threading.Event | None = None  # searches wait for it
        self.running = 0
        self.cancelled = 0
        self.calls: list[dict[str, Any]] = []
        n, dim = vectors.shape
        document = {
            "format_version": 2,
            "kind": "graph",
            "metric": "l2",
            "dtype": vectors.dtype.name,
            "dim": dim,
            "vectors": n,
            "dataset_bytes": vectors.nbytes,
            "tier_bytes": vectors.nbytes * 3 // 2,
            "fast_bytes": n * 40,
            "amplification": 1.5,
            "fast_bytes_per_vector": 40.0,
            "sections": [
                {
                    "name": "records",
                    "file": "records.bin",
                    "placement": "tier",
                    "bytes": vectors.nbytes * 3 // 2,
                    "checksum": "0123456789abcdef",
                },
                {
                    "name": "codes",
                    "file": "codes.bin",
                    "placement": "fast",
                    "bytes": n * 40,
                    "checksum": "fedcba9876543210",
                },
            ],
            "params": {"graph_degree": 32, "alpha": 1.2, "layout": "packed"},
            "calibration": {"source": "given", "tables": {"10": [{"search_list": 32, "recall": 0.95}]}},
            "details": {},
        }
        self.info: Any = SimpleNamespace(path="fake", as_dict=lambda: document, **document)

    def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        target_recall: float | None = None,
        params: dict[str, Any] | None = None,
        filter: Any = None,
        timeout_s: float | None = None,
        cancel: CancelToken | None = None,
    ) -> SearchResult:
        matrix = as_queries(queries, self.info.dtype, self.info.dim)
        self.calls.append(
            {"queries": queries, "k": k, "target_recall": target_recall, "params": params, "timeout_s": timeout_s}
        )
        if self.fault is not None:
            raise type(self.fault)(*self.fault.args)  # a new one: its traceback holds the call's frames
        if (params or {}).get("search_list", 1) < 1:
            raise InvalidArgumentError("search_list is 0; it must be at least 1")
        start = time.perf_counter()
        self.running += 1
        if self.hold is not None:
            while not self.hold.wait(0.01) and not (cancel is not None and cancel.cancelled):
                pass
        self.running -= 1
        if cancel is not None and cancel.cancelled:
            self.cancelled += 1
            raise CancelledError("the search was cancelled")
        ids, distances = brute_force(self.vectors, matrix, k)
        wall_us = max(1.0, (time.perf_counter() - start) * 1e6)
        return SearchResult(ids, distances, self._receipt(len(matrix), k, params, wall_us))

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> FakeIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _receipt(self, queries: int, k: int, params: dict[str, Any] | None, wall_us: float) -> Receipt:
        device = {
            "latency_us": 2.8,
            "reads_per_s": 68e6,
            "bytes_per_s": 23.9e9,
            "block_bytes": 64,
            "emulated": True,
            "knee_bytes": 351.0,
            "source": "published",
            "service": [(64.0, 14.7), (1024.0, 42.8)],
        }
        return Receipt(
            queries=queries,
            k=k,
            threads=self.threads,
            params={"search_list": 64, **(params or {})},
            tier=self.tier,
            emulated=self.emulated,
            reads=40 * queries,
            bytes_read=10240 * queries,
            rounds=12 * queries,
            code_distances=1500 * queries,
            hot_records=2 * queries,
            cpu_us=50.0 * queries,
            waiting_us=20.0 * queries,
            wall_us=wall_us,
            latency_us=np.linspace(100, 200, queries, dtype=np.float32),
            device=device if self.emulated else None,
            notes=("the fake index has no device",),
        )


def brute_force(vectors: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Exact squared l2, padded with -1 and +inf."""
    distances = ((queries[:, None, :].astype(np.float32) - vectors[None].astype(np.float32)) ** 2).sum(axis=2)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    ids = np.full((len(queries), k), -1, dtype=np.int64)
    found = np.full((len(queries), k), np.inf, dtype=np.float32)
    ids[:, : order.shape[1]] = order
    found[:, : order.shape[1]] = np.take_along_axis(distances, order, axis=1)
    return ids, found


@pytest.fixture
def fake_index() -> FakeIndex:
    """100 float32 vectors of dim 8."""
    return FakeIndex(np.random.default_rng(7).standard_normal((100, 8)).astype(np.float32))


@pytest.fixture
def bytes_index() -> FakeIndex:
    """3 uint8 vectors of dim 4."""
    return FakeIndex(np.arange(12, dtype=np.uint8).reshape(3, 4), tier="dram:")


ServerFactory = Callable[..., contextlib.AbstractContextManager[Server]]


@pytest.fixture
def serve() -> ServerFactory:
    """``with serve({"name": index}, limits=...) as server:`` answers on a free port of this machine."""

    @contextlib.contextmanager
    def factory(indexes: dict[str, Any], **settings: Any) -> Iterator[Server]:
        config = dataclasses.replace(
            # No probes: they would be among the calls of a fake index.
            ServeConfig(listen="127.0.0.1:0", drain_s=5.0, probe_interval_s=3600.0),
            **settings,
        )
        with Server(IndexCatalogue(indexes), config) as server:
            yield server

    return factory
