"""What build, open and search refuse, and how they say it; what they promise beyond results."""

from __future__ import annotations

import dataclasses
import gc
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec.engine.calibration import choose
from tiervec.errors import (
    AlreadyExistsError,
    DataLossError,
    DeadlineExceededError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    TiervecError,
    UnavailableError,
    UnsupportedError,
)
from tiervec.graph_index import GraphBuildParams, GraphSearchParams
from tiervec.vectors import arrays

BASE = np.random.default_rng(1).normal(size=(300, 12)).astype(np.float32)
PARAMS = {"graph_degree": 8, "build_list": 16}
SLOW = "emulated:latency_us=200000,reads_mps=1,gbps=1,block=64"


def changed(row: int, column: int, value: float, dtype: str = "float32") -> Any:
    array = BASE.astype(dtype)
    array[row, column] = value
    return array


def refused(call: Callable[[], Any], kind: type[TiervecError], *words: str) -> None:
    """The call raises exactly that class, with one sentence that holds the words."""
    with pytest.raises(TiervecError) as caught:
        call()
    assert type(caught.value) is kind, repr(caught.value)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400
    for word in words:
        assert word in text, text


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of BASE; tests must not change it."""
    out = tmp_path_factory.mktemp("api") / "index"
    tiervec.build(BASE, out, params=PARAMS, calibration_queries=BASE[:10])
    return out


@pytest.fixture(scope="module")
def bytes_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of uint8 vectors."""
    base = np.random.default_rng(2).integers(0, 256, size=(300, 12)).astype(np.uint8)
    out = tmp_path_factory.mktemp("api") / "bytes"
    tiervec.build(base, out, params=PARAMS, calibration_queries=base[:10])
    return out


@pytest.fixture
def index(path: Path) -> Any:
    with tiervec.open(path) as opened:
        yield opened


# ---- build -----------------------------------------------------------------------------------------------------------

BAD_DATA: dict[str, tuple[Any, tuple[str, ...]]] = {
    "one dimension": (BASE[0], ("data", "(12,)", "two dimensions")),
    "three dimensions": (BASE[None], ("data", "two dimensions")),
    "int64": (BASE.astype(np.int64), ("data", "int64", "float32")),
    "bool": (BASE > 0, ("data", "bool")),
    "complex": (BASE.astype(np.complex64), ("data", "complex64")),
    "text": (np.array([["a", "b"]]), ("data", "<U1")),
    "NaN": (changed(17, 3, np.nan), ("data", "nan", "row 17, column 3")),
    "infinity": (changed(299, 11, np.inf), ("data", "inf", "row 299, column 11")),
    "half NaN": (changed(0, 0, np.nan, "float16"), ("data", "nan", "row 0, column 0")),
    "beyond float32": (changed(5, 6, 1e300, "float64"), ("data", "1e+300", "row 5, column 6")),
    "no rows": (BASE[:0], ("data", "no rows")),
    "no columns": (BASE[:, :0], ("data", "no columns")),
    "one row": (BASE[:1], ("data", "1 vector", "at least 2")),
    "ragged": ([[1.0, 2.0], [3.0]], ("data",)),
    "a number": (3, ("data", "int")),
    "None": (None, ("data", "NoneType")),
    "too large": (BASE * np.float32(1e19), ("data", "e+19", "scale them down")),
    "too small": (BASE * np.float32(1e-18), ("data", "e-18", "scale them up")),
    "too wide": (np.zeros((2, 16_385), np.int8), ("data", "16385", "16384")),
}


@pytest.mark.parametrize("what", BAD_DATA)
def test_bad_data(what: str, tmp_path: Path) -> None:
    data, words = BAD_DATA[what]
    refused(lambda: tiervec.build(data, tmp_path / "index"), InvalidArgumentError, *words)
    assert list(tmp_path.iterdir()) == []


