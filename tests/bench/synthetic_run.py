"""Result files of a run that nobody measured, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tiervec.bench.result_files import write_advice, write_profile, write_result, write_run_info
from tiervec.bench.results import (
    AdviceResult,
    BuildFigures,
    Cell,
    DatasetKey,
    Latency,
    ProfileResult,
    Repeat,
    Result,
    RunInfo,
    cell_id,
)

MACHINE = {"cpu": "A CPU", "cores": 2, "allowed_cpus": 2, "simd": "avx2", "memory_bytes": 8 << 30, "os": "an OS"}
MACHINE = {**MACHINE, "kernel": "6.1", "python": "3.11", "tiervec": "0.1.0", "commit": "0123456789abcdef"}

GRAPH, CLUSTER = "tiervec-graph", "tiervec-cluster"
IMPORTED, DISKANN = "tiervec-diskann", "diskannpy-disk"
SSD, RDMA, DRAM = "emulated:ssd-p5520", "emulated:rdma-200g", "dram:"


def dataset(n: int = 100_000) -> DatasetKey:
    return DatasetKey(
        name="sift1m",
        slice=n,
        n=n,
        dim=128,
        dtype="uint8",
        metric="l2",
        queries=1000,
        checksum=f"{n}",
        queries_checksum="q",
        ground_truth_checksum=f"t{n}",
    )


def result(
    experiment: str,
    system: str,
    qps: float,
    *,
    tier: str | None = DRAM,
    recall: float = 0.95,
    n: int = 100_000,
    run: str = "made-up",
    environment: dict[str, Any] | None = None,
    status: Any = "ok",
    reason: str | None = None,
    amplification: float | None = 1.5,
    fast: float | None = 67.0,
    fraction: float | None = None,
    reads: float = 36.5,
    group: str = "",
    **cell: Any,
) -> Result:
    """A cell with five repeats around `qps`; more keywords are fields of `Cell`."""

    def repeats(shift: float) -> tuple[Repeat, ...]:
        return tuple(
            Repeat(
                round=at,
                started=0.0,
                seconds=1.0,
                queries=1000,
                qps=qps * (1 + shift + 0.02 * (at - 2)),
                recall=recall,
                latency_us=Latency(p50=1e6 / qps, p95=2e6 / qps, p99=4e6 / qps),
                cpu_us_per_query=2e6 / qps,
                reads_per_query=None if tier is None else reads,
                bytes_per_query=None if tier is None else 7600.0,
                rounds_per_query=None if tier is None else 36.5,
                fraction_of_limit=fraction,
            )
            for at in range(5)
        )

    measured = status == "ok"
    return Result(
        run=run,
        experiment=experiment,
        cell=Cell(
            system=system,
            dataset=dataset(n),
            k=10,
            threads=2,
            affinity=(0, 1),
            tier=tier,
            **{"label": system.removeprefix("tiervec-"), **cell},
        ),
        provenance="memory" if tier in (None, DRAM) else "emulated" if tier.startswith("emulated:") else "real",
        status=status,
        reason=reason,
        group=group,
        build=BuildFigures(
            seconds=n / 4000,
            peak_bytes=n * 430,
            amplification=amplification if tier is not None else None,
            fast_bytes_per_vector=fast,
        ),
        repeats=repeats(0) if measured else (),
        control=repeats(0.01) if measured else (),
        environment=MACHINE if environment is None else environment,
        commit="0123456789abcdef",
    )


def profile(
    tier: str, latency_us: float, reads_per_s: float, bytes_per_s: float, run: str = "made-up"
) -> ProfileResult:
    """A device of two limits."""
    sizes = []
    for power in range(6, 17):
        rate = min(reads_per_s, bytes_per_s / 2**power)
        sizes.append(
            {
                "read_bytes": 2**power,
                "reads_per_s": {"median": rate, "spread": 0.02},
                "bytes_per_s": rate * 2**power,
                "device_reads_per_s": rate,
            }
        )
    document = {
        "sizes": sizes,
        "knee_bytes": bytes_per_s / reads_per_s,
        "latency_us": {"p50": {"median": latency_us, "spread": 0.0}},
        "device": {"block_bytes": 64},
    }
    return ProfileResult(
        run=run,
        experiment="devices",
        tier=tier,
        provenance="memory" if tier == DRAM else "emulated",
        status="ok",
        profile=document,
        environment=MACHINE,
        commit="0123456789abcdef",
    )


def study() -> list[Result]:
    """A bit of every experiment of the study, with the paper's findings in it."""
    found = []
    for degree, amplification, ssd in ((16, 1.3, 3000), (32, 1.6, 6000), (64, 2.2, 9000), (128, 3.4, 12_000)):
        build = {"graph_degree": degree}
        common: dict[str, Any] = {"amplification": amplification, "build": build, "target_recall": 0.95}
        found.append(result("dilemma-ssd", GRAPH, ssd, tier=SSD, fraction=0.9, **common))
        found.append(result("dilemma-memory", GRAPH, 40_000 + degree, tier=RDMA, fraction=0.02, **common))
        found.append(result("dilemma-memory", GRAPH, 44_000 + degree, **common))
    for replicas, ssd in ((1, 2000), (2, 2600), (4, 3200), (8, 3500)):
        common = {"amplification": 1.0 * replicas, "build": {"replicas": replicas, "layout": "replicated"}}
        found.append(result("dilemma-ssd", CLUSTER, ssd, tier=SSD, fraction=0.8, **common))
        found.append(result("dilemma-memory", CLUSTER, 9000, tier=RDMA, fraction=0.3, **common))
    found.append(result("same-graph", DISKANN, 1400, tier=None, label="DiskANN's own search", group="g"))
    for tier, layout, qps in (("ssd:", "sectors", 3600), (DRAM, "packed", 70_000), (RDMA, "packed", 64_000)):
        found.append(result("same-graph", IMPORTED, qps, tier=tier, build={"layout": layout}, group="g"))
    for label, qps in (("pipeline on", 40_000), ("pipeline off", 9000)):
        found.append(result("ablation-pipeline", GRAPH, qps, tier=RDMA, label=label, search={"pipeline": label[-2:]}))
    for tier in (DRAM, RDMA, SSD):
        found.append(result("kinds", GRAPH, 40_000 if tier != SSD else 9000, tier=tier))
        found.append(result("kinds", CLUSTER, 25_000 if tier != SSD else 12_000, tier=tier, amplification=1.02))
    for at, recall in enumerate((0.9, 0.95, 0.98, 0.99)):
        search = {"search_list": 32 * 2**at}
        found.append(result("recall-peers", GRAPH, 60_000 / 2**at, recall=recall, search=search))
        found.append(result("recall-peers", GRAPH, 55_000 / 2**at, recall=recall, search=search, tier=RDMA))
        found.append(
            result("recall-peers", "hnswlib", 15_000 / 2**at, recall=recall, tier=None, search={"ef": 50 * 2**at})
        )
    found.append(
        result("recall-peers", "diskannpy-disk", 1, tier=None, status="missing", reason="diskannpy is not installed")
    )
    found.append(
        result("recall-peers", "faiss-ivfpq", 1, tier=None, status="crashed", reason="the process ended with SIGSEGV")
    )
    for at, recall in enumerate((0.5, 0.96)):
        shape: dict[str, Any] = {"n": 5000 + at}
        found.append(result("battery", GRAPH, 9000, recall=recall, **shape))
        found.append(result("battery", "hnswlib", 9000, recall=0.97, tier=None, **shape))
    for rate in (1000, 5000, 20_000):
        open_loop: dict[str, Any] = {"mode": "open", "arrival_qps": float(rate), "arrivals": "poisson", "batch": 1}
        found.append(result("latency", GRAPH, 60_000 - 2 * rate, tier=RDMA, **open_loop))
        found.append(result("latency", CLUSTER, 50_000 - 2 * rate, tier=RDMA, **open_loop))
    for bits in (1.0, 2.0, 4.0):
        found.append(result("memory", GRAPH, 20_000 * bits**0.5, fast=16 * bits + 3, build={"code_bits": bits}))
    for n in (100_000, 300_000, 1_000_000):
        found.append(result("growth", GRAPH, 9e5 / n**0.22, n=n))
        found.append(result("growth", "hnswlib", 3e5 / n**0.25, n=n, tier=None))
    found.append(result("kinds", CLUSTER, 1000, label="too coarse", recall=0.7, target_recall=0.95))
    return found


