from __future__ import annotations

import json
from pathlib import Path

import pytest

from tiervec import _core
from tiervec.errors import InvalidArgumentError, NotFoundError, ResourceExhaustedError, UnavailableError
from tiervec.rdma.profile import READ_SIZES, Measured, TierProfile, profile


def quick(url: str, **options: object) -> TierProfile:
    defaults: dict[str, object] = {"region_bytes": "2MiB", "threads": 1, "runs": 2, "run_seconds": 0.001}
    return profile(url, **(defaults | options))  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["dram:", "mmap:", "emulated:cxl-x8"])
def test_measures_every_size(url: str) -> None:
    measured = quick(url)
    assert measured.url == url
    assert measured.region_bytes == 2 << 20
    assert [size.read_bytes for size in measured.sizes] == list(READ_SIZES) == [64 << i for i in range(11)]
    assert all(size.reads_per_s.median > 0 and size.bytes_per_s > 0 for size in measured.sizes)
    # A read of memory may take no longer than the clock does; what is emulated takes its time.
    least_us = 0.1 if measured.emulated else 0
    assert least_us <= measured.latency_us_p50.median <= measured.latency_us_p99.median
    assert measured.knee_bytes >= 64


def test_emulated_figures_are_called_emulated() -> None:
    measured = quick("emulated:cxl-x8")
    assert measured.emulated
    assert measured.as_dict()["emulated"] is True
    lines = measured.table().splitlines()
    assert "EMULATED" in lines[0]
    assert lines[1].startswith("emulated latency")
    assert any(line.startswith("emulated knee") for line in lines)
    assert any("emulated" in note for note in measured.notes)
    assert measured.sizes[0].device_reads_per_s == pytest.approx(213e6)


def test_own_memory_is_not_called_emulated() -> None:
    measured = quick("dram:")
    assert not measured.emulated
    assert "emulated" not in measured.table().lower()
    assert measured.sizes[0].device_reads_per_s is None, "a nominal profile says nothing about this machine"


def test_json_holds_everything() -> None:
    document = json.loads(quick("emulated:rdma-200g", read_sizes=[256]).to_json())
    assert set(document) == {
        "url", "emulated", "region_bytes", "threads", "reads_in_flight", "runs", "latency_us", "sizes", "knee_bytes",
        "device", "environment", "notes",
    }  # fmt: skip
    assert set(document["latency_us"]) == {"read_bytes", "p50", "p99"}
    assert set(document["sizes"][0]) == {"read_bytes", "reads_per_s", "bytes_per_s", "device_reads_per_s"}
    assert document["device"]["source"] == "published"
    assert document["environment"]["cpu"]


def test_a_given_region_is_read_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "region"
    path.write_bytes(b"x" * 100_000)
    measured = quick("mmap:", region=path, read_sizes=[64, 4096])
    assert measured.region_bytes == 100_000
    assert path.stat().st_size == 100_000
    with pytest.raises(NotFoundError, match="absent"):
        quick("mmap:", region=tmp_path / "absent")
    path.write_bytes(b"x" * 100)
    with pytest.raises(InvalidArgumentError, match="read size 4096 is more than the region's 100 bytes"):
        quick("mmap:", region=path, read_sizes=[64, 4096])


def test_the_scratch_region_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    quick("dram:", read_sizes=[64])
    assert list(tmp_path.iterdir()) == []


def test_little_memory_makes_a_smaller_region_and_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_core, "available_memory_bytes", lambda: 4 << 20)
    measured = quick("dram:", region_bytes=None, read_sizes=[64])
    assert measured.region_bytes == 1 << 20
    assert any("little free memory" in note for note in measured.notes)
    with pytest.raises(ResourceExhaustedError, match=r"a scratch region of .* is more than this machine can give now"):
        quick("dram:", region_bytes="2MiB")


def test_progress_counts_up_to_the_end() -> None:
    seen: list[tuple[int, int]] = []
    quick("dram:", read_sizes=[64, 128], progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (6, 6)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"read_sizes": []}, "read_sizes is"),
        ({"read_sizes": [0, 64]}, "one of read_sizes is 0; it must be an integer from 1 to 65536"),
        ({"read_sizes": [65537]}, "one of read_sizes is 65537"),
        ({"threads": -1}, "threads is -1"),
        ({"runs": 0}, "runs is 0"),
        ({"run_seconds": 0}, "run_seconds is 0"),
        ({"run_seconds": float("nan")}, "run_seconds is nan"),
        ({"region_bytes": "1KiB"}, "region_bytes is 1024; it must be at least 65536"),
        ({"region_bytes": "lots"}, "region_bytes"),
    ],
)
def test_arguments_out_of_range(options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        quick("dram:", **options)


def test_a_tier_that_answers_nothing_in_time_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiervec.rdma.profile._LATENCY_READS", 1)
    monkeypatch.setattr("tiervec.rdma.profile._PATIENCE_S", 0)
    with pytest.raises(UnavailableError, match="no read of 64 bytes came back"):
        quick("emulated:latency_us=100000,reads_mps=20,gbps=10,block=64", read_sizes=[64])


def test_an_unknown_tier_is_refused_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    with pytest.raises(InvalidArgumentError, match="unknown scheme 'tape'"):
        profile("tape:0")


def test_spread_of_runs() -> None:
    assert Measured.of([1.0, 2.0, 4.0]) == Measured(median=2.0, spread=1.5)
    assert Measured.of([3.0]) == Measured(median=3.0, spread=0.0)
