"""Runs of sample indexes: what is counted, and what is measured."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec.advisor import measurement
from tiervec.advisor.design import Design
from tiervec.advisor.measurement import Run, Work, measure


def test_cpu_time_is_that_of_the_best_round_and_throughput_of_the_median_one(run_of: Callable[..., Run]) -> None:
    run = run_of(100, 10, 10, 8)
    run.receipts += run_of(100, 10, 10, 30).receipts + run_of(100, 10, 10, 10).receipts
    assert run.busy_us == 8
    assert run.qps == pytest.approx(1e5)


def test_work_is_counted_by_the_query(run_of: Callable[..., Run]) -> None:
    work = run_of(100, 10, 5, 8).work
    assert work == Work(reads=10, read_bytes=2560, rounds=5, codes=100)
    assert work.terms().tolist() == [1, 100, 10, 2.5, 5]


@pytest.mark.parametrize(
    ("target", "k", "reads"), [(0.5, 10, 10.0), (0.85, 10, 15.0), (0.99, 10, None), (0.85, 3, 15.0), (0.85, 500, 15.0)]
)
def test_reads_that_codes_ask_for(run_of: Callable[..., Run], target: float, k: int, reads: float | None) -> None:
    run = run_of(100, 10, 1, 8)
    assert run.reads_to_rank(k) is None  # nothing is known of the index
    rows = [
        {"nprobe": nprobe, "rerank": rerank, "reads": float(rerank), "recall": recall}
        for nprobe, rerank, recall in ((1, 10, 0.4), (1, 20, 0.95), (8, 10, 0.8), (8, 20, 0.9), (8, 30, 0.95))
    ]
    run.info = SimpleNamespace(params={"layout": "coded"}, calibration={"tables": {"1": [], "10": rows}})  # type: ignore[assignment]
    run.target_recall = target
    assert run.reads_to_rank(k) == (None if reads is None else pytest.approx(reads))
    run.info = SimpleNamespace(params={"layout": "grouped"}, calibration=None)  # type: ignore[assignment]
    assert run.reads_to_rank(k) is None


@pytest.mark.parametrize(("target", "codes"), [(0.5, 100.0), (0.8, 150.0), (0.95, 800.0), (0.99, None)])
def test_codes_that_clusters_ask_for(run_of: Callable[..., Run], target: float, codes: float | None) -> None:
    run = run_of(100, 10, 1, 8)
    assert run.codes_to_probe(10) is None  # nothing is known of the index
    rows = [
        {"nprobe": nprobe, "rerank": rerank, "code_distances": float(100 * nprobe), "recall": recall}
        for nprobe, rerank, recall in (
            (1, 10, 0.4),
            (1, 20, 0.7),
            (2, 10, 0.6),
            (2, 20, 0.9),
            (8, 10, 0.99),
            (8, 20, 0.95),
        )
    ]
    run.info = SimpleNamespace(params={"layout": "coded"}, calibration={"tables": {"10": rows}})  # type: ignore[assignment]
    run.target_recall = target
    assert run.codes_to_probe(10) == (None if codes is None else pytest.approx(codes))


@pytest.mark.parametrize("alone", [True, False])
def test_settings_run_in_turn_on_the_tier(data: Path, tmp_path: Path, alone: bool) -> None:
    tiervec.build(data, tmp_path / "index", params={"graph_degree": 8, "build_list": 16}, threads=1)
    design = Design(kind="graph", params={})
    runs = [
        Run(design=design, size=3000, path=tmp_path / "index", width=width, target_recall=recall)
        for width, recall in ((1, 0.8), (8, 0.8), (1, 0.99))
    ]
    measure(runs, np.load(data)[:50], tier="emulated:rdma-200g", k=10, threads=1, alone=alone, rounds=2)
    assert [len(run.receipts) for run in runs] == [2, 2, 2]  # the first round does not count
    assert all(run.receipts[0].tier == "emulated:rdma-200g" for run in runs)
    assert all(run.info is not None and run.info.kind == "graph" for run in runs)
    assert runs[1].work.rounds < runs[0].work.rounds
    assert runs[2].work.codes > runs[0].work.codes
    assert all((run.alone_us is not None) == alone for run in runs)


def test_calls_are_long_enough_to_measure(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiervec.build(data, tmp_path / "index", params={"graph_degree": 8, "build_list": 16}, threads=1)
    run = Run(design=Design(kind="graph", params={}), size=3000, path=tmp_path / "index", width=1, target_recall=0.8)
    run.queries = np.load(data)[:5]
    few = dataclasses.replace(run, receipts=[])
    monkeypatch.setattr(measurement, "_MOST_QUERIES", 70)
    how: dict[str, Any] = {"tier": "dram:", "k": 10, "threads": 1, "alone": False, "rounds": 1}
    monkeypatch.setattr(measurement, "_CALL_S", 0.0)  # a call of five queries takes longer, on any machine
    measure([few], run.queries, **how)
    monkeypatch.setattr(measurement, "_CALL_S", 1e6)  # and one of 70 is shorter
    measure([run], run.queries, **how)
    assert [run.receipts[0].queries, few.receipts[0].queries] == [70, 5]
    assert run.work == few.work


def test_rounds_go_on_while_there_is_time(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiervec.build(data, tmp_path / "index", params={"graph_degree": 8, "build_list": 16}, threads=1)
    run = Run(design=Design(kind="graph", params={}), size=3000, path=tmp_path / "index", width=1, target_recall=0.8)
    monkeypatch.setattr(measurement, "time", SimpleNamespace(monotonic=itertools.count(0.0, 2.5).__next__))
    measure([run], np.load(data)[:5], tier="dram:", k=10, threads=1, alone=False, rounds=2, seconds=10.0)
    assert len(run.receipts) == 5  # two rounds as asked, and more until the ten seconds were over