QUERIES = "calibration_queries"
BAD_ARGUMENTS: dict[str, tuple[dict[str, Any], type[TiervecError], tuple[str, ...]]] = {
    "metric": ({"metric": "hamming"}, InvalidArgumentError, ("metric", "'hamming'", "l2, ip, cosine")),
    "kind": ({"kind": "tree"}, UnsupportedError, ("kind", "'tree'", "graph")),
    "key": ({"params": {"degree": 3}}, InvalidArgumentError, ("'degree'", "graph_degree")),
    "params": ({"params": 5}, InvalidArgumentError, ("params", "int")),
    "search params": ({"params": GraphSearchParams()}, InvalidArgumentError, ("params", "GraphSearchParams")),
    "graph_degree 1": ({"params": {"graph_degree": 1}}, InvalidArgumentError, ("graph_degree", "1", "2 to 184")),
    "graph_degree 185": ({"params": {"graph_degree": 185}}, InvalidArgumentError, ("graph_degree", "185")),
    "graph_degree text": ({"params": {"graph_degree": "8"}}, InvalidArgumentError, ("graph_degree", "'8'")),
    "graph_degree true": ({"params": {"graph_degree": True}}, InvalidArgumentError, ("graph_degree", "True")),
    "build_list": ({"params": {"build_list": 31}}, InvalidArgumentError, ("build_list", "31", "32")),
    "alpha": ({"params": {"alpha": 0.9}}, InvalidArgumentError, ("alpha", "0.9", "1 to 4")),
    "alpha NaN": ({"params": {"alpha": float("nan")}}, InvalidArgumentError, ("alpha", "nan")),
    "alpha text": ({"params": {"alpha": "1.2"}}, InvalidArgumentError, ("alpha", "'1.2'")),
    "alpha None": ({"params": {"alpha": None}}, InvalidArgumentError, ("alpha", "None")),
    "layout": ({"params": {"layout": "coded"}}, InvalidArgumentError, ("layout", "'coded'", "packed", "sectors")),
    "code": ({"params": {"code": "lz4"}}, InvalidArgumentError, ("code", "'lz4'", "rabitq, sq, pq")),
    "code_bits 0": ({"params": {"code_bits": 0}}, InvalidArgumentError, ("code_bits", "0")),
    "code_bits 9": ({"params": {"code_bits": 9}}, InvalidArgumentError, ("code_bits", "9")),
    "code_bits text": ({"params": {"code_bits": "4"}}, InvalidArgumentError, ("code_bits", "'4'")),
    "code_bits of sq": ({"params": {"code": "sq", "code_bits": 5}}, InvalidArgumentError, ("code_bits", "5", "4 or 8")),
    "threads": ({"threads": -1}, InvalidArgumentError, ("threads", "-1")),
    "threads text": ({"threads": "2"}, InvalidArgumentError, ("threads", "'2'")),
    "seed": ({"seed": -1}, InvalidArgumentError, ("seed", "-1")),
    "seed text": ({"seed": "x"}, InvalidArgumentError, ("seed", "'x'")),
    "memory_limit": ({"memory_limit": 1_000_000}, ResourceExhaustedError, ("memory_limit", "976.6 KiB", "needs about")),
    "memory_limit 0": ({"memory_limit": 0}, ResourceExhaustedError, ("memory_limit", "needs about")),
    "memory_limit text": ({"memory_limit": "8GiB"}, InvalidArgumentError, ("memory_limit", "'8GiB'")),
    "ids short": ({"ids": range(299)}, InvalidArgumentError, ("ids",)),
    "ids of another length": ({"ids": np.arange(299)}, InvalidArgumentError, ("ids", "(299,)", "(300,)")),
    "ids twice": ({"ids": np.arange(300) // 2}, InvalidArgumentError, ("ids", "0 at rows 0 and 1", "unique")),
    "ids negative": ({"ids": np.arange(300) - 5}, InvalidArgumentError, ("ids", "-5 at row 0")),
    "ids real": ({"ids": np.arange(300.0)}, InvalidArgumentError, ("ids", "float64")),
    "ids beyond int64": (
        {"ids": np.arange(300, dtype=np.uint64) + 2**63},
        InvalidArgumentError,
        ("ids", "2**63"),
    ),
    "queries of another dim": ({QUERIES: BASE[:5, :3]}, InvalidArgumentError, (QUERIES, "dim 3", "12")),
    "NaN in queries": ({QUERIES: changed(0, 0, np.nan)}, InvalidArgumentError, (QUERIES, "nan")),
    "no queries": ({QUERIES: BASE[:0]}, InvalidArgumentError, (QUERIES, "no rows")),
}


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
@pytest.mark.parametrize("code", ["rabitq", "sq"])
@pytest.mark.parametrize("scale", [1e-14, 1e-6, 1e6, 1e17])
def test_vectors_of_any_scale_within_the_range(scale: float, code: str, metric: str, tmp_path: Path) -> None:
    base = BASE * np.float32(scale)
    tiervec.build(
        base, tmp_path / "index", metric=metric, params={**PARAMS, "code": code}, calibration_queries=base[:2]
    )
    with tiervec.open(tmp_path / "index") as opened:
        found = opened.search(base, k=3, params={"search_list": 100})
    assert np.isfinite(found.distances).all()
    if metric != "ip":  # the largest product may be with a longer vector
        assert np.mean(found.ids[:, 0] == np.arange(300)) > 0.98


def test_data_is_scanned_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_scans: list[str] = []
    scan = arrays.check_finite

    def counted(matrix: Any, *, what: str = "data", first_row: int = 0) -> None:
        slow_scans.append(what)
        scan(matrix, what=what, first_row=first_row)

    monkeypatch.setattr(arrays, "check_finite", counted)
    monkeypatch.setattr("tiervec.building.check_finite", counted, raising=False)
    tiervec.build(BASE, tmp_path / "index", params=PARAMS)
    assert slow_scans == []
    broken = BASE.copy()
    broken[7, 2] = np.nan
    with pytest.raises(InvalidArgumentError, match=r"data has nan at row 7, column 2; all values must be finite"):
        tiervec.build(broken, tmp_path / "broken", params=PARAMS)
    assert slow_scans == ["data"], "only to name the value"


def test_zeros_are_vectors_too(tmp_path: Path) -> None:
    for metric in ("l2", "ip", "cosine"):
        tiervec.build(np.zeros((60, 5), np.float32), tmp_path / metric, metric=metric)
        with tiervec.open(tmp_path / metric) as opened:
            found = opened.search(np.zeros((2, 5), np.float32), k=60)
        assert np.isfinite(found.distances[:, :10]).all(), metric
        assert np.all(found.ids[:, :10] >= 0), metric


@pytest.mark.parametrize("what", BAD_ARGUMENTS)
def test_bad_arguments_of_build(what: str, tmp_path: Path) -> None:
    arguments, kind, words = BAD_ARGUMENTS[what]
    refused(lambda: tiervec.build(BASE, tmp_path / "index", **arguments), kind, *words)
    assert list(tmp_path.iterdir()) == []


def test_bad_outs(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_text("x")
    for name, kind, word in (
        ("there", AlreadyExistsError, "there already exists"),
        ("file", AlreadyExistsError, "file already exists"),
        ("no/index", NotFoundError, "no does not exist"),
        ("file/index", InvalidArgumentError, "file is not a directory"),
    ):
        refused(lambda name=name: tiervec.build(BASE, tmp_path / name), kind, word)  # type: ignore[misc]
    assert (tmp_path / "file").read_text() == "x"


def test_bad_files(tmp_path: Path) -> None:
    whole = np.array(BASE.shape, "<u4").tobytes() + BASE.tobytes()
    for name, content, kind, word in (
        ("short.fbin", whole[:-1], DataLossError, "short.fbin"),
        ("long.fbin", whole + b"\0", DataLossError, "long.fbin"),
        ("header.fbin", whole[:6], DataLossError, "header.fbin"),
        ("more.fbin", np.array([2**31, 2**31], "<u4").tobytes() + BASE.tobytes(), DataLossError, "more.fbin"),
        ("empty.fbin", b"", InvalidArgumentError, "empty.fbin is empty"),
        ("none.fbin", np.array([0, 12], "<u4").tobytes(), InvalidArgumentError, "none.fbin"),
        ("nan.fbin", whole[:-4] + np.float32(np.nan).tobytes(), InvalidArgumentError, "row 299, column 11"),
        ("vectors.txt", b"1 2 3", InvalidArgumentError, "vectors.txt"),
        ("vectors.npy", b"\x93NUMPY", DataLossError, "vectors.npy"),
    ):
        (tmp_path / name).write_bytes(content)
        refused(lambda name=name: tiervec.build(tmp_path / name, tmp_path / "index"), kind, word)  # type: ignore[misc]
    refused(lambda: tiervec.build(tmp_path / "absent.npy", tmp_path / "index"), NotFoundError, "absent.npy")
    assert not (tmp_path / "index").exists()


def test_the_memory_of_a_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.u8bin").open("wb") as file:
        file.write(np.array([2_000_000_000, 16], "<u4").tobytes())
        file.truncate(8 + 32_000_000_000)  # sparse
    refused(
        lambda: tiervec.build(tmp_path / "huge.u8bin", tmp_path / "index", memory_limit=8 << 30),
        ResourceExhaustedError,
        "memory_limit is 8 GiB",
        "2,000,000,000 vectors",
    )


def test_progress_names_the_estimate_and_every_stage_and_ends_each(tmp_path: Path) -> None:
    seen: dict[str, list[tuple[int, int, float | None]]] = {}
    tiervec.build(
        BASE,
        tmp_path / "index",
        params=PARAMS,
        calibration_queries=BASE[:5],
        progress=lambda stage, done, total, left_s: seen.setdefault(stage, []).append((done, total, left_s)),
    )
    stages = list(seen)
    assert stages[0].startswith("estimated peak memory ")
    assert stages[1:] == [
        "training code", "encoding", "linking", "navigation sample", "writing records",
        "calibration: exact neighbours", "calibration", "calibration: far queries",
    ]  # fmt: skip
    for stage, steps in seen.items():
        assert all(0 <= done <= total for done, total, _ in steps), stage
        done, total, left_s = steps[-1]
        assert done == total, stage
        assert left_s is None or left_s == 0, stage


def test_parameters_may_be_the_dataclass(tmp_path: Path) -> None:
    given = GraphBuildParams(graph_degree=9, build_list=20, alpha=1.1, code="sq", code_bits=8)
    info = tiervec.build(BASE, tmp_path / "index", params=given, calibration_queries=BASE[:2])
    assert info.params == dataclasses.asdict(given)


def test_the_description_adds_up(path: Path) -> None:
    with tiervec.open(path) as opened:
        info = opened.info
    sizes = {section["name"]: section["bytes"] for section in info.sections}
    assert info.tier_bytes == sizes["records"]
    assert info.fast_bytes == sum(sizes.values()) - sizes["records"] - sizes["records_extents"]
    assert info.dataset_bytes == BASE.nbytes
    assert info.amplification == pytest.approx(info.tier_bytes / BASE.nbytes)
    assert info.fast_bytes_per_vector == pytest.approx(info.fast_bytes / 300)
    assert {section["placement"] for section in info.sections} == {"fast", "tier", "disk"}
    assert info.as_dict()["vectors"] == 300
    assert sum(file.stat().st_size for file in path.iterdir() if file.suffix == ".bin") == sum(sizes.values())


# ---- open ------------------------------------------------------------------------------------------------------------

BAD_OPENS: dict[str, tuple[dict[str, Any], type[TiervecError], tuple[str, ...]]] = {
    "scheme": ({"tier": "floppy:"}, InvalidArgumentError, ("'floppy:'", "dram:, mmap:")),
    "no colon": ({"tier": "dram"}, InvalidArgumentError, ("'dram'", "':'")),
    "empty": ({"tier": ""}, InvalidArgumentError, ("tier URL ''",)),
    "rest": ({"tier": "dram:x"}, InvalidArgumentError, ("'dram:x'", "takes nothing")),
    "profile": ({"tier": "emulated:tape"}, InvalidArgumentError, ("'tape'", "rdma-200g")),
    "profile key": ({"tier": "emulated:latency_us=1,color=2"}, InvalidArgumentError, ("'color'",)),
    "profile value": ({"tier": "emulated:latency_us=x"}, InvalidArgumentError, ("latency_us", "'x'")),
    "no text": ({"tier": None}, InvalidArgumentError, ("tier", "None")),
    "threads": ({"threads": 1025}, InvalidArgumentError, ("threads", "1025")),
    "fast_memory": ({"fast_memory": 1000}, ResourceExhaustedError, ("fast_memory", "1000 B", "codes")),
    "fast_memory text": ({"fast_memory": "1GiB"}, InvalidArgumentError, ("fast_memory", "'1GiB'")),
    "fast_memory negative": ({"fast_memory": -1}, InvalidArgumentError, ("fast_memory", "-1")),
}


@pytest.mark.parametrize("what", BAD_OPENS)
def test_bad_arguments_of_open(what: str, path: Path) -> None:
    arguments, kind, words = BAD_OPENS[what]
    refused(lambda: tiervec.open(path, **arguments), kind, *words)


def test_fast_memory_that_is_just_enough(path: Path) -> None:
    with tiervec.open(path) as opened:
        needed = opened.info.fast_bytes
    refused(lambda: tiervec.open(path, fast_memory=needed - 1), ResourceExhaustedError, "fast_memory")
    with tiervec.open(path, fast_memory=needed) as opened:
        assert opened.info.fast_bytes == needed
        assert opened.search(BASE[:2], k=1).receipt.hot_records == 0


# ---- search ----------------------------------------------------------------------------------------------------------

BAD_SEARCHES: dict[str, tuple[Any, dict[str, Any], type[TiervecError], tuple[str, ...]]] = {
    "dim": (BASE[:2, :5], {}, InvalidArgumentError, ("queries", "dim 5", "12")),
    "three dimensions": (BASE[None], {}, InvalidArgumentError, ("queries", "(1, 300, 12)")),
    "int queries": (BASE.astype(np.int32), {}, InvalidArgumentError, ("queries", "int32")),
    "text": (np.array([["x"] * 12]), {}, InvalidArgumentError, ("queries",)),
    "NaN": (changed(3, 4, np.nan), {}, InvalidArgumentError, ("queries", "nan", "row 3, column 4")),
    "infinity": (changed(3, 4, -np.inf), {}, InvalidArgumentError, ("queries", "-inf")),
    "no rows": (BASE[:0], {}, InvalidArgumentError, ("queries", "no rows")),
    "too large": (BASE * np.float32(1e20), {}, InvalidArgumentError, ("queries", "e+20", "scale them down")),
    "k 0": (BASE, {"k": 0}, InvalidArgumentError, ("k is 0", "1 to 10000")),
    "k -1": (BASE, {"k": -1}, InvalidArgumentError, ("k is -1",)),
    "k 10001": (BASE, {"k": 10_001}, InvalidArgumentError, ("k is 10001",)),
    "k real": (BASE, {"k": 3.0}, InvalidArgumentError, ("k is 3.0",)),
    "k text": (BASE, {"k": "3"}, InvalidArgumentError, ("k is '3'",)),
    "key": (BASE, {"params": {"nprobe": 3}}, InvalidArgumentError, ("'nprobe'", "search_list, beam_width")),
    "params": (BASE, {"params": [1]}, InvalidArgumentError, ("params", "list")),
    "build params": (BASE, {"params": GraphBuildParams()}, InvalidArgumentError, ("params", "GraphBuildParams")),
    "search_list": (BASE, {"params": {"search_list": 0}}, InvalidArgumentError, ("search_list", "0")),
    "search_list real": (BASE, {"params": {"search_list": 5.5}}, InvalidArgumentError, ("search_list", "5.5")),
    "beam_width": (BASE, {"params": {"beam_width": 33}}, InvalidArgumentError, ("beam_width", "33", "1 to 32")),
    "stop_margin": (BASE, {"params": {"stop_margin": -0.1}}, InvalidArgumentError, ("stop_margin", "-0.1")),
    "stop_margin NaN": (BASE, {"params": {"stop_margin": float("nan")}}, InvalidArgumentError, ("stop_margin", "nan")),
    "stop_margin text": (BASE, {"params": {"stop_margin": "0"}}, InvalidArgumentError, ("stop_margin", "'0'")),
    "pipeline": (BASE, {"params": {"pipeline": "off"}}, InvalidArgumentError, ("pipeline", "'off'")),
    "target 0": (BASE, {"target_recall": 0}, InvalidArgumentError, ("target_recall", "0")),
    "target 1.1": (BASE, {"target_recall": 1.1}, InvalidArgumentError, ("target_recall", "1.1")),
    "target NaN": (BASE, {"target_recall": float("nan")}, InvalidArgumentError, ("target_recall", "nan")),
    "target text": (BASE, {"target_recall": "0.9"}, InvalidArgumentError, ("target_recall", "'0.9'")),
    "target and list": (
        BASE,
        {"target_recall": 0.9, "params": {"search_list": 9}},
        InvalidArgumentError,
        ("target_recall", "search_list"),
    ),
    "filter": (BASE, {"filter": "a == 1"}, InvalidArgumentError, ("has no attributes",)),
    "timeout 0": (BASE, {"timeout_s": 0}, InvalidArgumentError, ("timeout_s", "0")),
    "timeout NaN": (BASE, {"timeout_s": float("nan")}, InvalidArgumentError, ("timeout_s", "nan")),
    "timeout text": (BASE, {"timeout_s": "1"}, InvalidArgumentError, ("timeout_s", "'1'")),
}


@pytest.mark.parametrize("what", BAD_SEARCHES)
def test_bad_arguments_of_search(what: str, index: Any) -> None:
    queries, arguments, kind, words = BAD_SEARCHES[what]
    refused(lambda: index.search(queries, **arguments), kind, *words)
    assert index.search(BASE[:1], k=1).ids.tolist() == [[0]]


@pytest.mark.parametrize(
    ("queries", "word"),
    [
        (np.full((1, 12), 256), "256"),
        (np.full((1, 12), -1), "-1"),
        (np.full((1, 12), 0.5), "0.5"),
        (np.full((1, 12), np.nan), "nan"),
        (np.full((1, 12), 1e300), "1e+300"),
    ],
    ids=str,
)
def test_an_index_of_bytes_takes_whole_numbers_of_its_range(queries: Any, word: str, bytes_path: Path) -> None:
    with tiervec.open(bytes_path) as opened:
        refused(lambda: opened.search(queries), InvalidArgumentError, "queries", word)
        assert opened.search(np.full((1, 12), 255.0)).ids.shape == (1, 10)


def test_k_beyond_what_there_is_pads(index: Any) -> None:
    found = index.search(BASE[:4], k=310)
    assert found.ids.dtype == np.int64
    assert found.distances.dtype == np.float32
    assert np.sort(found.ids[:, :300], axis=1).tolist() == [list(range(300))] * 4
    assert np.all(found.ids[:, 300:] == -1)
    assert np.all(np.isposinf(found.distances[:, 300:]))


def test_queries_of_many_kinds_give_the_same(index: Any) -> None:
    expected = index.search(BASE[:3], k=4)
    for queries in (BASE[:3].astype(np.float64), BASE[:3].tolist(), np.asfortranarray(BASE[:3]), memoryview(BASE[:3])):
        np.testing.assert_array_equal(index.search(queries, k=4).ids, expected.ids)
    assert index.search(BASE[0], k=4).ids.tolist() == expected.ids[:1].tolist()
    np.testing.assert_array_equal(index.search(BASE[:3], k=np.int64(4)).ids, expected.ids)
    by_class = index.search(BASE[:3], k=4, params=GraphSearchParams(search_list=64))
    by_mapping = index.search(BASE[:3], k=4, params={"search_list": 64})
    np.testing.assert_array_equal(by_class.ids, by_mapping.ids)


def test_a_list_shorter_than_k_is_raised_to_it(index: Any) -> None:
    found = index.search(BASE[:2], k=50, params={"search_list": 5})
    assert found.receipt.params["search_list"] == 50
    assert np.all(found.ids >= 0)


def test_target_recall_is_looked_up_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = []

    def count(*arguments: Any) -> Any:
        looked_up.append(arguments[2:4])
        return choose(*arguments)

    monkeypatch.setattr("tiervec.search_plan.choose", count)
    with tiervec.open(path) as index:
        used = [index.search(BASE[0], k=5, target_recall=0.9).receipt.params for _ in range(3)]
        assert used[1:] == used[:1] * 2
        index.search(BASE[0], k=6, target_recall=0.9)
        index.search(BASE[0], k=6, target_recall=0.8)
    assert looked_up == [(5, 0.9), (6, 0.9), (6, 0.8)]


def test_target_recall_keeps_the_other_parameters(index: Any) -> None:
    params = index.search(BASE, k=10, target_recall=0.9, params={"beam_width": 4}).receipt.params
    assert params["beam_width"] == 4
    assert index.search(BASE, k=10, target_recall=1.0).receipt.params["search_list"] >= 10


@pytest.mark.parametrize("timeout_s", [1e-6, 0.3])
@pytest.mark.parametrize("queries", [1, 300])
def test_a_timeout_ends_a_search_on_a_slow_device(timeout_s: float, queries: int, path: Path) -> None:
    with tiervec.open(path, tier=SLOW) as opened:
        refused(
            lambda: opened.search(BASE[:queries], timeout_s=timeout_s),
            DeadlineExceededError,
            "latency_us=200000",
            "deadline",
        )
        assert opened.search(BASE[:1], k=1, params={"search_list": 1}, timeout_s=60).ids.shape == (1, 1)


@pytest.mark.parametrize("when_s", [0, 0.3])
def test_another_thread_cancels_a_search(when_s: float, path: Path) -> None:
    token = tiervec.CancelToken()
    with tiervec.open(path, tier="emulated:latency_us=100000,reads_mps=1,gbps=1,block=64", threads=1) as opened:
        timer = threading.Timer(when_s, token.cancel)
        timer.start()
        with pytest.raises(tiervec.CancelledError):
            opened.search(BASE, cancel=token)
        timer.join()


@pytest.mark.parametrize("timeout_s", [1e9, 1e30, float("inf")])
def test_a_timeout_may_be_long(timeout_s: float, index: Any) -> None:
    assert index.search(BASE[:1], k=1, timeout_s=timeout_s).ids.tolist() == [[0]]


# ---- life of an index ------------------------------------------------------------------------------------------------


def test_a_closed_index_says_so(path: Path) -> None:
    opened = tiervec.open(path)
    opened.close()
    opened.close()
    refused(lambda: opened.search(BASE), UnavailableError, str(path), "closed")
    assert opened.info.vectors == 300
    assert opened.tier == "dram:"
    assert "index" in repr(opened)
    with tiervec.open(path) as other:
        pass
    refused(lambda: other.search(BASE), UnavailableError, "closed")


def resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_closing_gives_the_memory_back(tmp_path: Path) -> None:
    base = np.random.default_rng(3).integers(0, 255, size=(3000, 8000)).astype(np.uint8)
    params = {"graph_degree": 2, "build_list": 2, "code": "sq"}
    tiervec.build(base[:, :8000], tmp_path / "index", params=params, calibration_queries=base[:1])
    opened = tiervec.open(tmp_path / "index")
    gc.collect()
    before = resident_bytes()
    opened.close()
    gc.collect()
    assert before - resident_bytes() > 0.9 * base.nbytes
    assert opened.tier == "dram:"


@pytest.mark.realtime
def test_close_waits_for_the_searches_that_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = tiervec.open(path)
    native = tiervec.api.search_natively
    order: list[str] = []
    began, go_on = threading.Event(), threading.Event()

    def held(*arguments: Any, **options: Any) -> Any:
        began.set()
        assert go_on.wait(60)
        found = native(*arguments, **options)
        order.append("searched")
        return found

    def close() -> None:
        opened.close()
        order.append("closed")

    monkeypatch.setattr("tiervec.api.search_natively", held)
    results: list[Any] = []
    searching = threading.Thread(target=lambda: results.append(opened.search(BASE[:1], k=1)))
    searching.start()
    assert began.wait(60)
    closing = threading.Thread(target=close)
    closing.start()
    closing.join(0.2)  # one that did not wait has ended by now
    go_on.set()
    closing.join(60)
    searching.join(60)
    assert order == ["searched", "closed"]
    assert results[0].ids.tolist() == [[0]]
    refused(lambda: opened.search(BASE), UnavailableError, "closed")


def test_threads_of_python_search_at_the_same_time(path: Path) -> None:
    with tiervec.open(path, tier="emulated:rdma-200g", threads=2) as opened:
        expected = opened.search(BASE, k=5)
        results: list[Any] = []
        threads = [threading.Thread(target=lambda: results.append(opened.search(BASE, k=5))) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(results) == 6
        for found in results:
            np.testing.assert_array_equal(found.ids, expected.ids)


def test_the_caller_may_change_its_array_afterwards(tmp_path: Path) -> None:
    base = BASE.copy()
    tiervec.build(base, tmp_path / "index", params=PARAMS, calibration_queries=base[:2])
    with tiervec.open(tmp_path / "index") as opened:
        base[:] = 0
        assert opened.search(BASE[:5], k=1, params={"search_list": 64}).ids.ravel().tolist() == [0, 1, 2, 3, 4]


def test_a_search_without_parameters_aims_at_the_target_of_the_index(tmp_path: Path) -> None:
    searched = {}
    for target in (0.5, 0.99):
        tiervec.build(BASE, tmp_path / str(target), params={**PARAMS, "target_recall": target}, threads=1)
        with tiervec.open(tmp_path / str(target)) as index:
            receipt = index.search(BASE, k=10).receipt
            asked = index.search(BASE, k=10, target_recall=target).receipt
            assert receipt.params == asked.params
            assert receipt.expected_recall == asked.expected_recall >= target
            assert receipt.as_dict()["expected_recall"] == receipt.expected_recall
            assert index.search(BASE, k=10, params={"beam_width": 2}).receipt.params["beam_width"] == 2
            assert index.search(BASE, k=10, params={"search_list": 30}).receipt.expected_recall is None
            assert index.info.params["target_recall"] == target
        searched[target] = receipt.reads
    assert searched[0.5] < searched[0.99]


def test_a_target_out_of_reach_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiervec.build(BASE, tmp_path / "good", params={**PARAMS, "target_recall": 0.9}, threads=1)
    assert not caplog.records
    monkeypatch.setattr(tiervec.building, "reached", lambda _calibration: {1: 0.95, 10: 0.8})
    tiervec.build(BASE, tmp_path / "bad", params={**PARAMS, "target_recall": 0.9}, threads=1)
    (message,) = [record.getMessage() for record in caplog.records]
    assert "0.800 with k=10" in message
    assert "0.9" in message
