"""The modules of peers that are rarely installed, on fake libraries with the signatures of the real ones.

Each fake keeps what it was called with and answers with the exact neighbours of the vectors that it was given, so that
a misnamed argument, a lost conversion and a result of the wrong shape all fail.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tiervec.bench.systems.child import Job, Vectors
from tiervec.bench.systems.registry import SYSTEMS, SystemSpec
from tiervec.vectors.vector_files import write_big_ann

SUFFIXES = {"float32": ".fbin", "float16": ".f16bin", "uint8": ".u8bin", "int8": ".i8bin"}
METRICS = ["l2", "ip", "cosine"]
K = 3


class Calls(dict[str, dict[str, Any]]):
    """Function to the arguments that it was last given, by name; those that were left out are not there."""

    def record(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function that keeps them; TypeError for arguments that the real one does not have."""
        name, signature = function.__qualname__.rpartition("<locals>.")[2], inspect.signature(function)

        def recorded(*args: Any, **named: Any) -> Any:
            given = signature.bind(*args, **named).arguments
            self[name] = {key: value for key, value in given.items() if key != "self"}
            return function(*args, **named)

        return recorded


def nearest(base: Any, queries: Any, k: int, metric: str) -> Any:
    """Exact ids (queries, k)."""
    base, queries = np.asarray(base, float), np.asarray(queries, float)
    distances = -queries @ base.T
    if metric == "l2":
        distances = ((queries[:, None] - base[None]) ** 2).sum(axis=2)
    if metric == "cosine":
        distances /= np.linalg.norm(base, axis=1)
    return np.argsort(distances, axis=1, kind="stable")[:, :k]


def files_of(tmp_path: Path, dtype: str) -> tuple[Vectors, Any]:
    """60 vectors in a file, and 7 queries."""
    rows = np.random.default_rng(3).normal(size=(67, 8)) * 30
    rows = rows.clip(-128, 127) if dtype == "int8" else rows.clip(0, 255) if dtype == "uint8" else rows
    rows = rows.astype(dtype)
    path = tmp_path / f"base{SUFFIXES[dtype]}"
    write_big_ann(path, np.ascontiguousarray(rows[:60]))
    return Vectors(str(path)), np.ascontiguousarray(rows[60:])


def system_of(name: str, folder: Path, dtype: str, metric: str, **changes: Any) -> Any:
    """As the child makes it."""
    spec: SystemSpec = SYSTEMS[name]
    found = importlib.util.spec_from_file_location("measured", spec.file)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    folder.mkdir(exist_ok=True)
    request = {"folder": str(folder), "metric": metric, "dim": 8, "dtype": dtype, "threads": 2, "seed": 1, "build": {}}
    return module.System(Job({**request, "opening": {}, "tier": None, "variant": dict(spec.variant), **changes}))


def check_answers(system: Any, vectors: Vectors, queries: Any, metric: str) -> None:
    """Of all queries at once, and of each alone, as the callers ask."""
    exact = nearest(vectors.all(), queries, K, metric)
    asked = system.prepare_queries(queries)
    for ids, counters, expected in [
        (*system.search(asked, K, 2), exact),
        *((*system.search(asked[at : at + 1], K, 1), exact[at : at + 1]) for at in range(len(queries))),
    ]:
        assert counters is None
        assert ids.dtype == np.int64
        assert ids.shape == expected.shape
        assert (ids == expected).all()


# diskannpy 0.7


