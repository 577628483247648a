from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiervec.errors import InvalidArgumentError
from tiervec.graph_index import GraphBuildParams, GraphSearchParams

ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=3),
    st.lists(st.integers()),
)


@pytest.mark.parametrize("params_class", [GraphBuildParams, GraphSearchParams])
def test_they_are_frozen_and_keyword_only(params_class: type) -> None:
    params: Any = params_class()
    name = dataclasses.fields(params_class)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(params, name, 9)
    with pytest.raises(TypeError):
        params_class(9)


@pytest.mark.parametrize(
    ("params_class", "name"),
    [(c, field.name) for c in (GraphBuildParams, GraphSearchParams) for field in dataclasses.fields(c)],
)
@given(value=ANYTHING)
def test_any_value_is_taken_or_named(params_class: type, name: str, value: Any) -> None:
    refusal = None
    try:
        assert getattr(params_class(**{name: value}), name) == value
    except InvalidArgumentError as error:
        refusal = str(error)
    if refusal is not None:
        assert name in refusal or (name == "graph_degree" and "build_list" in refusal)
        assert "\n" not in refusal.replace(repr(value), "")


@pytest.mark.parametrize(
    "params",
    [
        {"graph_degree": 2, "build_list": 2},
        {"graph_degree": 184, "build_list": 184},
        {"build_list": 100_000},
        {"alpha": 1},
        {"alpha": 4.0},
        {"code": "pq", "code_bits": 0.5},
        {"code": "sq", "code_bits": 8},
        {"code_bits": 8},
    ],
    ids=str,
)
def test_the_ends_of_the_ranges_of_a_build(params: dict[str, Any]) -> None:
    assert dataclasses.asdict(GraphBuildParams(**params)).items() >= params.items()


@pytest.mark.parametrize(
    "params",
    [{"search_list": 1}, {"search_list": 100_000}, {"beam_width": 32}, {"stop_margin": 100}, {"pipeline": False}],
    ids=str,
)
def test_the_ends_of_the_ranges_of_a_search(params: dict[str, Any]) -> None:
    assert dataclasses.asdict(GraphSearchParams(**params)).items() >= params.items()
