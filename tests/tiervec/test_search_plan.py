"""Plans of searches are kept, and equal arguments that are not equally right do not share one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec import _core
from tiervec.errors import InvalidArgumentError
from tiervec.kinds.index_kind import NativeResult
from tiervec.search_plan import SearchPlanner

BASE = np.random.default_rng(5).standard_normal((300, 8)).astype(np.float32)


@pytest.fixture(scope="module", params=["graph", "cluster"])
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path: Path = tmp_path_factory.mktemp("plans") / "index"
    tiervec.build(BASE, path, kind=request.param)
    with tiervec.open(path) as index:
        yield index


def _planner(index: Any) -> SearchPlanner:
    planner: SearchPlanner = index._planner
    return planner


def test_the_same_way_of_asking_is_planned_once(opened: Any) -> None:
    planner = _planner(opened)
    assert planner.plan(10, None, None) is planner.plan(10, None, None)
    assert planner.plan(10, 0.9, None) is planner.plan(10, 0.9, None)
    assert planner.plan(10, None, {"pipeline": False}) is planner.plan(10, None, {"pipeline": False})
    given = opened._kind.search_params()
    assert planner.plan(10, None, given) is planner.plan(10, None, type(given)())
    assert planner.plan(10, None, None) is not planner.plan(11, None, None)


@pytest.mark.parametrize("wrong", [1, 1.0, "on", None, [True], np.ones(2)])
def test_a_wrong_value_is_refused_though_an_equal_right_one_was_planned(opened: Any, wrong: Any) -> None:
    assert opened.search(BASE[0], 1, params={"pipeline": True}).ids.tolist() == [[0]]
    with pytest.raises(InvalidArgumentError, match="pipeline"):
        opened.search(BASE[0], 1, params={"pipeline": wrong})
    assert opened.search(BASE[0], 1, target_recall=1).ids.tolist() == [[0]]
    with pytest.raises(InvalidArgumentError, match="target_recall"):
        opened.search(BASE[0], 1, target_recall=True)


def test_receipts_do_not_share_what_a_caller_may_change(opened: Any) -> None:
    first = opened.search(BASE[0], 1).receipt
    assert isinstance(first.params, dict)
    first.params.clear()
    assert opened.search(BASE[0], 1).receipt.params


def test_few_plans_are_kept(opened: Any) -> None:
    planner = _planner(opened)
    for k in range(1, 300):
        assert planner.plan(k, None, None).params.pipeline
    assert len(planner._kept) <= 64


def test_a_result_has_the_fields_of_the_native_tuple() -> None:
    assert NativeResult._fields == _core.search_result_fields()
