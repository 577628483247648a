from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiervec import _core
from tiervec.codes.centering import directions_from, robust_center
from tiervec.codes.rabitq import _packed_bytes, allocate_bits, train
from tiervec.errors import InvalidArgumentError

WIDTHS = st.lists(st.sampled_from([0, 2, 4, 6, 8]), min_size=1, max_size=60)


def fits(widths: np.ndarray, row_bytes: int) -> bool:
    """Whether the native packing takes these widths in a row of that size."""
    dim = len(widths)
    zeros = np.zeros(dim, np.float32)
    try:
        _core.dot_code("l2", zeros, None, widths, zeros, row_bytes, True)
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
    arrays, scalars = train(vectors, 12)
    rotation = arrays["rotation"].reshape(12, 12).astype(np.float64)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(12), atol=1e-5)
    turned = directions_from(vectors, arrays["center"]) @ rotation.T
    moments = turned.T @ turned / len(turned)
    spread = np.diag(moments)
    assert np.all(np.diff(spread) <= 1e-3 * spread[0])
    assert np.abs(moments - np.diag(spread)).max() < 1e-3 * spread[0]
    assert scalars["row_bytes"] == 12


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