@pytest.fixture
def diskannpy(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls, stored = Calls(), dict[str, tuple[Any, str, type]]()
    module = ModuleType("diskannpy")

    def keep(data: Any, metric: str, folder: str, dtype: type) -> None:
        if isinstance(data, str):
            data = Vectors(data).all()
        assert data.dtype == dtype
        assert metric == "l2" or (metric == "mips" and dtype == np.float32)  # what the library does not refuse
        stored[folder] = (data, metric, dtype)

    def build_memory_index(
        data, distance_metric, index_directory, complexity, graph_degree, num_threads, alpha=1.2, use_pq_build=False,
        num_pq_bytes=0, use_opq=False, vector_dtype=None, tags="", filter_labels=None, universal_label="",
        filter_complexity=0, index_prefix="ann",
    ):  # fmt: skip
        keep(data, distance_metric, index_directory, vector_dtype)

    def build_disk_index(
        data, distance_metric, index_directory, complexity, graph_degree, search_memory_maximum, build_memory_maximum,
        num_threads, pq_disk_bytes=0, vector_dtype=None, index_prefix="ann",
    ):  # fmt: skip
        keep(data, distance_metric, index_directory, vector_dtype)
        (Path(index_directory) / "ann_disk.index").write_bytes(bytes(700))
        (Path(index_directory) / "ann_pq_compressed.bin").write_bytes(bytes(90))

    def answer(folder: str, queries: Any, k: int) -> Any:
        data, metric, dtype = stored[folder]
        assert queries.dtype == dtype
        assert queries.ndim == 2
        ids = nearest(data, queries, k, "ip" if metric == "mips" else metric)
        return ids.astype(np.uint32)

    class StaticMemoryIndex:
        @calls.record
        def __init__(
            self, index_directory, num_threads, initial_search_complexity, index_prefix="ann", distance_metric=None,
            vector_dtype=None, dimensions=None, enable_filters=False,
        ):  # fmt: skip
            self.folder = index_directory

        @calls.record
        def search(self, query, k_neighbors, complexity, filter_label=""):
            return SimpleNamespace(identifiers=answer(self.folder, query[None], k_neighbors)[0])

        @calls.record
        def batch_search(self, queries, k_neighbors, complexity, num_threads):
            return SimpleNamespace(identifiers=answer(self.folder, queries, k_neighbors))

    class StaticDiskIndex:
        @calls.record
        def __init__(
            self, index_directory, num_threads, num_nodes_to_cache, cache_mechanism=1, distance_metric=None,
            vector_dtype=None, dimensions=None, index_prefix="ann",
        ):  # fmt: skip
            self.folder = index_directory

        @calls.record
        def search(self, query, k_neighbors, complexity, beam_width=2):
            return SimpleNamespace(identifiers=answer(self.folder, query[None], k_neighbors)[0])

        @calls.record
        def batch_search(self, queries, k_neighbors, complexity, num_threads, beam_width=2):
            return SimpleNamespace(identifiers=answer(self.folder, queries, k_neighbors))

    members = (calls.record(build_memory_index), calls.record(build_disk_index), StaticMemoryIndex, StaticDiskIndex)
    module.build_memory_index, module.build_disk_index = members[:2]  # type: ignore[attr-defined]
    module.StaticMemoryIndex, module.StaticDiskIndex = members[2:]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "diskannpy", module)
    return calls


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", list(SUFFIXES))
@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_diskannpy_answers(tmp_path: Path, diskannpy: Calls, kind: str, dtype: str, metric: str) -> None:
    vectors, queries = files_of(tmp_path, dtype)
    system = system_of(f"diskannpy-{kind}", tmp_path / "index", dtype, metric)
    system.build(vectors)
    assert dict(system.open()) == ({"tier_bytes": 700} if kind == "disk" else {})
    system.configure(K, {})
    check_answers(system, vectors, queries, metric)


def test_diskannpy_in_memory_is_told_its_parameters(tmp_path: Path, diskannpy: Calls) -> None:
    vectors, queries = files_of(tmp_path, "uint8")
    folder = str(tmp_path / "index")
    build = {"graph_degree": 24, "complexity": 50, "alpha": 1.1}
    system = system_of("diskannpy-memory", tmp_path / "index", "uint8", "l2", build=build)
    system.build(vectors)
    shared = {"index_directory": folder, "distance_metric": "l2", "vector_dtype": np.uint8, "num_threads": 2}
    assert diskannpy["build_memory_index"] == {**shared, **build, "data": vectors.path}  # read by the library itself
    system.open()
    assert diskannpy["StaticMemoryIndex.__init__"] == {**shared, "dimensions": 8, "initial_search_complexity": 512}
    system.configure(K, {"complexity": 90})
    system.search(queries, K, 5)
    assert _without_queries(diskannpy["StaticMemoryIndex.batch_search"]) == {
        "k_neighbors": K, "complexity": 90, "num_threads": 5,
    }  # fmt: skip
    system.configure(K, {"complexity": 1})
    system.search(queries[:1], K, 1)
    assert _without_queries(diskannpy["StaticMemoryIndex.search"]) == {"k_neighbors": K, "complexity": K}
    with pytest.raises(ValueError, match="unknown parameter 'beam_width'; known: complexity"):
        system.configure(K, {"beam_width": 2})


