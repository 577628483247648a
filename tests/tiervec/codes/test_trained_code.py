from __future__ import annotations

import io
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiervec.codes import CODE_NAMES, TrainedCode, code_row_bytes, train_code, training_bytes
from tiervec.errors import DataLossError, InvalidArgumentError, UnsupportedError

METRICS = ("l2", "ip", "cosine")
CASES = [("rabitq", 4), ("rabitq", 2), ("rabitq", 1.5), ("sq", 4), ("sq", 8), ("pq", 2)]


def sample(rows: int = 600, dim: int = 24, seed: int = 1) -> Any:
    """Far from the origin, with a few wide directions, as embeddings are."""
    random = np.random.default_rng(seed)
    spread = np.geomspace(3, 0.1, dim)
    mix = np.linalg.qr(random.normal(size=(dim, dim)))[0]
    return (random.normal(size=(rows, dim)) * spread @ mix + 2).astype(np.float32)


def exact(queries: Any, vectors: Any, metric: str) -> Any:
    q, x = queries.astype(np.float64), vectors.astype(np.float64)
    dots = q @ x.T
    if metric == "ip":
        return -dots
    if metric == "l2":
        return (q**2).sum(axis=1)[:, None] - 2 * dots + (x**2).sum(axis=1)[None]
    return 1 - dots / np.sqrt((q**2).sum(axis=1)[:, None] * (x**2).sum(axis=1)[None])


def estimates(code: TrainedCode, queries: Any, vectors: Any) -> Any:
    native = code.native()
    rows = np.empty((len(vectors), native.row_bytes), np.uint8)
    native.encode(vectors, rows, 2)
    return np.stack([native.distances(query.astype(np.float32), rows) for query in queries])


def trained(name: str, bits: float, metric: str, vectors: Any) -> TrainedCode:
    if name == "pq":
        pytest.importorskip("faiss", reason="code pq is trained with faiss, which is not installed")
    return train_code(name, vectors, metric=metric, code_bits=bits, seed=1, threads=1)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("name", "bits"), CASES)
def test_estimates_follow_the_distances(name: str, bits: float, metric: str) -> None:
    vectors, queries = sample(), sample(20, seed=2)
    code = trained(name, bits, metric, vectors)
    right, found = exact(queries, vectors, metric), estimates(code, queries, vectors)
    spread = right.std(axis=1, keepdims=True)
    error = (found - right) / spread
    # In units of the spread of the distances; more bits, less error.
    assert np.abs(error).mean() < {8: 0.02, 4: 0.1, 2: 0.35, 1.5: 0.4}[bits]
    # Not biased: what decides when a search stops compares estimates with exact distances.
    assert np.abs(error.mean()) < {8: 0.01, 4: 0.03, 2: 0.15, 1.5: 0.15}[bits]
    nearest = np.argsort(right, axis=1)[:, :10]
    candidates = np.argsort(found, axis=1)[:, :60]
    kept = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(nearest.tolist(), candidates.tolist(), strict=True)])
    assert kept > 0.9


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8"])
@pytest.mark.parametrize(("name", "bits"), CASES)
def test_every_dtype_can_be_encoded(name: str, bits: float, dtype: str) -> None:
    vectors = sample(400)
    if not dtype.startswith("float"):
        vectors = np.clip(vectors * 20 + (100 if dtype == "uint8" else 0), -128 if dtype == "int8" else 0, 127)
    vectors = vectors.astype(dtype)
    code = trained(name, bits, "l2", vectors)
    queries = vectors[:5].astype(np.float32)
    right, found = exact(queries, vectors.astype(np.float32), "l2"), estimates(code, queries, vectors)
    assert np.corrcoef(right.ravel(), found.ravel())[0, 1] > 0.9


