from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiervec.cluster_index import ClusterBuildParams, ClusterSearchParams
from tiervec.errors import InvalidArgumentError

ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=3),
    st.lists(st.integers()),
)


@pytest.mark.parametrize("params_class", [ClusterBuildParams, ClusterSearchParams])
def test_they_are_frozen_and_keyword_only(params_class: type) -> None:
    params: Any = params_class()
    name = dataclasses.fields(params_class)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(params, name, 9)
    with pytest.raises(TypeError):
        params_class(9)


@pytest.mark.parametrize(
    ("params_class", "name"),
    [(c, field.name) for c in (ClusterBuildParams, ClusterSearchParams) for field in dataclasses.fields(c)],
)
@given(value=ANYTHING)
def test_any_value_is_taken_or_named(params_class: type, name: str, value: Any) -> None:
    refusal = None
    try:
        assert getattr(params_class(**{name: value}), name) == value
    except InvalidArgumentError as error:
        refusal = str(error)
    if refusal is not None:
        assert name in refusal
        assert "\n" not in refusal.replace(repr(value), "")


@pytest.mark.parametrize(
    "params",
    [
        {"clusters": 1},
        {"clusters": 2**31 - 1},
        {"replicas": 1},
        {"replicas": 32},
        {"closure": 0},
        {"closure": 10},
        {"rng_factor": 1},
        {"rng_factor": 10},
        {"align": 1},
        {"align": 4096},
        {"code": "pq", "code_bits": 0.5},
        {"code": "sq", "code_bits": 8},
        {"layout": "replicated"},
    ],
    ids=str,
)
def test_the_ends_of_the_ranges_of_a_build(params: dict[str, Any]) -> None:
    assert dataclasses.asdict(ClusterBuildParams(**params)).items() >= params.items()


@pytest.mark.parametrize(
    "params",
    [{"nprobe": 1}, {"nprobe": 100_000}, {"rerank": 1}, {"rerank": 10_000}, {"pipeline": False}, {"split": True}],
    ids=str,
)
def test_the_ends_of_the_ranges_of_a_search(params: dict[str, Any]) -> None:
    assert dataclasses.asdict(ClusterSearchParams(**params)).items() >= params.items()


@pytest.mark.parametrize(
    ("vectors", "clusters"), [(2, 1), (3, 1), (95, 1), (97, 2), (1_000_000, 15_625), (2**31 - 1, 33_554_432)]
)
def test_the_number_of_clusters_follows_the_number_of_vectors(vectors: int, clusters: int) -> None:
    assert ClusterBuildParams().count_for(vectors) == clusters
    assert ClusterBuildParams(clusters=7).count_for(vectors) == 7