def test_diskannpy_on_disk_is_told_its_parameters(tmp_path: Path, diskannpy: Calls) -> None:
    vectors, queries = files_of(tmp_path, "float32")
    build = {"graph_degree": 24, "complexity": 50, "search_memory_gb": 0.5, "build_memory_gb": 3.0, "pq_disk_bytes": 4}
    opening = {"num_nodes_to_cache": 11}
    system = system_of("diskannpy-disk", tmp_path / "index", "float32", "ip", build=build, opening=opening)
    system.build(vectors)
    folder = str(tmp_path / "index")
    shared = {"index_directory": folder, "distance_metric": "mips", "vector_dtype": np.float32, "num_threads": 2}
    assert diskannpy["build_disk_index"] == {
        **shared, "data": vectors.path, "graph_degree": 24, "complexity": 50, "search_memory_maximum": 0.5,
        "build_memory_maximum": 3.0, "pq_disk_bytes": 4,
    }  # fmt: skip
    system.open()
    assert diskannpy["StaticDiskIndex.__init__"] == {**shared, "num_nodes_to_cache": 11}
    system.configure(K, {"complexity": 20, "beam_width": 8})
    system.search(queries, K, 5)
    told = {"k_neighbors": K, "complexity": 20, "beam_width": 8}
    assert _without_queries(diskannpy["StaticDiskIndex.batch_search"]) == {**told, "num_threads": 5}
    system.search(queries[:1], K, 1)
    assert _without_queries(diskannpy["StaticDiskIndex.search"]) == told


# scalable-vs 0.0.7


