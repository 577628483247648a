"""The whole advisor on a small set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec.advisor import Request, advise, advising
from tiervec.advisor.design import Design
from tiervec.advisor.device import Device
from tiervec.cli.main import main
from tiervec.errors import InvalidArgumentError, ResourceExhaustedError


@pytest.mark.usefixtures("flat_memory")
def test_advice_and_its_check(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = tmp_path / "index"
    tiervec.build(data, index, params={"graph_degree": 24, "code_bits": 6})
    np.save(tmp_path / "queries.npy", np.load(data)[:100])
    common = ["advise", "--data", str(data), "--tier", "emulated:rdma-200g", "--sample", "1000", "--threads", "1"]
    common += ["--work", str(tmp_path / "work"), "--fast-memory", "1MiB", "--target-recall", "0.9"]
    check = ["--check", str(index), "--queries", str(tmp_path / "queries.npy")]
    assert main([*common, *check, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    best = document["best"]
    assert best["fits"]
    assert best["qps"] > 0
    assert best["fast_bytes"] <= 1 << 20
    assert document["emulated"]
    assert document["samples"] == [250, 1000]
    assert set(document["costs"]) >= {"graph", "cluster coded", "cluster replicated"}
    assert len(document["predictions"]) >= 8
    checked = document["check"]
    assert checked["params"] == {"graph_degree": 24, "code_bits": 6.0}
    # Counts and sizes, which are free of noise; speed is measured elsewhere.
    assert abs(checked["figures"]["reads per query"]["error"]) < 0.5
    assert abs(checked["figures"]["amplification"]["error"]) < 0.05
    assert abs(checked["figures"]["fast MiB"]["error"]) < 0.1
    assert main(common) == 0
    text = capsys.readouterr()
    assert "predicted (emulated), from samples of 250 and 1,000 vectors" in text.out
    assert "tiervec build --data" in text.out
    assert "building" not in text.err  # kept by --work


@pytest.mark.usefixtures("flat_memory")
def test_latency_may_be_preferred(
    data: Path, tmp_path: Path, profile: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    two = [Design(kind="graph", params={"code_bits": 4.0}), Design(kind="cluster", params={"layout": "coded"})]
    monkeypatch.setattr(advising, "designs", lambda *_: two)
    device = Device.of_profile({**profile, "latency_us": {"p50": {"median": 100_000.0}}}, "far away")
    request = Request(data=data, device=device, sample=1000, threads=1, prefer="latency", work=tmp_path)
    advice = advise(request)
    assert advice.best.work.rounds < 5  # at 100 ms a round, only rounds count, however busy the machine is
    assert advice.emulated
    assert "--tier" not in advice.commands[1]
    assert advice.predictions[0].latency_us <= advice.predictions[-1].latency_us


def test_no_room_for_any_index_is_one_clear_line(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["advise", "--data", str(data), "--tier", "emulated:cxl-x8", "--fast-memory", "1KiB"]) == 1
    error = capsys.readouterr().err
    assert "fast_memory is 1 KiB; the smallest index of 3,000 vectors of dimension 16 needs about" in error
    assert error.count("\n") == 1


def test_bad_requests(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["advise", "--data", str(data), "--check", "somewhere"]) == 1
    assert "--check and --queries need each other" in capsys.readouterr().err
    assert main(["advise", "--data", str(data), "--tier", "nonsense:"]) == 1
    assert "nonsense" in capsys.readouterr().err
    assert main(["advise", "--data", "/no/such.npy", "--tier", "emulated:cxl-x8"]) == 1
    assert "/no/such.npy" in capsys.readouterr().err
    with pytest.raises(InvalidArgumentError, match="prefer is 'luck'"):
        advise(Request(data=data, device=Device.of_tier("emulated:cxl-x8"), prefer="luck"))


def test_what_does_not_fit_after_all_is_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flat_memory: None
) -> None:
    monkeypatch.setattr(advising, "designs", lambda *_: [Design(kind="cluster", params={"layout": "grouped"})])
    request = Request(
        data=data, device=Device.of_tier("emulated:cxl-x8"), sample=1000, fast_memory=6000, threads=1, work=tmp_path
    )
    with pytest.raises(ResourceExhaustedError, match=r"needs about .* give at least that"):
        advise(request)