def advice(
    system: str,
    predicted: float,
    measured: float,
    *,
    tier: str = RDMA,
    n: int = 100_000,
    samples: tuple[int, ...] = (4000, 16_000),
    reason: str | None = None,
) -> AdviceResult:
    """A prediction that is as far off in every figure; with a reason: one that failed."""
    names = ("QPS", "CPU us per query", "latency alone us", "reads per query", "amplification")
    figure = {"predicted": predicted, "measured": measured, "error": predicted / measured - 1}
    check = {"recall": 0.95, "figures": dict.fromkeys(names, figure)}
    cell = Cell(
        system=system,
        label=system,
        dataset=dataset(n),
        k=10,
        threads=2,
        affinity=(0, 1),
        tier=tier,
        target_recall=0.95,
    )
    return AdviceResult(
        run="made-up",
        experiment="advice",
        cell=cell,
        provenance="memory" if tier == DRAM else "emulated",
        status="ok" if reason is None else "failed",
        reason=reason,
        check=check if reason is None else None,
        recommended="graph graph_degree=32" if reason is None else None,
        samples=samples if reason is None else (),
        environment=MACHINE,
        commit="0123456789abcdef",
    )


def write_run(
    folder: Path,
    results: Sequence[Result],
    profiles: Sequence[ProfileResult] = (),
    advice: Sequence[AdviceResult] = (),
    name: str = "made-up",
) -> Path:
    """Writes a run's folder."""
    write_run_info(folder, RunInfo(run=name, plan="", began="2026-01-01T00:00:00Z", environment=MACHINE))
    for each in results:
        write_result(folder, cell_id(each.experiment, each.cell), each)
    for at, profiled in enumerate(profiles):
        write_profile(folder, f"profile-{at}", profiled)
    for predicted in advice:
        write_advice(folder, cell_id(predicted.experiment, predicted.cell), predicted)
    return folder


def profiles() -> list[ProfileResult]:
    """Three tiers."""
    return [
        profile(DRAM, 0.1, 40e6, 9e9),
        profile(RDMA, 2.8, 68e6, 23.9e9),
        profile(SSD, 75, 0.6e6, 3.5e9),
    ]
