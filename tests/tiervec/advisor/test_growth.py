"""How counts grow, on made-up ones."""

from __future__ import annotations

import pytest

from tiervec.advisor.growth import Growth, exponent, line, logarithm, power

GROWTH = Growth(small=1000, large=4000, wanted=64_000)


def test_power_law_is_found_again() -> None:
    pairs = [(n, n * 4**0.25) for n in (10.0, 20.0, 40.0)]
    assert exponent(GROWTH, pairs) == pytest.approx(0.25)
    assert power(GROWTH, 100.0, 0.25) == pytest.approx(200.0)


def test_one_odd_pair_does_not_matter() -> None:
    assert exponent(GROWTH, [(10, 20), (10, 20), (10, 1000)]) == pytest.approx(0.5)


def test_what_shrinks_or_explodes_by_chance_is_limited() -> None:
    assert exponent(GROWTH, [(20, 10)]) == 0
    assert exponent(GROWTH, [(1, 1000)]) == 1
    assert exponent(GROWTH, [(0, 10)]) == 0


def test_nothing_grows_when_the_sample_is_the_data() -> None:
    whole = Growth(small=900, large=900, wanted=1000)
    assert power(whole, 7.0, exponent(whole, [(1, 2)])) == 7
    assert logarithm(whole, 1, 2) == 2
    assert line(whole, 90, 90) == 100
