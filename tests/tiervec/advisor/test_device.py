"""Devices: tiers of this machine, and models of others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tiervec.advisor.device import Device
from tiervec.advisor.measurement import Run
from tiervec.errors import InvalidArgumentError


def test_a_profile_becomes_a_model(profile: dict[str, Any], run_of: Callable[..., Run]) -> None:
    device = Device.of_profile(profile, "there")
    assert device.url == "emulated:latency_us=5,reads_mps=2,gbps=4.096,block=64"
    assert device.modelled
    assert not device.is_tier
    assert Device.of_tier("emulated:rdma-200g").is_tier
    receipt = run_of(1, 10, 10, 1).receipts[0]
    assert device.bound_qps(receipt, 10, 640) == pytest.approx(2e5)
    assert device.bound_qps(receipt, 10, 40_960) == pytest.approx(1e5)
    assert device.limit(10, 640) == "device reads/s"
    assert device.limit(10, 40_960) == "device bytes/s"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is not JSON"),
        ("[]", "is not what `tiervec profile --json` prints"),
        ("{}", "is not what `tiervec profile --json` prints"),
    ],
)
def test_what_is_no_profile_is_refused(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(InvalidArgumentError, match=says):
        Device.read_profile(tmp_path / "p.json")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sizes": []}, "its figures must be above 0"),
        ({"latency_us": {"p50": {"median": -1}}}, "its figures must be above 0"),
        ({"device": {"block_bytes": "x"}}, "is not what"),
    ],
)
def test_a_profile_with_odd_figures_is_refused(profile: dict[str, Any], changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidArgumentError, match=says):
        Device.of_profile({**profile, **changes}, "there")


def test_memory_has_no_limit_and_a_model_has() -> None:
    assert Device.of_tier("emulated:rdma-200g").figures is not None
    assert Device.of_tier("emulated:ssd-p5520").block_bytes == 4096
