from __future__ import annotations

import dataclasses
from typing import Any, Literal

import pytest

from tiervec.errors import InvalidArgumentError, UnsupportedError
from tiervec.kinds.parameters import build_parameters_class, parse_parameters, search_parameters_class


@dataclasses.dataclass(frozen=True, kw_only=True)
class Params:
    search_list: int = 64
    alpha: float = 1.2
    code: Literal["rabitq", "sq"] = "rabitq"
    name: str = ""
    pipeline: bool = True
    rerank: int | None = None


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ({}, {}),
        ({"search_list": "7", "alpha": "1"}, {"search_list": 7, "alpha": 1.0}),
        ({"code": "sq", "name": "x=y"}, {"code": "sq", "name": "x=y"}),
        ({"pipeline": "off"}, {"pipeline": False}),
        ({"pipeline": "TRUE"}, {"pipeline": True}),
        ({"rerank": "none"}, {"rerank": None}),
        ({"rerank": "40"}, {"rerank": 40}),
    ],
)
def test_values_have_the_fields_types(given: dict[str, str], values: dict[str, Any]) -> None:
    parsed = parse_parameters(Params, given, "search")
    assert parsed == values
    assert [type(value) for value in parsed.values()] == [type(value) for value in values.values()]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"search_list": "7.5"}, "parameter search_list='7.5' must be an integer"),
        ({"alpha": "x"}, "parameter alpha='x' must be a number"),
        ({"pipeline": "2"}, "parameter pipeline='2' must be on or off"),
        ({"rerank": "x"}, "parameter rerank='x' must be an integer or none"),
        ({"code": "pq"}, "parameter code='pq' must be rabitq or sq"),
        ({"pipelin": "on"}, "unknown parameter 'pipelin' for the search; did you mean 'pipeline'?"),
        (
            {"zzz": "1"},
            "unknown parameter 'zzz' for the search; known: search_list, alpha, code, name, pipeline, rerank",
        ),
    ],
)
def test_mistakes_are_named(given: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse_parameters(Params, given, "search")
    assert str(caught.value).startswith(message)


def test_classes_of_the_kinds() -> None:
    assert build_parameters_class("graph").__name__ == "GraphBuildParams"
    assert search_parameters_class("graph").__name__ == "GraphSearchParams"
    assert build_parameters_class("cluster").__name__ == "ClusterBuildParams"
    assert search_parameters_class("cluster").__name__ == "ClusterSearchParams"
    with pytest.raises(UnsupportedError, match="index kind 'tree' is not part of this version; known: graph, cluster"):
        search_parameters_class("tree")