@pytest.mark.parametrize(("name", "bits"), CASES)
def test_the_size_of_a_row_is_known_before_training(name: str, bits: float) -> None:
    for dim in (1, 2, 3, 7, 8, 33, 64, 100):
        vectors = sample(300, dim)
        native = trained(name, bits, "l2", vectors).native()
        assert (native.dim, native.row_bytes) == (dim, code_row_bytes(name, bits, dim))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("name", "bits"), CASES)
def test_bytes_come_back_as_the_same_code(name: str, bits: float, metric: str) -> None:
    vectors = sample(400)
    code = trained(name, bits, metric, vectors)
    again = TrainedCode.from_bytes(code.to_bytes(), name=name, metric=metric, dim=24)
    assert again.scalars == dict(code.scalars)
    np.testing.assert_array_equal(estimates(again, vectors[:3], vectors), estimates(code, vectors[:3], vectors))


@pytest.mark.parametrize(("name", "bits"), CASES)
def test_training_is_repeatable(name: str, bits: float) -> None:
    assert trained(name, bits, "l2", sample()).to_bytes() == trained(name, bits, "l2", sample()).to_bytes()


DEGENERATE: dict[str, Any] = {
    "two rows": sample(2),
    "equal rows": np.full((300, 24), 7, np.float32),
    "zeros": np.zeros((300, 24), np.float32),
    "one wide direction": np.outer(np.arange(300), np.ones(24)).astype(np.float32),
    "tiny": sample(300) * np.float32(1e-12),
    "huge": sample(300) * np.float32(1e12),
    "an outlier": np.concatenate([sample(299), np.full((1, 24), 1e6, np.float32)]),
}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("name", "bits"), [case for case in CASES if case[0] != "pq"])
@pytest.mark.parametrize("what", DEGENERATE)
def test_odd_data_gives_finite_estimates(what: str, name: str, bits: float, metric: str) -> None:
    vectors = DEGENERATE[what]
    found = estimates(trained(name, bits, metric, vectors), vectors[:5], vectors)
    assert np.isfinite(found).all()


def test_more_bits_are_better() -> None:
    vectors, queries = sample(), sample(10, seed=2)
    errors = [
        np.abs(
            estimates(trained("rabitq", bits, "l2", vectors), queries, vectors) - exact(queries, vectors, "l2")
        ).mean()
        for bits in (1.5, 2, 3, 4, 6, 8)
    ]
    assert errors == sorted(errors, reverse=True)


def test_unknown_codes_and_bits_are_refused() -> None:
    assert CODE_NAMES == ("rabitq", "sq", "pq")
    for name, bits, word in (
        ("zip", 4, "'zip'"),
        ("", 4, "''"),
        ("sq", 6, "code_bits is 6"),
        ("sq", 0, "code_bits is 0"),
        ("rabitq", 0.4, "code_bits is 0.4"),
        ("rabitq", 8.1, "code_bits is 8.1"),
        ("pq", float("nan"), "code_bits is nan"),
        ("rabitq", "4", "code_bits is '4'"),
        ("rabitq", None, "code_bits is None"),
    ):
        with pytest.raises(InvalidArgumentError, match=word):
            code_row_bytes(name, bits, 64)  # type: ignore[arg-type]


def test_pq_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(UnsupportedError, match=r"faiss.*pip install"):
        train_code("pq", sample(), metric="l2", code_bits=2)


def test_pq_needs_as_many_rows_as_centroids() -> None:
    pytest.importorskip("faiss", reason="code pq is trained with faiss, which is not installed")
    with pytest.raises(InvalidArgumentError, match=r"at least 256 vectors.*255"):
        train_code("pq", sample(255), metric="l2", code_bits=2)


WHOLE = train_code("rabitq", sample(100, 8), metric="l2", code_bits=4).to_bytes()


