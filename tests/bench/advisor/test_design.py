"""The designs that are tried."""

from __future__ import annotations

from tiervec.bench.advisor.design import designs, least_fast_bytes


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
