"""The modules of systems, on what is installed here."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec.bench.disk import Disk
from tiervec.bench.systems.child import Job, Vectors
from tiervec.bench.systems.environments import make_environment, python_of, why_missing
from tiervec.bench.systems.registry import SYSTEMS, SystemSpec, find_system
from tiervec.errors import InvalidArgumentError, NotFoundError, PermissionDeniedError, UnavailableError
from tiervec.index_files.directory import IndexDirectory
from tiervec.vectors.vector_files import write_big_ann

SUFFIXES = {"float32": ".fbin", "float16": ".f16bin", "uint8": ".u8bin", "int8": ".i8bin"}


def system_of(spec: SystemSpec) -> Any:
    found = importlib.util.spec_from_file_location("measured", spec.file)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.System


def job_of(spec: SystemSpec, folder: Path, **changes: Any) -> Job:
    request = {"metric": "l2", "dim": 16, "dtype": "float32", "threads": 1, "seed": 1, "build": {}, "opening": {}}
    return Job({**request, "folder": str(folder), "tier": None, "variant": dict(spec.variant), **changes})


def vectors_of(tmp_path: Path, dtype: str, n: int = 1500) -> tuple[Vectors, np.ndarray]:
    shift = {"uint8": 100, "int8": 0}.get(dtype)
    rows = np.random.default_rng(5).normal(size=(n + 20, 16))
    rows = rows.astype(dtype) if shift is None else (rows * 30 + shift).clip(-128 + shift, 127 + shift).astype(dtype)
    path = tmp_path / f"base{SUFFIXES[dtype]}"
    write_big_ann(path, np.ascontiguousarray(rows[:n]))
    return Vectors(str(path)), np.ascontiguousarray(rows[n:])


_CASES = [
    ("hnswlib", {}, {"ef": 100}),
    ("faiss-ivfflat", {"nlist": 8}, {"nprobe": 8}),
    ("faiss-ivfsq8", {"nlist": 8}, {"nprobe": 8}),
    ("faiss-ivfpqfs", {"nlist": 8}, {"nprobe": 8, "k_factor": 20}),
    ("faiss-ivfrabitq", {"nlist": 8}, {"nprobe": 8, "k_factor": 80}),
    ("faiss-hnsw", {}, {"ef": 200}),
    ("tiervec-graph", {"graph_degree": 16, "build_list": 32}, {"search_list": 100}),
    ("tiervec-cluster", {"clusters": 20}, {"nprobe": 20, "rerank": 200}),
]


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
@pytest.mark.parametrize(("name", "build", "search"), _CASES, ids=[case[0] for case in _CASES])
def test_a_system_finds_the_nearest(
    tmp_path: Path, name: str, build: dict[str, Any], search: dict[str, Any], metric: str
) -> None:
    spec = SYSTEMS[name]
    if importlib.util.find_spec(spec.module) is None:
        pytest.skip(f"{spec.module} is not installed")
    vectors, queries = vectors_of(tmp_path, "uint8" if metric == "l2" else "float16")
    job = {"metric": metric, "dtype": vectors.dtype.name, "build": build}
    system_of(spec)(job_of(spec, tmp_path, **job)).build(vectors)
    system = system_of(spec)(job_of(spec, tmp_path, **job))
    system.open()
    system.configure(5, search)
    asked = system.prepare_queries(queries)
    ids, counters = system.search(asked, 5, 1)
    base, exact = vectors.all().astype(float), queries.astype(float)
    distances = -exact @ base.T
    if metric == "l2":
        distances = ((exact[:, None] - base[None]) ** 2).sum(axis=2)
    if metric == "cosine":
        distances /= np.linalg.norm(base, axis=1)
    truth = np.argsort(distances, axis=1)[:, :5]
    assert ids.shape == (20, 5)
    assert tiervec.recall(ids, truth, 5) > 0.9
    assert (counters is not None) == name.startswith("tiervec")
    if counters is not None:
        assert counters["reads"] > 0
        assert len(counters["latency_us"]) == 20
    single, _ = system.search(asked[:1], 5, 1)
    assert (single[0] == ids[0]).all()


@pytest.mark.parametrize("name", [name for name, spec in SYSTEMS.items() if spec.module in ("faiss", "hnswlib")])
def test_an_unknown_parameter_is_named(tmp_path: Path, name: str) -> None:
    spec = SYSTEMS[name]
    if importlib.util.find_spec(spec.module) is None:
        pytest.skip(f"{spec.module} is not installed")
    with pytest.raises(ValueError, match="unknown parameter 'colour'; known: "):
        system_of(spec)(job_of(spec, tmp_path, build={"colour": "red"}))


def test_an_index_that_is_there_is_taken(tmp_path: Path) -> None:
    vectors, queries = vectors_of(tmp_path, "float32", 300)
    tiervec.build(vectors.path, tmp_path / "mine", params={"graph_degree": 8, "build_list": 16})
    spec, folder = SYSTEMS["tiervec-graph"], tmp_path / "work"
    folder.mkdir()
    job = job_of(spec, folder, build={"index": str(tmp_path / "mine")}, opening={"fast_memory": "1MiB"})
    system = system_of(spec)(job)
    system.build(vectors)
    assert system.open()["tier_bytes"] > 0
    system.configure(5, {"target_recall": 0.5})
    assert system.search(queries, 5, 1)[0].shape == (20, 5)
    wrong = system_of(spec)(job_of(spec, folder, build={"index": "x", "graph_degree": 8}))
    with pytest.raises(ValueError, match="is built already; leave out graph_degree"):
        wrong.build(vectors)


@pytest.mark.parametrize("tier", ["ssd:", "dram:", "emulated:rdma-200g"])
def test_the_limit_of_a_disk_is_measured_after_the_run(
    tmp_path: Path, tier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, queries = vectors_of(tmp_path, "float32", 300)
    job = job_of(SYSTEMS["tiervec-graph"], tmp_path, build={"graph_degree": 8, "build_list": 16}, tier=tier)
    system = system_of(SYSTEMS["tiervec-graph"])(job)
    system.build(vectors)
    system.open()
    system.configure(5, {})
    asked = []
    monkeypatch.setattr(Disk, "reads_per_s", lambda self, read_bytes: asked.append(read_bytes) or 1000.0)
    known = system.search(queries, 5, 1)[1]["device_s"]
    found = system.device_seconds({"reads": 500.0, "bytes_read": 40_000.0, "device_s": known})
    assert found == (0.5 if tier == "ssd:" else known)
    assert asked == ([80.0] if tier == "ssd:" else [])


@pytest.mark.parametrize(
    ("name", "build", "change", "search"),
    [
        ("tiervec-graph", {"graph_degree": 8, "build_list": 16}, {"layout": "sectors"}, {"search_list": 30}),
        ("tiervec-cluster", {"clusters": 20}, {"layout": "replicated", "align": 4096}, {"nprobe": 20}),
        ("tiervec-cluster", {"clusters": 20}, {"spill": True}, {"nprobe": 20, "rerank": 300}),
        ("tiervec-cluster", {"clusters": 20, "layout": "grouped"}, {"ordered": False}, {"nprobe": 20}),
    ],
)
def test_an_index_is_converted_from_another_layout(
    tmp_path: Path, name: str, build: dict[str, Any], change: dict[str, Any], search: dict[str, Any]
) -> None:
    vectors, queries = vectors_of(tmp_path, "float32", 300)
    spec, answers = SYSTEMS[name], []
    for folder, changes in (("base", {}), ("converted", {"build": {**build, **change}})):
        source = {} if not changes else {"source": str(tmp_path / "base"), "conversion_keys": spec.conversion_keys}
        job = job_of(spec, tmp_path / folder, **{"build": build, **changes, **source})
        job.folder.mkdir()
        system_of(spec)(job).build(vectors)
        system = system_of(spec)(job)
        system.open()
        system.configure(5, search)
        answers.append(system.search(queries, 5, 1)[0])
    assert (answers[0] == answers[1]).all()
    params = IndexDirectory.open(tmp_path / "converted" / "index").manifest.params
    assert {key: params[key] for key in change} == change


def test_the_graph_of_diskann_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = vectors_of(tmp_path, "float32", 300)
    asked: dict[str, Any] = {}

    def import_diskann(path: Path, out: Path, **given: Any) -> None:
        asked.update(given, path=path)
        tiervec.build(vectors.path, out, params={"graph_degree": 8, "build_list": 16})

    monkeypatch.setattr(tiervec, "import_diskann", import_diskann)
    spec = SYSTEMS["tiervec-diskann"]
    assert spec.imports is SYSTEMS["diskannpy-disk"]
    job = job_of(spec, tmp_path, build={"layout": "sectors"}, source=str(tmp_path / "source"))
    system = system_of(spec)(job)
    system.build(vectors)
    assert asked == {"path": tmp_path / "source" / "ann", "params": {"layout": "sectors"}, "threads": 1, "seed": 1}
    assert system.open()["tier_bytes"] > 0
    system.configure(5, {"search_list": 50, "stop_margin": 0.1})
    assert system.search(queries, 5, 1)[0].shape == (20, 5)
    with pytest.raises(ValueError, match="unknown parameter 'graph_degree'; known: layout, code, code_bits"):
        system_of(spec)(job_of(spec, tmp_path, build={"graph_degree": 32}))


def test_a_loopback_tier_is_a_memory_node_of_its_own(tmp_path: Path) -> None:
    vectors, queries = vectors_of(tmp_path, "float32", 300)
    spec = SYSTEMS["tiervec-graph"]
    build = {"graph_degree": 8, "build_list": 16}
    system_of(spec)(job_of(spec, tmp_path, build=build)).build(vectors)
    answers = []
    for tier in ("dram:", "tcp://loopback"):
        system = system_of(spec)(job_of(spec, tmp_path, build=build, tier=tier))
        try:
            system.open()
            system.configure(5, {"search_list": 50})
            answers.append(system.search(queries, 5, 1)[0])
        finally:
            system.close()
    assert (answers[0] == answers[1]).all()


@pytest.mark.parametrize("dtype", list(SUFFIXES))
def test_vectors_are_read_in_any_way(tmp_path: Path, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiervec.bench.systems.child._BLOCK_BYTES", 1000)
    vectors, _ = vectors_of(tmp_path, dtype, 200)
    assert vectors.shape == (200, 16)
    assert vectors.all().dtype == dtype
    assert (np.concatenate([block for _, block in vectors.blocks()]) == vectors.all()).all()
    sample = vectors.sample(50, 1)
    assert len(sample) == 50
    assert {row.tobytes() for row in sample} <= {row.tobytes() for row in vectors.all()}
    assert (vectors.sample(200, 1) == vectors.all()).all()


def test_systems_are_found_by_name_or_file(tmp_path: Path) -> None:
    assert find_system("hnswlib").module == "hnswlib"
    with pytest.raises(NotFoundError, match="there is no system 'hnsw'; known: tiervec-graph"):
        find_system("hnsw")
    with pytest.raises(InvalidArgumentError, match="there is no such file"):
        find_system(str(tmp_path / "mine.py"))
    (tmp_path / "mine.py").touch()
    assert find_system(str(tmp_path / "mine.py")).file == tmp_path / "mine.py"


def test_systems_that_need_an_environment_say_so(tmp_path: Path) -> None:
    assert python_of(SYSTEMS["hnswlib"], tmp_path) == Path(sys.executable)
    assert python_of(SYSTEMS["diskannpy-disk"], tmp_path) is None
    assert "`tiervec bench setup diskannpy-disk` makes it" in why_missing(SYSTEMS["diskannpy-disk"])
    assert "--accept-licence" in why_missing(SYSTEMS["scalable-vs"])
    with pytest.raises(PermissionDeniedError, match="then give --accept-licence"):
        make_environment(SYSTEMS["scalable-vs"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_environment_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    class Done:
        returncode, stdout, stderr = 0, "", ""

    def fake_run(command: list[str], **_: Any) -> Done:
        commands.append(command)
        if "venv" in command:
            Path(command[-1]).mkdir(parents=True)
        return Done()

    monkeypatch.setattr("subprocess.run", fake_run)
    spec, said = SYSTEMS["diskannpy-disk"], list[str]()
    python = make_environment(spec, tmp_path, say=said.append)
    assert python == tmp_path / "diskannpy" / "bin" / "python"
    assert commands[-1][-1] == "diskannpy==0.7.0"
    assert len(said) == 1
    make_environment(SYSTEMS["diskannpy-memory"], tmp_path)
    assert len(commands) == 2
    newer = dataclasses.replace(spec, requirements=("diskannpy==0.8.0",))
    assert python_of(newer, tmp_path) is None


def test_pip_that_fails_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failed:
        returncode, stdout, stderr = 1, "Collecting", "WARNING: x\nERROR: No matching distribution\nnote: y\n"

    monkeypatch.setattr("subprocess.run", lambda *_, **__: Failed())
    spec = SYSTEMS["diskannpy-disk"]
    with pytest.raises(UnavailableError, match="of diskannpy-disk failed: ERROR: No matching distribution"):
        make_environment(spec, tmp_path)
    assert python_of(spec, tmp_path) is None
