from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import tiervec
from tiervec import _core
from tiervec.engine.receipt import Receipt


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


def test_hot_records_are_shown_where_there_are_any() -> None:
    assert "hot records" not in str(receipt())
    assert "hot records    2.5 per query" in str(receipt(hot_records=10))
    assert receipt(hot_records=10).as_dict()["hot_records_per_query"] == 2.5


def test_waiting_is_shown_where_there_is_any() -> None:
    assert "waited" not in str(receipt())
    assert "CPU time       50.0 us per query; waited 30.0 us for reads" in str(receipt(waiting_us=120.0))
    assert receipt(waiting_us=120.0).as_dict()["waiting_us_per_query"] == 30.0


def test_the_tighter_device_limit_counts() -> None:
    assert receipt().device_bound_qps == pytest.approx(68e6 / 40)
    by_bytes = receipt(bytes_read=160 * 6400)
    assert by_bytes.device_bound_qps == pytest.approx(23.9e9 / (40 * 6400))
    assert by_bytes.fraction_of_limit == pytest.approx(4000 / (23.9e9 / (40 * 6400)))


def test_reads_move_whole_blocks() -> None:
    device = {"reads_per_s": 1e6, "bytes_per_s": 1e9, "block_bytes": 4096}
    small = receipt(reads=4, bytes_read=4 * 100, device=device)
    assert small.device_bound_qps == pytest.approx(1e6)
    assert receipt(reads=4, bytes_read=4 * 4097, device=device).device_bound_qps == pytest.approx(1e9 / 8192)


@pytest.mark.parametrize(
    ("read_bytes", "ns"), [(8, 4.5), (256, 6.0), (640, 17.0), (1024, 28.0), (2048, 28.0 + 1024 / 37)]
)
def test_closer_service_times_are_used(read_bytes: int, ns: float) -> None:
    points = [(8.0, 4.5), (256.0, 6.0), (1024.0, 28.0)]
    device = {"reads_per_s": 221e6, "bytes_per_s": 37e9, "block_bytes": 8, "service": points}
    bound = receipt(reads=4, bytes_read=4 * read_bytes, device=device).device_bound_qps
    assert bound == pytest.approx(1e9 / ns)


def test_the_model_is_that_of_the_extension(tmp_path: Path) -> None:
    region = tmp_path / "region"
    region.write_bytes(bytes(1 << 16))
    for name in [profile["name"] for profile in _core.emulated_profiles()]:
        tier = _core.open_tier(f"emulated:{name}", str(region))
        block_bytes = tier.profile["block_bytes"]
        for blocks in (1, 2, 16):
            one = receipt(reads=4, bytes_read=4 * blocks * block_bytes, device=tier.profile)
            assert one.device_bound_qps == pytest.approx(1e9 / tier.service_ns(blocks * block_bytes))


def test_unknown_limit_is_none() -> None:
    assert receipt(device=None).device_bound_qps is None
    assert receipt(device=None).fraction_of_limit is None
    nominal = {"reads_per_s": 80e6, "bytes_per_s": 12e9, "block_bytes": 64, "source": "nominal"}
    assert receipt(device=nominal).fraction_of_limit is None
    for nothing in ("reads_per_s", "bytes_per_s"):  # a busy machine saw no read come back
        unknown = receipt(device={**nominal, "source": "measured", nothing: 0.0})
        assert unknown.device_bound_qps is None
        assert "queries per second" in str(unknown)
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


def test_a_receipt_of_a_search_has_every_field(tmp_path: Path) -> None:
    tiervec.build(np.eye(8, dtype=np.float32), tmp_path / "index")
    with tiervec.open(tmp_path / "index") as opened:
        receipt = opened.search(np.eye(8, dtype=np.float32)[:1], 1).receipt
    assert set(vars(receipt)) == {field.name for field in dataclasses.fields(Receipt)}
    with pytest.raises(dataclasses.FrozenInstanceError):
        receipt.k = 2  # type: ignore[misc]
