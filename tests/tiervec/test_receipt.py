from __future__ import annotations

import json

import numpy as np
import pytest

from tiervec.receipt import Receipt


def receipt(**changes: object) -> Receipt:
    values: dict[str, object] = {
        "queries": 4,
        "k": 10,
        "threads": 2,
        "params": {"search_list": 64},
        "tier": "emulated:rdma-200g",
        "emulated": True,
        "reads": 160,
        "bytes_read": 40960,
        "rounds": 48,
        "code_distances": 6000,
        "cpu_us": 200.0,
        "wall_us": 1000.0,
        "latency_us": np.array([100, 200, 300, 400], dtype=np.float32),
        "device": {"reads_per_s": 68e6, "bytes_per_s": 23.9e9, "latency_us": 2.8, "block_bytes": 64, "emulated": True},
    }
    return Receipt(**{**values, **changes})  # type: ignore[arg-type]


def test_figures_per_query() -> None:
    one = receipt()
    assert (one.reads_per_query, one.bytes_per_query, one.rounds_per_query) == (40, 10240, 12)
    assert (one.cpu_us_per_query, one.code_distances_per_query, one.qps) == (50, 1500, 4000)
    assert (one.latency_us_p50, one.latency_us_p95) == (250, pytest.approx(385))


def test_the_tighter_device_limit_counts() -> None:
    assert receipt().device_bound_qps == pytest.approx(68e6 / 40)
    by_bytes = receipt(bytes_read=4 * 1_000_000)
    assert by_bytes.device_bound_qps == pytest.approx(23.9e9 / 1e6)
    assert by_bytes.fraction_of_limit == pytest.approx(4000 / 23900)


def test_unknown_limit_is_none() -> None:
    assert receipt(device=None).device_bound_qps is None
    assert receipt(device=None).fraction_of_limit is None
    assert receipt(reads=0, bytes_read=0).device_bound_qps is None


def test_no_queries_divide_nothing() -> None:
    none = receipt(queries=0, reads=0, latency_us=np.zeros(0, dtype=np.float32), wall_us=0.0)
    assert (none.reads_per_query, none.qps, none.latency_us_p50, none.fraction_of_limit) == (0, 0, None, None)
    assert "0 queries" in str(none)


def test_dict_is_json() -> None:
    document = json.loads(json.dumps(receipt(notes=("capped",)).as_dict(), allow_nan=False))
    assert document["latency_us"] == {"p50": 250.0, "p95": pytest.approx(385), "p99": pytest.approx(397)}
    assert document["emulated"] is True
    assert document["notes"] == ["capped"]


def test_people_read_that_it_is_emulated() -> None:
    text = str(receipt(notes=("search_list was capped at 64",)))
    assert "emulated device" in text
    assert "the emulated device's limit" in text
    assert "40.0 per query" in text
    assert "search_list was capped at 64" in text
    assert "emulated" not in str(receipt(emulated=False, tier="dram:", device=None))
