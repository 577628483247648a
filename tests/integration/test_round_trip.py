"""What is saved is what is opened: any shape, dtype, metric, ids, degree and code."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiervec
from tiervec.index_files.directory import IndexDirectory

Array = np.ndarray[Any, Any]


@st.composite
def vectors(draw: st.DrawFn) -> Array:
    count, dim = draw(st.integers(2, 90)), draw(st.integers(1, 33))
    dtype = draw(st.sampled_from(["float32", "float16", "int8", "uint8"]))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["spread", "few values", "equal rows", "with a zero row"]))
    values = random.normal(size=(count, dim))
    if kind == "few values":
        values = np.rint(values)
    elif kind == "equal rows":
        values = values[random.integers(0, 1 + count // 4, size=count)]
    elif kind == "with a zero row":
        values[draw(st.integers(0, count - 1))] = 0
    if dtype.startswith("float"):
        return (values * draw(st.sampled_from([1e-3, 1.0, 100.0]))).astype(dtype)
    bounds = np.iinfo(dtype)
    return np.clip(np.rint(values * 50 + (128 if dtype == "uint8" else 0)), bounds.min, bounds.max).astype(dtype)


def user_ids(count: int) -> st.SearchStrategy[list[int] | None]:
    return st.one_of(
        st.none(),
        st.lists(
            st.one_of(st.integers(0, 300), st.integers(0, 2**63 - 1)), min_size=count, max_size=count, unique=True
        ),
    )


def exact_distances(queries: Array, rows: Array, metric: str) -> Array:
    """Of each query to its own row, in float64."""
    q, x = queries.astype(np.float64), rows.astype(np.float64)
    dots = (q * x).sum(axis=-1)
    if metric == "ip":
        return -dots
    if metric == "l2":
        return ((q - x) ** 2).sum(axis=-1)
    norms = np.sqrt((q**2).sum(axis=-1) * (x**2).sum(axis=-1))
    return 1 - np.divide(dots, norms, out=np.zeros_like(dots), where=norms > 0)


@given(data=st.data(), base=vectors())
@settings(max_examples=60)
def test_an_index_comes_back_as_it_was_built(data: st.DataObject, base: Array) -> None:
    count, dim = base.shape
    metric = data.draw(st.sampled_from(["l2", "ip", "cosine"]))
    ids = data.draw(user_ids(count))
    code, bits = data.draw(st.sampled_from([("rabitq", 4), ("rabitq", 2.5), ("sq", 4), ("sq", 8)]))
    degree = data.draw(st.sampled_from([2, 3, 16, 64]))
    params = {"graph_degree": degree, "build_list": max(degree, 20), "code": code, "code_bits": bits}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "index"
        calibration = base[: 1 + count // 10]
        info = tiervec.build(
            base,
            out,
            metric=metric,
            ids=ids,
            params=params,
            threads=data.draw(st.integers(1, 2)),
            calibration_queries=calibration.astype(np.float32) if base.dtype == np.float16 else calibration,
        )
        assert (info.vectors, info.dim, info.dtype, info.metric) == (count, dim, str(base.dtype), metric)
        assert info.dataset_bytes == base.nbytes
        assert {**params, "alpha": 1.2, "layout": "packed", "target_recall": 0.95} == dict(info.params)
        IndexDirectory.open(out).verify()
        found = []
        for tier in ("dram:", "mmap:"):
            with tiervec.open(out, tier=tier, threads=1) as index:
                assert index.info == info
                found.append(index.search(base[:20], k=5, params={"search_list": count}))
    np.testing.assert_array_equal(found[0].ids, found[1].ids)
    # A few edges for each vector need not lead everywhere.
    check_results(base, np.arange(count) if ids is None else np.asarray(ids), metric, found[0], connected=degree > 3)


def check_results(base: Array, ids: Array, metric: str, found: tiervec.SearchResult, *, connected: bool) -> None:
    row_of = {int(label): row for row, label in enumerate(ids)}
    exists = min(5, len(base))
    assert np.all(found.ids[:, exists:] == -1)
    assert np.all(np.isinf(found.distances[:, exists:]))
    labels, distances = found.ids[:, :exists], found.distances[:, :exists]
    assert not connected or np.all(labels >= 0), "a list as long as the index finds as many as are asked for"
    queries = np.flatnonzero(np.all(labels >= 0, axis=1))
    labels, distances = labels[queries], distances[queries]
    assert all(len(set(row)) == exists for row in labels.tolist())
    assert np.all(np.diff(distances, axis=1) >= 0)
    rows = np.array([[row_of[label] for label in row] for row in labels.tolist()], np.int64).reshape(labels.shape)
    right = exact_distances(base[queries, None, :], base[rows], metric)
    magnitude = float((base.astype(np.float64) ** 2).sum(axis=1).max()) if metric != "cosine" else 1.0
    np.testing.assert_allclose(distances, right, rtol=1e-5, atol=2e-6 * magnitude + 1e-12)


def test_one_thread_and_one_seed_write_the_same_bytes(tmp_path: Path) -> None:
    base = np.random.default_rng(3).normal(size=(300, 12)).astype(np.float32)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        tiervec.build(
            base,
            tmp_path / name,
            threads=1,
            seed=seed,
            params={"graph_degree": 8, "build_list": 16},
            calibration_queries=base[:5],
        )
    contents = {
        name: {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("a", "b", "c")
    }
    assert contents["a"] == contents["b"]
    assert contents["a"]["records.bin"] != contents["c"]["records.bin"]


@pytest.mark.parametrize("order", ["C", "F", "strided", "read-only", "big-endian"])
def test_the_layout_of_the_array_does_not_matter(order: str, tmp_path: Path) -> None:
    base = np.random.default_rng(4).normal(size=(80, 6)).astype(np.float32)
    given_array = {
        "C": base,
        "F": np.asfortranarray(base),
        "strided": np.repeat(base, 2, axis=0)[::2],
        "read-only": np.frombuffer(base.tobytes(), np.float32).reshape(base.shape),
        "big-endian": base.astype(">f4"),
    }[order]
    params = {"graph_degree": 8, "build_list": 16}
    tiervec.build(given_array, tmp_path / "index", params=params, calibration_queries=given_array[:3])
    with tiervec.open(tmp_path / "index") as index:
        found = index.search(given_array, k=1)
    assert found.ids.ravel().tolist() == list(range(80))


@pytest.mark.parametrize("suffix", [".npy", ".fbin", ".fvecs"])
def test_a_file_gives_the_index_of_its_array(suffix: str, tmp_path: Path) -> None:
    base = np.random.default_rng(5).normal(size=(120, 7)).astype(np.float32)
    path = tmp_path / f"base{suffix}"
    if suffix == ".npy":
        np.save(path, base)
    elif suffix == ".fbin":
        path.write_bytes(np.array(base.shape, "<u4").tobytes() + base.tobytes())
    else:
        path.write_bytes(np.concatenate([np.full((120, 1), 7, "<i4").view("<f4"), base], axis=1).tobytes())
    options: dict[str, Any] = {
        "threads": 1,
        "params": {"graph_degree": 8, "build_list": 16},
        "calibration_queries": base[:3],
    }
    tiervec.build(path, tmp_path / "of-file", **options)
    tiervec.build(base, tmp_path / "of-array", **options)
    for name in ("records.bin", "code_rows.bin", "manifest.json"):
        assert (tmp_path / "of-file" / name).read_bytes() == (tmp_path / "of-array" / name).read_bytes()
