from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tiervec.codes import check_code_bits, choose_code_bits, code_row_bytes, largest_code_bits
from tiervec.codes.choosing import candidate_bits
from tiervec.errors import InvalidArgumentError

USES: Any = ("graph", "scan")


def normal(rows: int, dim: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)


def chosen(sample: Any, use: Any = "graph", **changes: Any) -> float:
    given = {"metric": "l2", "use": use, "vectors": 100_000, "seed": 0, **changes}
    return choose_code_bits("rabitq", sample, **given)


def near_a_plane(intrinsic: int, dim: int) -> Any:
    return normal(1500, intrinsic) @ normal(intrinsic, dim, seed=1)


def test_many_dimensions_near_a_plane_need_few_bits() -> None:
    assert chosen(near_a_plane(16, 768)) <= 1
    assert code_row_bytes("rabitq", chosen(near_a_plane(16, 768)), 768) <= 96


def test_few_dimensions_without_structure_need_many() -> None:
    assert chosen(normal(1500, 16)) >= 4
    assert chosen(normal(1500, 32), "scan") >= 3


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8"])
def test_the_choice_is_a_candidate_and_the_same_again(dtype: str, metric: str, use: Any) -> None:
    sample = (np.abs(normal(700, 40)) * 20).astype(dtype)
    bits = chosen(sample, use, metric=metric)
    assert bits in candidate_bits(use, 40)
    assert bits == chosen(sample, use, metric=metric)


def test_it_does_not_depend_on_an_offset_a_scale_or_one_far_vector() -> None:
    sample = near_a_plane(24, 64)
    bits = chosen(sample)
    assert chosen(sample * np.float32(1e6)) == bits
    assert chosen(sample + np.float32(1e4)) == bits
    sample[7] = 65504
    assert chosen(sample) == bits


@pytest.mark.parametrize("use", USES)
def test_few_vectors_and_equal_vectors_have_a_choice(use: Any) -> None:
    assert chosen(normal(2, 4096), use) in candidate_bits(use, 4096)
    assert chosen(np.ones((600, 20), np.float32), use) in candidate_bits(use, 20)


def test_other_codes_have_fixed_bits() -> None:
    for name, bits in (("sq", 4), ("pq", 2)):
        assert choose_code_bits(name, normal(600, 8), metric="l2", use="graph", vectors=600, seed=0) == bits
        assert largest_code_bits("auto", name=name, use="graph", dim=8) == bits


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("dim", [1, 8, 128, 256, 257, 768, 16_384])
def test_the_most_that_may_be_chosen_is_known_before(dim: int, use: Any) -> None:
    bits = candidate_bits(use, dim)
    assert bits == sorted(bits)
    assert largest_code_bits("auto", name="rabitq", use=use, dim=dim) == bits[-1]
    assert largest_code_bits(1.5, name="rabitq", use=use, dim=dim) == 1.5


def test_bits_are_a_number_or_auto() -> None:
    check_code_bits("sq", "auto")
    check_code_bits("rabitq", 1.5)
    for wrong in ("Auto", "4", True, None, 9, float("nan")):
        with pytest.raises(InvalidArgumentError, match="code_bits"):
            check_code_bits("rabitq", wrong)
