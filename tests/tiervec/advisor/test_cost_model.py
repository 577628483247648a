"""The cost model, on made-up runs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tiervec.advisor.cost_model import MemoryGrowth, fit
from tiervec.advisor.measurement import Run


def test_costs_are_found_again(run_of: Callable[..., Run]) -> None:
    rng = np.random.default_rng(0)
    runs = []
    for _ in range(20):
        codes, reads, rounds = rng.uniform(100, 1000), rng.uniform(10, 100), rng.uniform(1, 50)
        runs.append(run_of(codes, reads, rounds, 3 + 0.02 * codes + 0.1 * reads + 0.2 * rounds))
    found = fit(runs).as_dict()
    assert found["us_per_query"] == pytest.approx(3, rel=0.05)
    assert found["us_per_code"] == pytest.approx(0.02, rel=0.05)
    assert found["us_per_round"] == pytest.approx(0.2, rel=0.05)
    assert found["us_per_read"] + found["us_per_kib"] / 4 == pytest.approx(0.1, rel=0.05)
    assert found["mean_error"] < 0.01


def test_no_cost_is_negative(run_of: Callable[..., Run]) -> None:
    runs = [run_of(100, 50, 1, 10), run_of(200, 40, 1, 20), run_of(300, 30, 1, 29), run_of(400, 20, 1, 41)]
    assert min(fit(runs).us) >= 0


def test_memory_that_grows_costs_more_or_nothing() -> None:
    assert min(MemoryGrowth(1 << 20, 1 << 21, 1).more_us([64, 64, 1 << 20])) >= 0