def read(content: bytes, name: str = "rabitq") -> TrainedCode:
    return TrainedCode.from_bytes(content, name=name, metric="l2", dim=8)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_code_or_data_loss(content: bytes) -> None:
    for prefix in (b"", WHOLE[:200], b"PK\x03\x04", b"\x93NUMPY\x01\x00"):
        with pytest.raises(DataLossError):
            read(prefix + content)


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255), st.integers(0, 40))
def test_damaged_bytes_are_a_code_or_data_loss(at: int, change: int, cut: int) -> None:
    harmed = bytearray(WHOLE)
    harmed[at] ^= change
    for content in (bytes(harmed), bytes(harmed[: len(harmed) - cut]), bytes(harmed[:at] + harmed[at + cut :])):
        try:
            code = read(content)
        except DataLossError:
            continue
        assert np.isfinite(estimates(code, sample(2, 8), sample(20, 8))).all()  # changed where it means nothing


def archive(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    with np.load(io.BytesIO(WHOLE)) as whole:
        found = {key: whole[key] for key in whole.files}
    found.update(arrays)
    np.savez(buffer, allow_pickle=False, **{key: value for key, value in found.items() if value is not None})
    return buffer.getvalue()


FORGED: dict[str, dict[str, Any]] = {
    "no center": {"center": None},
    "a shorter center": {"center": np.zeros(7, np.float32)},
    "NaN": {"center": np.full(8, np.nan, np.float32)},
    "text": {"center": np.array(["a"] * 8)},
    "two dimensions": {"center": np.zeros((2, 4), np.float32)},
    "widths": {"widths": np.full(8, 7, np.uint8)},
    "no widths": {"widths": np.zeros(8, np.uint8)},
    "too many widths": {"widths": np.full(8, 8, np.uint8), "scalar_row_bytes": np.int64(13)},
    "rotation": {"rotation": np.zeros((8, 7), np.float32)},
    "infinite rotation": {"rotation": np.full((8, 8), np.inf, np.float32)},
    "steps": {"steps": np.full(8, -1, np.float32)},
    "row_bytes 0": {"scalar_row_bytes": np.int64(0)},
    "row_bytes -1": {"scalar_row_bytes": np.int64(-1)},
    "row_bytes huge": {"scalar_row_bytes": np.int64(2**40)},
    "row_bytes many": {"scalar_row_bytes": np.zeros(2, np.int64)},
    "row_bytes text": {"scalar_row_bytes": np.array("x")},
    "no row_bytes": {"scalar_row_bytes": None},
}


@pytest.mark.parametrize("what", FORGED)
def test_forged_parameters_are_data_loss(what: str) -> None:
    assert read(archive()).native().dim == 8
    with pytest.raises(DataLossError, match="section code"):
        read(archive(**FORGED[what]))


def test_the_code_of_another_name_is_data_loss() -> None:
    with pytest.raises(DataLossError, match="pq"):
        read(WHOLE, name="pq")


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
@pytest.mark.parametrize("dim", [16, 256, 512])
@pytest.mark.parametrize("name", ["rabitq", "sq"])
def test_training_takes_no_more_memory_than_estimated(name: str, dim: int, dtype: str, metric: str) -> None:
    random = np.random.default_rng(1)
    vectors = random.integers(0, 200, size=((1 << 23) // dim, dim)).astype(dtype)
    vectors[::3] = 100  # some have no direction from the others
    train_code(name, vectors[:1000], metric=metric, code_bits=4)  # what is loaded at first use is not counted
    tracemalloc.start()
    try:
        train_code(name, vectors, metric=metric, code_bits=4)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert vectors.nbytes + peak <= training_bytes(*vectors.shape)


@pytest.mark.parametrize("name", ["rabitq", "sq"])
@pytest.mark.parametrize("metric", METRICS)
def test_a_sample_is_overwritten_only_where_it_may_be(name: str, metric: str) -> None:
    vectors = sample()
    kept = vectors.copy()
    code = train_code(name, vectors, metric=metric, code_bits=4)
    assert np.array_equal(vectors, kept)
    again = train_code(name, vectors, metric=metric, code_bits=4, overwrite_sample=True)
    assert again.to_bytes() == code.to_bytes()
