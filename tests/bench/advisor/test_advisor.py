"""The advisor: its parts on made-up counts, and all of it on a small set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec.bench.advisor import Request, advise, advising
from tiervec.bench.advisor.checking import design_of
from tiervec.bench.advisor.cost_model import MemoryGrowth, fit
from tiervec.bench.advisor.design import Design, designs, least_fast_bytes
from tiervec.bench.advisor.device import Device
from tiervec.bench.advisor.growth import Growth, exponent, line, logarithm, power
from tiervec.bench.advisor.measurement import Run
from tiervec.bench.advisor.sample import draw
from tiervec.cli.main import main
from tiervec.errors import InvalidArgumentError, ResourceExhaustedError
from tiervec.receipt import Receipt

GROWTH = Growth(small=1000, large=4000, wanted=64_000)
PROFILE: dict[str, Any] = {
    "latency_us": {"p50": {"median": 5.0}},
    "device": {"block_bytes": 64},
    "sizes": [
        {"read_bytes": 64, "reads_per_s": {"median": 2e6}},
        {"read_bytes": 4096, "reads_per_s": {"median": 1e6}},
    ],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(3000, 6)) @ rng.normal(size=(6, 16)) + 0.05 * rng.normal(size=(3000, 16))
    np.save(folder / "base.npy", vectors.astype(np.float32))
    return folder / "base.npy"


@pytest.fixture
def flat_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """No measurement of memory: it takes seconds, and no test here looks at its result."""
    monkeypatch.setattr(MemoryGrowth, "more_us", lambda self, sizes: [0.0] * len(sizes))


# ---- growth


def test_power_law_is_found_again() -> None:
    pairs = [(n, n * 4**0.25) for n in (10.0, 20.0, 40.0)]
    assert exponent(GROWTH, pairs) == pytest.approx(0.25)
    assert power(GROWTH, 100.0, 0.25) == pytest.approx(200.0)


def test_one_odd_pair_does_not_matter() -> None:
    assert exponent(GROWTH, [(10, 20), (10, 20), (10, 1000)]) == pytest.approx(0.5)


def test_what_shrinks_or_explodes_by_chance_is_limited() -> None:
    assert exponent(GROWTH, [(20, 10)]) == 0
    assert exponent(GROWTH, [(1, 1000)]) == 1
    assert exponent(GROWTH, [(0, 10)]) == 0


def test_nothing_grows_when_the_sample_is_the_data() -> None:
    whole = Growth(small=900, large=900, wanted=1000)
    assert power(whole, 7.0, exponent(whole, [(1, 2)])) == 7
    assert logarithm(whole, 1, 2) == 2
    assert line(whole, 90, 90) == 100


# ---- costs


def run_of(codes: float, reads: float, rounds: float, us: float) -> Run:
    receipt = Receipt(
        queries=1000,
        k=10,
        threads=1,
        params={},
        tier="dram:",
        emulated=False,
        reads=round(reads * 1000),
        bytes_read=round(reads * 256_000),
        rounds=round(rounds * 1000),
        code_distances=round(codes * 1000),
        cpu_us=us * 1000,
        wall_us=us * 1000,
        latency_us=np.zeros(1000, np.float32),
    )
    run = Run(design=Design(kind="graph", params={}), size=1, path=Path(), width=1, target_recall=0.9)
    run.receipts.append(receipt)
    return run


def test_costs_are_found_again() -> None:
    rng = np.random.default_rng(0)
    runs = []
    for _ in range(20):
        codes, reads, rounds = rng.uniform(100, 1000), rng.uniform(10, 100), rng.uniform(1, 50)
        runs.append(run_of(codes, reads, rounds, 3 + 0.02 * codes + 0.1 * reads + 0.2 * rounds))
    found = fit(runs).as_dict()
    assert found["us_per_query"] == pytest.approx(3, rel=0.05)
    assert found["us_per_code"] == pytest.approx(0.02, rel=0.05)
    assert found["us_per_round"] == pytest.approx(0.2, rel=0.05)
    assert found["us_per_read"] + found["us_per_kib"] / 4 == pytest.approx(0.1, rel=0.05)
    assert found["mean_error"] < 0.01


def test_no_cost_is_negative() -> None:
    runs = [run_of(100, 50, 1, 10), run_of(200, 40, 1, 20), run_of(300, 30, 1, 29), run_of(400, 20, 1, 41)]
    assert min(fit(runs).us) >= 0


def test_the_best_round_counts() -> None:
    run = run_of(100, 10, 10, 8)
    run.receipts += run_of(100, 10, 10, 30).receipts
    assert run.busy_us == 8


def test_memory_that_grows_costs_more_or_nothing() -> None:
    assert min(MemoryGrowth(1 << 20, 1 << 21, 1).more_us([64, 64, 1 << 20])) >= 0


# ---- designs


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


# ---- devices


def test_a_profile_becomes_a_model() -> None:
    device = Device.of_profile(PROFILE, "there")
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
        (json.dumps({**PROFILE, "sizes": []}), "its figures must be above 0"),
        (json.dumps({**PROFILE, "latency_us": {"p50": {"median": -1}}}), "its figures must be above 0"),
        (json.dumps({**PROFILE, "device": {"block_bytes": "x"}}), "is not what"),
    ],
)
def test_what_is_no_profile_is_refused(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(InvalidArgumentError, match=says):
        Device.read_profile(tmp_path / "p.json")


def test_memory_has_no_limit_and_a_model_has() -> None:
    assert Device.of_tier("emulated:rdma-200g").figures is not None
    assert Device.of_tier("emulated:ssd-p5520").block_bytes == 4096


# ---- samples


def test_queries_are_in_no_sample(data: Path, tmp_path: Path) -> None:
    samples = draw(data, most=1000, seed=1, folder=tmp_path)
    assert samples.sizes() == (250, 1000)
    held = {row.tobytes() for row in samples.queries}
    assert len(held) == 300
    assert not held & {row.tobytes() for row in samples.large}
    again = draw(data, most=1000, seed=1, folder=tmp_path)
    assert np.array_equal(samples.large, again.large)
    assert samples.folder == again.folder
    assert draw(data, most=1000, seed=2, folder=tmp_path).folder != samples.folder


def test_a_small_file_is_its_own_sample(data: Path, tmp_path: Path) -> None:
    samples = draw(data, most=64_000, seed=1, folder=tmp_path)
    assert samples.sizes() == (2700,)
    assert not samples.growth.is_needed


def test_files_that_cannot_be_mapped_are_sampled_too(data: Path, tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    arrow = pytest.importorskip("pyarrow", reason="needs pyarrow")
    base = np.load(data)
    column = arrow.FixedSizeListArray.from_arrays(arrow.array(base.ravel()), base.shape[1])
    pq.write_table(arrow.table({"vector": column}), tmp_path / "base.parquet")
    samples = draw(tmp_path / "base.parquet", most=1000, seed=1, folder=tmp_path)
    assert np.array_equal(samples.large, draw(data, most=1000, seed=1, folder=tmp_path).large)


def test_too_few_vectors_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "few.npy", np.zeros((10, 4), np.float32))
    with pytest.raises(InvalidArgumentError, match="has 10 vectors; the advisor needs 1,000"):
        draw(tmp_path / "few.npy", most=1000, seed=0, folder=tmp_path)
    with pytest.raises(InvalidArgumentError, match="sample is 5"):
        draw(tmp_path / "few.npy", most=5, seed=0, folder=tmp_path)


# ---- all of it


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
def test_latency_may_be_preferred(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = [Design(kind="graph", params={"code_bits": 4.0}), Design(kind="cluster", params={"layout": "coded"})]
    monkeypatch.setattr(advising, "designs", lambda *_: two)
    device = Device.of_profile({**PROFILE, "latency_us": {"p50": {"median": 100.0}}}, "far away")
    request = Request(data=data, device=device, sample=1000, threads=1, prefer="latency", work=tmp_path)
    advice = advise(request)
    assert advice.best.work.rounds < 5  # at 100 us a round, rounds are most of what counts
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


def test_an_index_has_a_design(data: Path, tmp_path: Path) -> None:
    tiervec.build(data, tmp_path / "clusters", kind="cluster", params={"layout": "replicated", "replicas": 2})
    assert design_of(tmp_path / "clusters") == Design(kind="cluster", params={"layout": "replicated", "replicas": 2})
