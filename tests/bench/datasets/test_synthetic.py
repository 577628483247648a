from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tiervec.bench.datasets.exact_neighbours import exact_neighbours
from tiervec.bench.datasets.synthetic import parse_synthetic, synthetic_blocks, synthetic_queries
from tiervec.errors import InvalidArgumentError
from tiervec.vectors.vector_files import open_vectors


def generated(text: str) -> np.ndarray:
    return np.concatenate(list(synthetic_blocks(parse_synthetic(f"synthetic:{text}"))))


def test_one_seed_gives_the_same_vectors_and_a_smaller_set_is_the_beginning() -> None:
    large = generated("n=20000,dim=8,intrinsic=4,seed=5")
    assert large.shape == (20_000, 8)
    assert (generated("n=17000,dim=8,intrinsic=4,seed=5") == large[:17_000]).all()
    assert not (generated("n=100,dim=8,intrinsic=4,seed=6") == large[:100]).any()


def test_queries_are_not_vectors() -> None:
    params = parse_synthetic("synthetic:n=500,dim=8,intrinsic=4,queries=300")
    queries = synthetic_queries(params)
    assert queries.shape == (300, 8)
    base = np.concatenate(list(synthetic_blocks(params)))
    assert not {row.tobytes() for row in queries} & {row.tobytes() for row in base}


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "int8"])
def test_every_dtype_uses_its_range_without_clipping_much(dtype: str) -> None:
    rows = generated(f"n=2000,dim=32,dtype={dtype}")
    assert rows.dtype == dtype
    if dtype in ("uint8", "int8"):
        limits = np.iinfo(dtype)
        assert ((rows == limits.min) | (rows == limits.max)).mean() < 0.01
        assert rows.std() > 20


def test_the_intrinsic_dimension_is_what_was_asked_and_not_the_full_one(tmp_path: Path) -> None:
    measured = []
    for intrinsic in (4, 8, 16):
        params = parse_synthetic(f"synthetic:n=8000,dim=64,intrinsic={intrinsic},queries=100")
        np.save(tmp_path / "base.npy", np.concatenate(list(synthetic_blocks(params))))
        _, squares = exact_neighbours(open_vectors(tmp_path / "base.npy"), synthetic_queries(params), "l2", 50)
        radii = np.sqrt(squares)
        # The estimate of Levina and Bickel; of few points it is too low.
        measured.append(float(np.median(-1 / np.log(radii[:, :-1] / radii[:, -1:]).mean(axis=1))))
    assert measured[0] < measured[1] < measured[2]
    for intrinsic, found in zip((4, 8, 16), measured, strict=True):
        assert 0.55 * intrinsic < found < 1.3 * intrinsic


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("n=0", "n is 0"),
        ("dim=8,intrinsic=9", "intrinsic is 9; it must be an integer from 1 to 8"),
        ("colour=red", "unknown parameter 'colour'"),
        ("n", "'n' must be KEY=VALUE"),
        ("n=many", "n='many' must be an integer"),
        ("dtype=float64", "dtype is 'float64'"),
        ("metric=l1", "metric is 'l1'"),
    ],
)
def test_wrong_parameters_are_named(text: str, says: str) -> None:
    with pytest.raises(InvalidArgumentError, match=says):
        parse_synthetic(f"synthetic:{text}")
