from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from tiervec import _core
from tiervec.cluster_index.residual_code import residual_training_bytes, train_residual_code

Array = np.ndarray[Any, Any]


def clustered(metric: str) -> tuple[Array, Array, Array]:
    """Vectors far from zero and near their centroids: (vectors, centroids, cluster of each vector)."""
    random = np.random.default_rng(1)
    centroids = (random.normal(size=(8, 32)) * 10).astype(np.float32)
    owner = np.sort(random.integers(0, 8, 1000))
    vectors = (centroids[owner] + random.normal(size=(1000, 32)) * 0.2).astype(np.float32)
    if metric == "cosine":
        centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    return vectors, centroids, owner


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
@pytest.mark.parametrize(("name", "bits"), [("rabitq", 2), ("sq", 4), ("pq", 1)])
def test_a_code_of_residuals_is_of_the_metric_and_centred_like_the_vectors(name: str, bits: float, metric: str) -> None:
    vectors, centroids, owner = clustered(metric)
    code = train_residual_code(name, vectors, centroids[owner], metric=metric, code_bits=bits, threads=1)
    assert (code.name, code.metric, code.dim) == (name, metric, 32)
    assert code.native().row_bytes > 0
    if name != "pq":
        np.testing.assert_allclose(code.arrays["center"], centroids[owner].mean(axis=0), rtol=1e-4, atol=1e-5)
    again = train_residual_code(name, vectors, centroids[owner], metric=metric, code_bits=bits, threads=1)
    assert code.to_bytes() == again.to_bytes()


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8"])
def test_samples_of_every_dtype_stay_as_they_are(dtype: str) -> None:
    random = np.random.default_rng(2)
    sample = (random.normal(size=(300, 16)) * 20 + (90 if dtype == "uint8" else 0)).astype(dtype)
    before, origins = sample.copy(), np.zeros((300, 16), np.float32)
    train_residual_code("rabitq", sample, origins, metric="cosine", code_bits=2, threads=1)
    np.testing.assert_array_equal(sample, before)
    assert (origins == 0).all()


def test_equal_vectors_have_a_code() -> None:
    sample = np.ones((50, 8), np.float32)
    code = train_residual_code("rabitq", sample, sample, metric="l2", code_bits=2, threads=1)
    blocks = _core.huge_bytes(_core.code_blocks_bytes(code.native(), 50))
    assert len(blocks) > 0


@pytest.mark.parametrize("metric", ["l2", "cosine"])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("name", ["rabitq", "sq"])
def test_training_takes_no_more_memory_than_estimated(name: str, dtype: str, metric: str) -> None:
    random = np.random.default_rng(1)
    sample = random.integers(0, 200, size=(40_000, 256)).astype(dtype)
    origins = random.random(sample.shape, np.float32)
    train_residual_code(name, sample[:500], origins[:500], metric=metric, code_bits=4, threads=1)  # loads what it needs
    tracemalloc.start()
    try:
        train_residual_code(name, sample, origins, metric=metric, code_bits=4, threads=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sample.nbytes + origins.nbytes + peak <= residual_training_bytes(*sample.shape)
