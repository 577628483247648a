"""Every argument of every public function with values that callers get wrong: a TiervecError that names the argument.

A bare TypeError, OverflowError or AttributeError would be our code failing at the value, somewhere inside. The
arguments come from the signatures, so that a new one is tested without a line here.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec.client import Client
from tiervec.cluster_index.params import ClusterBuildParams, ClusterSearchParams
from tiervec.errors import TiervecError
from tiervec.graph_index.params import GraphBuildParams, GraphSearchParams
from tiervec.rdma.memory_node.configuration import MemoryNodeConfig
from tiervec.rdma.profile import profile
from tiervec.service.configuration import IndexEntry, Limits, ServeConfig
from tiervec.vectors.ground_truth import read_ground_truth, write_ground_truth
from tiervec.vectors.vector_files import open_vectors, write_big_ann

_BAD: dict[str, Any] = {
    "None": None,
    "True": True,
    "numpy.True_": np.True_,
    "3.0": 3.0,
    "a string": "a",
    "bytes": b"a",
    "nan": float("nan"),
    "inf": float("inf"),
    "-inf": float("-inf"),
    "-1": -1,
    "0": 0,
    "2**63": 2**63,
    "10**400": 10**400,
    "10**5000": 10**5000,
    "an object": object(),
    "a list": [],
    "a list of objects": [object()],
    "a map": {},
    "a map of numbers": {1: 2},
    "an array": np.zeros(3),
    "a class": type("Anything", (), {"__init__": lambda *_: None}),
    "a surrogate": "\ud800",
    "NUL": "a\0b",
    "a long string": "x" * 5000,
}

# Arguments that errors call by another name.
_NAMES = {
    "data": "data|suffix",
    "out": "out|already exists|not exist",
    "path": "path|does not exist|suffix|no index|not a file",
    "tier": "tier",
    "kind": "index kind",
    "to": "URL",
    "url": "URL|url",
    "calibration_queries": "calibration_queries|suffix|is a directory",
    "params": "params|parameter",
    "listen": "listen",
    "tls_ca": "TLS file",
    "array": "array|suffix",
    "region": "region|does not exist",
}


@pytest.fixture(scope="module")
def vectors() -> np.ndarray[Any, Any]:
    """80 vectors of dim 8."""
    return np.random.default_rng(3).normal(size=(80, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, vectors: np.ndarray[Any, Any]) -> Path:
    """A folder with an index of each kind, vectors and ground truth."""
    folder = tmp_path_factory.mktemp("arguments")
    tiervec.build(vectors, folder / "graph", params={"graph_degree": 8}, threads=1)
    tiervec.build(vectors, folder / "cluster", kind="cluster", threads=1)
    np.save(folder / "vectors.npy", vectors)
    write_ground_truth(folder / "truth.bin", np.arange(20).reshape(4, 5))
    return folder


def wrong_end(call: Callable[..., Any], name: str, value: object, valid: dict[str, Any], also: str) -> str | None:
    """Calls with one argument replaced. None when it returns, or raises one line of ours that names the argument.

    `also` matches the errors of a call that is right but fails, for example for want of a server.
    """
    try:
        call(**{**valid, name: value})
    except TiervecError as error:
        message = str(error)
        named = re.search(_NAMES.get(name, rf"\b{name.replace('_', '[_ ]')}\b"), message) or re.search(also, message)
        if named and type(error) is not TiervecError and "\n" not in message and len(message) < 6000:
            return None
        return f"{type(error).__name__}: {message}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def check_all(call: Callable[..., Any], valid: dict[str, Any], *, also: str = "$^") -> None:
    """Every argument with every bad value; lists all that end otherwise."""
    failures = [
        f"{name}={title}: {problem[:300]}"
        for name in inspect.signature(call).parameters
        for title, value in _BAD.items()
        if (problem := wrong_end(call, name, value, valid, also)) is not None
    ]
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("kind", ["graph", "cluster"])
def test_build(kind: str, vectors: np.ndarray[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    number = iter(range(10**6))

    def build(**arguments: Any) -> None:
        arguments.setdefault("out", tmp_path / str(next(number)))
        tiervec.build(**arguments)

    build.__signature__ = inspect.signature(tiervec.build)  # type: ignore[attr-defined]
    check_all(build, {"data": vectors, "kind": kind, "threads": 1})


def test_relayout(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    number = iter(range(10**6))

    def relayout(**arguments: Any) -> None:
        arguments.setdefault("out", tmp_path / str(next(number)))
        tiervec.relayout(**arguments)

    relayout.__signature__ = inspect.signature(tiervec.relayout)  # type: ignore[attr-defined]
    check_all(relayout, {"path": folder / "graph", "params": {"layout": "plain"}})


def test_import_diskann(folder: Path, tmp_path: Path) -> None:
    check_all(tiervec.import_diskann, {"path": folder, "out": tmp_path / "out"}, also="no DiskANN index|prefix of one")


@pytest.mark.parametrize("kind", ["graph", "cluster"])
def test_open_and_search(kind: str, folder: Path, vectors: np.ndarray[Any, Any]) -> None:
    def open_and_close(**arguments: Any) -> None:
        tiervec.open(**arguments).close()

    open_and_close.__signature__ = inspect.signature(tiervec.open)  # type: ignore[attr-defined]
    check_all(open_and_close, {"path": folder / kind})
    with tiervec.open(folder / kind, threads=1) as index:
        check_all(index.search, {"queries": vectors[:2], "k": 3})


def test_publish(folder: Path) -> None:
    check_all(tiervec.publish, {"path": folder / "graph", "to": "tcp://127.0.0.1:1/r"}, also="no memory node answers")


def test_recall_and_profile() -> None:
    ids = np.arange(20).reshape(4, 5)
    check_all(tiervec.recall, {"ids": ids, "ground_truth": ids, "k": 2})
    valid = {"url": "dram:", "region_bytes": 1 << 16, "runs": 1, "run_seconds": 1e-4, "read_sizes": (64,), "threads": 1}
    check_all(profile, valid)


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_all(open_vectors, {})
    check_all(read_ground_truth, {})
    ids = np.arange(20).reshape(4, 5)
    check_all(write_ground_truth, {"path": tmp_path / "truth.bin", "ids": ids, "distances": None})
    check_all(write_big_ann, {"path": tmp_path / "v.fbin", "array": np.ones((2, 2), np.float32)})


def test_client(vectors: np.ndarray[Any, Any]) -> None:
    check_all(Client, {"address": "127.0.0.1:1"})
    with Client("127.0.0.1:1", timeout_s=5) as client:  # nothing listens there
        check_all(client.search, {"index": "docs", "queries": vectors[:2], "k": 3}, also="^127.0.0.1:1: ")
        check_all(client.info, {}, also="^127.0.0.1:1: ")
        check_all(client.is_serving, {}, also="^127.0.0.1:1: ")


@pytest.mark.parametrize(
    ("settings", "valid"),
    [
        (GraphBuildParams, {}),
        (GraphSearchParams, {}),
        (ClusterBuildParams, {}),
        (ClusterSearchParams, {}),
        (Limits, {}),
        (ServeConfig, {}),
        (IndexEntry, {"name": "a", "path": Path("a")}),
        (MemoryNodeConfig, {"listen": "127.0.0.1:0", "capacity_bytes": 1 << 20}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_settings(settings: type, valid: dict[str, Any]) -> None:
    check_all(settings, valid, also="a client CA needs|can be reached from other machines")


@pytest.mark.parametrize(
    "settings", [GraphBuildParams, GraphSearchParams, ClusterBuildParams, ClusterSearchParams, Limits]
)
def test_numpy_scalars_are_taken_and_become_plain(settings: type) -> None:
    scalars = {bool: np.bool_, int: np.int64, float: np.float64}
    default = settings()
    given = {
        field.name: scalars[type(value)](value)
        for field in dataclasses.fields(settings)
        if type(value := getattr(default, field.name)) in scalars
    }
    assert given
    made = settings(**given)
    assert made == default
    assert {type(getattr(made, name)) for name in given} <= set(scalars)


def test_numpy_scalars_in_calls(folder: Path, vectors: np.ndarray[Any, Any], tmp_path: Path) -> None:
    tiervec.build(
        vectors,
        tmp_path / "index",
        params={"graph_degree": np.int32(8), "alpha": np.float32(1.5), "build_list": np.uint8(50)},
        memory_limit=np.int64(1 << 40),
        threads=np.int8(1),
        seed=np.uint64(5),
    )
    with tiervec.open(tmp_path / "index", fast_memory=np.int64(1 << 30), threads=np.int64(1)) as index:
        found = index.search(
            vectors[:2],
            np.int64(3),
            params={"search_list": np.int64(32), "pipeline": np.False_},
            timeout_s=np.float32(60),
        )
        assert found.receipt.as_dict()["params"]["search_list"] == 32
        assert index.search(vectors[:2], 3, target_recall=np.float64(0.9), timeout_s=float("inf")).ids.shape == (2, 3)
