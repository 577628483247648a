from __future__ import annotations

import math
from pathlib import Path

import pytest

from tiervec import _core
from tiervec.errors import DataLossError, InvalidArgumentError, NotFoundError


@pytest.fixture
def region(tmp_path: Path) -> str:
    path = tmp_path / "region"
    path.write_bytes(bytes(range(256)) * 1024)
    return str(path)


@pytest.mark.parametrize(
    "url", ["dram:", "mmap:", "emulated:rdma-200g", "emulated:latency_us=5,reads_mps=20,gbps=10,block=64"]
)
def test_an_opened_tier_says_what_it_is(url: str, region: str) -> None:
    tier = _core.open_tier(url, region)
    assert tier.url == url
    assert tier.size_bytes == 256 * 1024
    assert tier.emulated == url.startswith("emulated:")
    assert tier.profile["emulated"] == tier.emulated
    assert set(tier.profile) == {
        "latency_us", "reads_per_s", "bytes_per_s", "block_bytes", "knee_bytes", "emulated", "source", "note",
        "service",
    }  # fmt: skip


def test_figures_of_a_published_device(region: str) -> None:
    tier = _core.open_tier("emulated:rdma-200g", region)
    assert tier.profile["source"] == "published"
    assert tier.reads_in_flight == 191
    assert tier.service_ns(64) == pytest.approx(1000 / 68)
    assert tier.device_bound_qps(45, 45 * 256) == pytest.approx(68e6 / 45)
    assert tier.fraction_of_limit(68e6 / 90, 45, 45 * 256) == pytest.approx(0.5)
    assert tier.device_bound_qps(0, 0) == math.inf


def test_urls_are_checked_without_a_file() -> None:
    assert _core.check_tier_url("emulated:cxl-x8") == {"url": "emulated:cxl-x8", "scheme": "emulated", "rest": "cxl-x8"}
    with pytest.raises(InvalidArgumentError, match=r"tier URL 'tape:0' has the unknown scheme 'tape'; known are dram:"):
        _core.check_tier_url("tape:0")
    with pytest.raises(InvalidArgumentError, match=r"unknown profile 'rdma'; known are rdma-200g"):
        _core.check_tier_url("emulated:rdma")


def test_lists_for_the_doctor() -> None:
    schemes = [scheme["name"] for scheme in _core.tier_schemes()]
    assert schemes == ["dram", "mmap", "ssd", "numa", "dax", "emulated", "tcp", "rdma"]
    profiles = {entry["name"]: entry for entry in _core.emulated_profiles()}
    assert list(profiles) == ["rdma-200g", "cxl-x8", "nvm-optane", "ssd-p5520"]
    assert profiles["ssd-p5520"]["latency_us"] == 75
    assert all(entry["emulated"] for entry in profiles.values())


def test_regions_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="absent"):
        _core.open_tier("dram:", str(tmp_path / "absent"))
    with pytest.raises(InvalidArgumentError, match="not a regular file"):
        _core.open_tier("mmap:", str(tmp_path))
    (tmp_path / "empty").touch()
    with pytest.raises(DataLossError, match="is empty"):
        _core.open_tier("dram:", str(tmp_path / "empty"))


def test_measuring(region: str) -> None:
    tier = _core.open_tier("emulated:latency_us=100,reads_mps=1,gbps=1,block=64", region)
    latencies_ns = tier.measure_latency_ns(64, 10, 1)
    assert latencies_ns.shape == (10,)
    assert (latencies_ns[1:] >= latencies_ns[:-1]).all()
    assert latencies_ns[0] >= 95_000
    assert 0 < tier.measure_reads_per_s(64, 1, 64, 0.01, 1) < 1.5e6
    with pytest.raises(InvalidArgumentError, match="a measurement with reads of 0 bytes"):
        tier.measure_latency_ns(0, 10, 1)


def test_bytes_of_a_region_can_be_copied(tmp_path: Path) -> None:
    content = bytes(range(256)) * 300
    (tmp_path / "region").write_bytes(content)
    for url in ("dram:", "mmap:", "emulated:cxl-x8"):
        tier = _core.open_tier(url, str(tmp_path / "region"))
        assert tier.read(0, len(content)) == content
        assert tier.read(65000, 1000) == content[65000:66000]
        assert tier.read(5, 0) == b""
        with pytest.raises(InvalidArgumentError, match=r"has 76800"):
            tier.read(76800, 1)
