"""The battery's shapes are what their names say, always the same, and the plan measures all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tiervec.bench.datasets import open_dataset
from tiervec.bench.datasets.battery import BATTERY, battery_shape
from tiervec.bench.plan import load_plan
from tiervec.errors import NotFoundError


@pytest.mark.parametrize("name", BATTERY)
def test_a_shape_can_be_indexed_and_is_the_same_each_time(name: str) -> None:
    shape, again = battery_shape(name), battery_shape(name)
    assert shape.base.dtype == shape.queries.dtype
    assert shape.base.shape[1] == shape.queries.shape[1]
    assert len(shape.base) <= 6000
    assert np.isfinite(shape.base.astype(np.float64)).all()
    assert (shape.base == again.base).all()
    assert (shape.queries == again.queries).all()


def test_the_plan_has_every_shape_with_defaults_only() -> None:
    (experiment,) = load_plan("battery").experiments
    assert experiment.datasets == tuple(f"battery:{name}" for name in BATTERY)
    ours = [entry for entry in experiment.systems if entry.system.startswith("tiervec-")]
    assert {entry.label for entry in ours} == {"graph", "coded", "grouped"}
    assert all(not entry.search and entry.tune is None for entry in ours)


def test_true_neighbours_are_those_in_float64(tmp_path: Path) -> None:
    shape = battery_shape("shift-1e6")
    dataset = open_dataset("battery:shift-1e6", cache=tmp_path)
    difference = shape.queries[:3, None].astype(np.float64) - shape.base[None]
    order = np.argsort((difference**2).sum(axis=2), axis=1, kind="stable")
    assert (dataset.ground_truth[:3, :10] == order[:, :10]).all()


def test_an_unknown_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"there is no shape 'round' in the battery; it has outlier, "):
        open_dataset("battery:round", cache=tmp_path)
