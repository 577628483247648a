"""The designs that are tried."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiervec
from tiervec.advisor.design import Design, designs, least_fast_bytes
from tiervec.errors import InvalidArgumentError

DESIGNS = [
    Design(kind="cluster", params={"layout": "replicated", "replicas": 2}),
    Design(kind="cluster", params={"layout": "coded", "code_bits": 2.0}),
    Design(kind="graph", params={"graph_degree": 16, "code_bits": 3.0, "layout": "sectors"}),
    Design(kind="graph", params={"graph_degree": 32, "code": "sq", "code_bits": 4.0, "alpha": 1.5}),
    Design(kind="cluster", params={"layout": "replicated", "replicas": 2, "align": 4096, "closure": 0.2}),
]


@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: design.kind)
def test_an_index_has_a_design(data: Path, tmp_path: Path, design: Design) -> None:
    tiervec.build(data, tmp_path / "index", kind=design.kind, params=dict(design.params))
    assert Design.of_index(tmp_path / "index") == design


def test_a_number_of_clusters_of_its_own_is_refused(data: Path, tmp_path: Path) -> None:
    tiervec.build(data, tmp_path / "index", kind="cluster", params={"clusters": 20})
    with pytest.raises(InvalidArgumentError, match=r"has 20 clusters; .* which is 47 of 3,000 vectors"):
        Design.of_index(tmp_path / "index")


def test_codes_that_do_not_fit_are_not_tried() -> None:
    n, dim = 1_000_000, 128
    assert {each.code_bits for each in designs(dim, n, None, 64) if each.kind == "graph"} == {4.0, 2.0}
    little = designs(dim, n, 20_000_000, 64)
    assert {each.code_bits for each in little if each.kind == "graph"} == {1.0}
    assert all(least_fast_bytes(each, dim, n) <= 20_000_000 for each in little)
    assert {each.params["layout"] for each in designs(dim, n, 5_000_000, 64)} == {"grouped", "replicated"}
    assert designs(dim, n, 1_000_000, 64) == []


def test_sectors_are_for_devices_that_read_them() -> None:
    assert all("align" not in each.params for each in designs(16, 1000, None, 64))
    replicated = [each for each in designs(16, 1000, None, 4096) if each.params.get("layout") == "replicated"]
    assert replicated
    assert all(each.params["align"] == 4096 for each in replicated)
