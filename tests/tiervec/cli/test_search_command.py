from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiervec.errors import InvalidArgumentError
from tiervec.vectors.ground_truth import write_ground_truth

CONTRACT_KEYS = {
    "vectors",
    "dim",
    "dtype",
    "metric",
    "kind",
    "tier",
    "k",
    "queries",
    "threads",
    "params",
    "recall",
    "qps",
    "latency_us",
    "reads_per_query",
    "bytes_per_query",
    "rounds_per_query",
    "cpu_us_per_query",
    "fast_bytes",
    "tier_bytes",
    "amplification",
    "fraction_of_limit",
    "environment",
}


def test_json_has_the_contracts_keys(command: Any, opened: Any, queries: Path) -> None:
    outcome = command("search", "dir", "--queries", queries, "--k", 3, "--json", "--tier", "emulated:rdma-200g")
    document = outcome.document
    assert outcome.status == 0
    assert set(document) == CONTRACT_KEYS | {
        "emulated", "code_distances_per_query", "hot_records_per_query", "waiting_us_per_query",
    }  # fmt: skip
    assert set(document["latency_us"]) == {"p50", "p95", "p99"}
    assert (document["k"], document["queries"], document["recall"], document["emulated"]) == (3, 5, None, True)
    assert document["reads_per_query"] == 40
    assert document["fraction_of_limit"] > 0
    assert document["environment"]["python"]
    assert outcome.err == "tiervec: note: the fake index has no device\n"
    assert opened == [{"path": "dir", "tier": "emulated:rdma-200g", "fast_memory": None, "threads": 0}]


def test_settings_reach_the_index(command: Any, opened: Any, fake_index: Any, queries: Path) -> None:
    settings = ["--set", "search_list=32", "--set", "search_list=48", "--set", "pipeline=off"]
    assert command("search", "dir", "--queries", queries, *settings).status == 0
    assert fake_index.calls[-1]["params"] == {"search_list": 48, "pipeline": False}
    assert command("search", "dir", "--queries", queries, "--target-recall", 0.95).status == 0
    assert (fake_index.calls[-1]["target_recall"], fake_index.calls[-1]["params"]) == (0.95, None)
    command("search", "dir", "--queries", queries, "--threads", 2, "--fast-memory", "1MiB")
    assert (opened[-1]["threads"], opened[-1]["fast_memory"]) == (2, 1 << 20)


def test_unknown_setting(command: Any, opened: Any, queries: Path) -> None:
    outcome = command("search", "dir", "--queries", queries, "--set", "nprob=3")
    assert outcome.status == 1
    assert outcome.err.startswith("tiervec: error: unknown parameter 'nprob' for the search of a graph index")
    assert "search_list, beam_width" in outcome.err


def test_repeat_reports_the_median_run(
    command: Any, opened: Any, fake_index: Any, queries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walls_us = iter([9e9, 1000.0, 5000.0, 2000.0, 4000.0, 3000.0])
    original = fake_index._receipt
    monkeypatch.setattr(fake_index, "_receipt", lambda n, k, params, _: original(n, k, params, next(walls_us)))
    document = command("search", "dir", "--queries", queries, "--repeat", 5, "--json").document
    assert document["qps"] == pytest.approx(5 / 3000e-6)
    assert document["qps_runs"] == pytest.approx([5 / (wall * 1e-6) for wall in (1000, 5000, 2000, 4000, 3000)])


def test_recall_and_ids(command: Any, opened: Any, queries: Path, tmp_path: Path) -> None:
    truth, out = tmp_path / "truth.bin", tmp_path / "ids.npy"
    write_ground_truth(truth, np.arange(5)[:, None])
    arguments = ["--queries", queries, "--k", 1, "--ground-truth", truth, "--out", out, "--json"]
    assert command("search", "dir", *arguments).document["recall"] == 1.0
    assert np.load(out).tolist() == [[0], [1], [2], [3], [4]]


def test_text_says_emulated(command: Any, opened: Any, queries: Path, tmp_path: Path) -> None:
    truth = tmp_path / "truth.bin"
    write_ground_truth(truth, np.arange(5)[:, None])
    arguments = ["--queries", queries, "--k", 1, "--ground-truth", truth, "--repeat", 3]
    text = command("search", "dir", *arguments).out
    for words in ("emulated device", "recall@1", "1.0000", "amplification 1.50", "40.0 bytes per vector", "note"):
        assert words in text
    assert "3, from " in text


def test_bad_files(command: Any, opened: Any, queries: Path, tmp_path: Path) -> None:
    assert "none.npy" in command("search", "dir", "--queries", tmp_path / "none.npy").err
    truth = tmp_path / "truth.bin"
    write_ground_truth(truth, np.arange(4)[:, None])
    outcome = command("search", "dir", "--queries", queries, "--k", 1, "--ground-truth", truth)
    assert outcome.status == 1
    assert "5" in outcome.err
    assert "4" in outcome.err
    outcome = command("search", "dir", "--queries", queries, "--out", tmp_path / "no" / "ids.npy")
    assert (outcome.status, outcome.out) == (1, "")
    assert "no/ids.npy: No such file or directory" in outcome.err


def test_error_of_the_index(command: Any, opened: Any, fake_index: Any, queries: Path) -> None:
    fake_index.fault = InvalidArgumentError("queries have dim 3, but the index has dim 8")
    outcome = command("search", "dir", "--queries", queries)
    assert outcome == (1, "", "tiervec: error: queries have dim 3, but the index has dim 8\n")
