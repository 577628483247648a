from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiervec import _core
from tiervec.codes import train_code
from tiervec.codes.centering import directions_from, robust_center
from tiervec.codes.rabitq import _packed_bytes, allocate_bits, train
from tiervec.errors import InvalidArgumentError

WIDTHS = st.lists(st.sampled_from([0, 2, 4, 6, 8]), min_size=1, max_size=60)


def fits(widths: np.ndarray, row_bytes: int) -> bool:
    """Whether the native packing takes these widths in a row of that size."""
    dim = len(widths)
    zeros = np.zeros(dim, np.float32)
    try:
        _core.dot_code("l2", zeros, None, None, widths, zeros, row_bytes, True)
    except InvalidArgumentError:
        return False
    return True


@given(WIDTHS.filter(any))
def test_the_packing_is_counted_as_it_is_done(given_widths: list[int]) -> None:
    widths = np.array(given_widths, np.uint8)
    packed = _packed_bytes(widths)
    assert fits(widths, max(packed + 6, 8))
    assert not fits(widths, packed + 5)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=80), st.integers(1, 400))
@settings(max_examples=200)
def test_bits_are_spent_within_the_budget(variances: list[float], budget_bytes: int) -> None:
    widths = allocate_bits(np.array(variances), 8 * budget_bytes)
    assert set(widths.tolist()) <= {0, 2, 4, 6, 8}
    assert _packed_bytes(widths) <= budget_bytes
    # Nothing is left over that one more step could have used, but for what packing wastes.
    if int(widths.sum()) < 8 * len(variances):
        assert int(widths.sum()) >= 8 * budget_bytes * 0.7 - 8


def test_more_variance_never_gets_fewer_bits() -> None:
    variances = np.geomspace(100, 0.01, 64)
    for budget in (64, 128, 200, 256, 400):
        widths = allocate_bits(variances, budget).astype(int)
        assert np.all(np.diff(widths) <= 0)


def test_equal_variances_share_equally() -> None:
    assert allocate_bits(np.ones(32), 32 * 4).tolist() == [4] * 32


def test_the_rotation_is_orthogonal_and_sorts_the_variance() -> None:
    random = np.random.default_rng(1)
    vectors = (random.normal(size=(2000, 12)) @ random.normal(size=(12, 12)) + 5).astype(np.float32)
    arrays, scalars = train(vectors.copy(), 18)
    rotation = arrays["rotation"].astype(np.float64)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(12), atol=2e-3)  # stored as half floats
    turned = directions_from(vectors, arrays["center"]) @ rotation.T
    moments = turned.T @ turned / len(turned)
    spread = np.diag(moments)
    assert np.all(np.diff(spread) <= 1e-3 * spread[0])
    assert np.abs(moments - np.diag(spread)).max() < 1e-3 * spread[0]
    assert scalars["row_bytes"] == 18


@pytest.mark.parametrize("share", [0.0002, 0.01, 0.08])
@pytest.mark.parametrize("length", [1e3, 1e6, 1e15])
def test_far_vectors_do_not_move_the_center(share: float, length: float) -> None:
    random = np.random.default_rng(1)
    vectors = random.normal(size=(5000, 12)).astype(np.float32) + 3
    vectors[: int(share * 5000)] *= length
    assert np.linalg.norm(robust_center(vectors) - 3) < 0.1
    arrays, _ = train(vectors, 12)
    assert np.all(arrays["widths"] > 0)  # every axis has the same variance


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_few_dimensions(dim: int) -> None:
    arrays, _ = train(np.random.default_rng(1).normal(size=(50, dim)).astype(np.float32), 8)
    assert arrays["widths"].tolist() == [{1: 8, 2: 8, 5: 6}[dim]] * dim or int(arrays["widths"].sum()) <= 32


def estimated_recall(vectors: np.ndarray, queries: np.ndarray, code_bits: float, depth: int) -> float:
    """Share of the true ten among the best `depth` by code."""
    native = train_code("rabitq", vectors, metric="l2", code_bits=code_bits, threads=1).native()
    rows = np.empty((len(vectors), native.row_bytes), np.uint8)
    native.encode(vectors, rows, 2)
    found = np.stack([native.distances(query, rows) for query in queries])
    exact = ((queries[:, None] - vectors[None]) ** 2).sum(axis=2)
    near = [set(row.tolist()) for row in np.argsort(exact, axis=1)[:, :10]]
    best = np.argsort(found, axis=1)[:, :depth]
    return float(np.mean([len(a & set(b.tolist())) / 10 for a, b in zip(near, best, strict=True)]))


@pytest.mark.parametrize(
    ("dim", "code_bits", "least"), [(300, 1, 0.62), (300, 2, 0.78), (513, 1, 0.72), (768, 4, 0.98)]
)
def test_many_dimensions_without_structure_are_rotated_fast(dim: int, code_bits: float, least: float) -> None:
    random = np.random.default_rng(2)
    vectors = random.normal(size=(1500, dim)).astype(np.float32)
    queries = vectors[:20] + random.normal(size=(20, dim)).astype(np.float32) * 0.7
    code = train_code("rabitq", vectors, metric="l2", code_bits=code_bits, threads=1)
    assert "fast_rotation" in code.scalars
    assert len(code.to_bytes()) < 20 * dim + 4000
    assert code.native().parameter_bytes < 200 * dim
    assert estimated_recall(vectors, queries, code_bits, 60) >= least


def test_many_dimensions_near_a_plane_use_its_axes() -> None:
    random = np.random.default_rng(2)
    mix = random.normal(size=(20, 700)).astype(np.float32)
    vectors = random.normal(size=(2000, 20)).astype(np.float32) @ mix
    queries = random.normal(size=(20, 20)).astype(np.float32) @ mix
    code = train_code("rabitq", vectors, metric="l2", code_bits=0.5, threads=1)
    assert code.arrays["rotation"].shape[0] <= 128
    assert estimated_recall(vectors, queries, 0.5, 15) >= 0.95


def test_few_vectors_of_many_dimensions_are_trained_at_once() -> None:
    vectors = np.random.default_rng(1).normal(size=(50, 16_384)).astype(np.float32)
    code = train_code("rabitq", vectors, metric="l2", code_bits=1, threads=1)
    assert len(code.to_bytes()) < 200_000