@pytest.fixture
def svs(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls, stored = Calls(), dict[tuple[str, ...], tuple[Any, str]]()
    module: Any = ModuleType("svs")
    metrics = {"L2": "l2", "MIP": "ip", "Cosine": "cosine"}

    class VamanaBuildParameters:
        @calls.record
        def __init__(self, alpha, graph_max_degree, window_size):
            assert (alpha > 1) == (calls.get("wants") == {"alpha": "above 1"})

    class GraphLoader:
        def __init__(self, directory):
            self.directory = directory

    class VectorDataLoader:
        @calls.record
        def __init__(self, path, data_type=None, dims=None):
            self.path = path

    class Vamana:
        @calls.record
        def __init__(self, config_path, graph_loader, data_loader, distance="L2", query_type="float32", num_threads=1):
            self.data, built_for = stored[config_path, graph_loader.directory, data_loader.path]
            assert distance == built_for
            self.distance, self.num_threads, self.search_window_size = distance, num_threads, 0

        @staticmethod
        @calls.record
        def build(build_parameters, data, distance_type, num_threads=1):
            assert isinstance(build_parameters, VamanaBuildParameters)
            assert data.dtype == np.float32
            index = object.__new__(Vamana)
            index.data, index.distance = data, distance_type
            return index

        def save(self, config_directory, graph_directory, data_directory):
            stored[config_directory, graph_directory, data_directory] = (self.data, self.distance)

        def search(self, queries, n_neighbors):
            assert queries.dtype == np.float32
            calls["search"] = {"threads": self.num_threads, "window": self.search_window_size}
            ids = nearest(self.data, queries, n_neighbors, metrics[self.distance]).astype(np.uint64)
            return ids, np.zeros(ids.shape, np.float32)

    module.DistanceType = SimpleNamespace(L2="L2", MIP="MIP", Cosine="Cosine")
    module.DataType = SimpleNamespace(float32="float32")
    module.VamanaBuildParameters, module.Vamana = VamanaBuildParameters, Vamana
    module.GraphLoader, module.VectorDataLoader = GraphLoader, VectorDataLoader
    monkeypatch.setitem(sys.modules, "svs", module)
    return calls


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_svs_answers(tmp_path: Path, svs: Calls, dtype: str, metric: str) -> None:
    vectors, queries = files_of(tmp_path, dtype)
    svs["wants"] = {"alpha": "above 1" if metric == "l2" else "below 1"}  # as the library does
    system = system_of("scalable-vs", tmp_path / "index", dtype, metric)
    system.build(vectors)
    assert system.open() == {}
    system.configure(K, {})
    check_answers(system, vectors, queries, metric)


def test_svs_is_told_its_parameters(tmp_path: Path, svs: Calls) -> None:
    vectors, queries = files_of(tmp_path, "float32")
    build = {"graph_degree": 24, "window_size": 50, "alpha": 0.9}
    system = system_of("scalable-vs", tmp_path / "index", "float32", "ip", build=build)
    system.build(vectors)
    assert svs["VamanaBuildParameters.__init__"] == {"alpha": 0.9, "graph_max_degree": 24, "window_size": 50}
    assert svs["Vamana.build"]["num_threads"] == 2
    system.open()
    data = str(tmp_path / "index" / "data")
    assert svs["VectorDataLoader.__init__"] == {"path": data, "data_type": "float32", "dims": 8}
    assert svs["Vamana.__init__"]["num_threads"] == 2
    system.configure(K, {"search_window_size": 90})
    system.search(queries, K, 5)
    assert svs["search"] == {"threads": 5, "window": 90}
    system.configure(K, {"search_window_size": 1})
    system.search(queries, K, 5)
    assert svs["search"] == {"threads": 5, "window": K}


# SPTAG


@pytest.fixture
def sptag(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls, stored = Calls(), dict[str, Any]()
    module: Any = ModuleType("SPTAG")
    types = {"Float": np.float32, "Int8": np.int8, "UInt8": np.uint8}
    metrics = {"L2": "l2", "InnerProduct": "ip", "Cosine": "cosine"}

    class AnnIndex:
        @calls.record
        def __init__(self, algorithm, value_type, dimension):
            self.dtype, self.dim = types[value_type], dimension

        def SetBuildParam(self, name, value, section):  # noqa: N802
            assert isinstance(value, str)
            calls.setdefault(f"build {section}", {})[name] = value

        def SetSearchParam(self, name, value, section):  # noqa: N802
            assert isinstance(value, str)
            calls.setdefault(f"search {section}", {})[name] = value

        def Build(self, data, count, normalized):  # noqa: N802
            assert data.dtype == self.dtype
            assert (data.shape, normalized) == ((count, self.dim), False)
            self.data = data
            return not calls.get("refuses")

        def Save(self, folder):  # noqa: N802
            (Path(folder) / "SPTAGFullList.bin").write_bytes(bytes(900))
            (Path(folder) / "HeadIndex").mkdir()
            (Path(folder) / "HeadIndex" / "graph.bin").write_bytes(bytes(50))
            stored[folder] = self
            return True

        @staticmethod
        def Load(folder):  # noqa: N802
            return stored[folder]

        def Search(self, data, k):  # noqa: N802
            return self.BatchSearch(data, 1, k, False)

        def BatchSearch(self, data, count, k, with_metadata):  # noqa: N802
            assert isinstance(data, bytes)
            queries = np.frombuffer(data, self.dtype).reshape(count, self.dim)
            ids = nearest(self.data, queries, k, metrics[calls["build Base"]["DistCalcMethod"]])
            return [ids.ravel().tolist(), [0.0] * ids.size, []]

    module.AnnIndex = AnnIndex
    monkeypatch.setitem(sys.modules, "SPTAG", module)
    return calls


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", list(SUFFIXES))
def test_sptag_answers(tmp_path: Path, sptag: Calls, dtype: str, metric: str) -> None:
    vectors, queries = files_of(tmp_path, dtype)
    system = system_of("sptag", tmp_path / "index", dtype, metric)
    system.build(vectors)
    assert system.open() == {"tier_bytes": 900}
    system.configure(K, {})
    check_answers(system, vectors, queries, metric)


def test_sptag_is_told_its_parameters(tmp_path: Path, sptag: Calls) -> None:
    vectors, _ = files_of(tmp_path, "uint8")
    build = {"ratio": 0.2, "replicas": 4, "posting_pages": 6}
    system = system_of("sptag", tmp_path / "index", "uint8", "l2", build=build)
    system.build(vectors)
    assert sptag["AnnIndex.__init__"] == {"algorithm": "SPANN", "value_type": "UInt8", "dimension": 8}
    folder = str(tmp_path / "index")
    assert sptag["build Base"] == {"IndexAlgoType": "BKT", "IndexDirectory": folder, "DistCalcMethod": "L2"}
    assert sptag["build SelectHead"] == {"isExecute": "true", "NumberOfThreads": "2", "Ratio": "0.2"}
    assert sptag["build BuildHead"] == {"isExecute": "true", "NumberOfThreads": "2"}
    assert sptag["build BuildSSDIndex"] == {
        "isExecute": "true", "BuildSsdIndex": "true", "NumberOfThreads": "2", "ReplicaCount": "4",
        "PostingPageLimit": "6",
    }  # fmt: skip
    system.open()
    system.configure(K, {"heads": 80, "max_check": 500})
    assert sptag["search BuildSSDIndex"] == {"SearchInternalResultNum": "80", "MaxCheck": "500"}
    system.configure(100, {"heads": 80})
    assert sptag["search BuildSSDIndex"]["SearchInternalResultNum"] == "100"


def test_sptag_that_builds_nothing_is_an_error(tmp_path: Path, sptag: Calls) -> None:
    vectors, _ = files_of(tmp_path, "uint8")
    sptag["refuses"] = {"to": "build"}
    with pytest.raises(RuntimeError, match="SPTAG did not build the index"):
        system_of("sptag", tmp_path / "index", "uint8", "l2").build(vectors)


def _without_queries(given: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if key not in ("query", "queries")}
