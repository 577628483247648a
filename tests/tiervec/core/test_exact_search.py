"""The native exact search, which recall and calibration rest on, against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tiervec import _core
from tiervec.errors import InvalidArgumentError

DTYPES = ("float32", "float16", "int8", "uint8")


def vectors(count: int, dim: int, dtype: str, seed: int) -> Any:
    random = np.random.default_rng(seed)
    if dtype.startswith("float"):
        return random.normal(size=(count, dim)).astype(dtype)
    bounds = np.iinfo(dtype)
    values = random.integers(bounds.min, bounds.max + 1, size=(count, dim))
    return np.where(values == 0, 1, values).astype(dtype)  # a vector of zeros has no angle


def expected(data: Any, queries: Any, metric: str) -> Any:
    q, x = queries.astype(np.float64), data.astype(np.float64)
    dots = q @ x.T
    if metric == "ip":
        return -dots
    norms_q, norms_x = (q**2).sum(axis=1)[:, None], (x**2).sum(axis=1)[None]
    return norms_q - 2 * dots + norms_x if metric == "l2" else 1 - dots / np.sqrt(norms_q * norms_x)


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [1, 7, 64, 100])
def test_it_finds_what_numpy_finds(metric: str, dtype: str, dim: int) -> None:
    data = vectors(400, dim, dtype, 1)
    queries = vectors(15, dim, dtype, 2)
    if dtype == "float16":
        queries = queries.astype(np.float32)
    ids, distances = _core.exact_search(data, metric, queries, 20, None, 2)
    right = expected(data, queries, metric)
    tolerance = 1e-5 * float(np.abs(right).max()) + 1e-6
    np.testing.assert_allclose(distances, np.sort(right, axis=1)[:, :20], rtol=1e-5, atol=tolerance)
    np.testing.assert_allclose(distances, np.take_along_axis(right, ids, axis=1), rtol=1e-5, atol=tolerance)
    assert all(len(set(row)) == 20 for row in ids.tolist())


def test_ties_go_by_row_and_too_few_are_padded() -> None:
    data = np.zeros((4, 3), np.float32)
    ids, distances = _core.exact_search(data, "l2", data[:1], 6, None, 1)
    assert ids.tolist() == [[0, 1, 2, 3, -1, -1]]
    assert distances.tolist() == [[0, 0, 0, 0, np.inf, np.inf]]


def test_a_row_of_each_query_can_be_left_out() -> None:
    data = vectors(50, 4, "float32", 3)
    ids, _ = _core.exact_search(data, "l2", data, 1, np.arange(50), 2)
    assert np.all(ids[:, 0] != np.arange(50))


@pytest.mark.parametrize(
    ("queries", "k", "exclude"),
    [
        (vectors(3, 5, "float32", 1), 1, None),
        (vectors(3, 4, "int8", 1), 1, None),
        (vectors(3, 4, "float32", 1), 0, None),
        (vectors(3, 4, "float32", 1), 1, np.arange(2)),
    ],
    ids=["dim", "dtype", "k", "exclude"],
)
def test_what_does_not_fit_is_refused(queries: Any, k: int, exclude: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="exact search"):
        _core.exact_search(vectors(9, 4, "float32", 1), "l2", queries, k, exclude, 1)
