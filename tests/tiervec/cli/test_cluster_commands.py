"""The commands on a real cluster index."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec.cli.main import main
from tiervec.cluster_index.params import LAYOUTS
from tiervec.vectors.ground_truth import write_ground_truth

pytest.importorskip("faiss", reason="clusters are built with faiss, which is not installed")

VECTORS = np.random.default_rng(3).standard_normal((1200, 12)).astype(np.float32)
QUERIES = np.random.default_rng(4).standard_normal((70, 12)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of vectors, queries and ground truth, and ``index`` built from them by the command."""
    path = tmp_path_factory.mktemp("clusters")
    np.save(path / "vectors.npy", VECTORS)
    np.save(path / "queries.npy", QUERIES)
    distances = ((QUERIES[:, None] - VECTORS[None]) ** 2).sum(axis=2)
    write_ground_truth(path / "truth.bin", np.argsort(distances, axis=1)[:, :10])
    settings = ["--set", "clusters=60", "--set", "replicas=4", "--set", "code_bits=4", "--threads", "1"]
    command = ["build", "--kind", "cluster", "--data", str(path / "vectors.npy"), "--out", str(path / "index")]
    assert main([*command, *settings]) == 0
    return path


@pytest.fixture
def own_copy(folder: Path, tmp_path: Path) -> Path:
    """An index that the test may change."""
    return Path(shutil.copytree(folder / "index", tmp_path / "index"))


def test_info_says_how_large_the_clusters_are(command: Any, folder: Path) -> None:
    document = command("info", folder / "index", "--json").document
    assert document["kind"] == "cluster"
    assert document["details"]["clusters"] == document["params"]["clusters"] == 60
    own, listed = document["details"]["own_sizes"], document["details"]["posting_sizes"]
    assert own["mean"] == 20
    assert own["most"] <= 40
    assert listed["mean"] == pytest.approx(20 * document["details"]["replication"], rel=1e-3)
    text = command("info", folder / "index").out
    assert f"clusters        60, home to {own['least']} to {own['most']} vectors each" in text
    assert f"postings        {listed['least']} to {listed['most']} members" in text
    assert command("verify", folder / "index", "--json").document["ok"] is True


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("tier", ["dram:", "mmap:", "emulated:cxl-x8"])
def test_every_layout_is_converted_to_and_searched(layout: str, tier: str, command: Any, folder: Path) -> None:
    out = folder / layout
    if not out.exists():
        done = command("relayout", folder / "index", "--out", out, "--set", f"layout={layout}", "--threads", 1)
        assert (done.status, f"layout={layout}" in done.out) == (0, True)
    arguments = ["--queries", folder / "queries.npy", "--ground-truth", folder / "truth.bin", "--tier", tier]
    document = command("search", out, *arguments, "--set", "nprobe=60", "--set", "rerank=100", "--json").document
    assert document["recall"] >= 0.99
    assert (document["kind"], document["tier"]) == ("cluster", tier)
    assert document["rounds_per_query"] >= 1
    document = command("search", out, *arguments, "--target-recall", 0.8, "--json").document
    assert document["recall"] >= 0.7
    assert document["params"]["nprobe"] < 60


def test_relayout_in_place(command: Any, own_copy: Path) -> None:
    done = command("relayout", own_copy, "--set", "layout=replicated", "--set", "align=512", "--json")
    assert json.loads(done.out)["params"]["layout"] == "replicated"
    assert "writing postings: 100%" in done.err
    before = (own_copy / "manifest.json").stat()
    done = command("relayout", own_copy, "--set", "layout=replicated")
    assert (done.status, done.err) == (0, ""), "nothing changes, so nothing is written"
    assert (own_copy / "manifest.json").stat() == before


def test_relayout_within_a_limit_of_memory(command: Any, own_copy: Path, tmp_path: Path) -> None:
    arguments = ["relayout", own_copy, "--out", tmp_path / "new", "--set", "layout=grouped", "--threads", 1]
    one_error(command(*arguments, "--memory-limit", "1MiB"), "memory_limit is 1 MiB; converting 1,200 vectors")
    assert [entry.name for entry in tmp_path.iterdir()] == ["index"]
    done = command(*arguments, "--memory-limit", "1GiB")
    assert (done.status, "layout=grouped" in done.out) == (0, True)


BAD_BUILDS: dict[str, tuple[list[str], str]] = {
    "more clusters than vectors": (["clusters=71"], "clusters is 71, but there are 70 vectors"),
    "no clusters": (["clusters=0"], "clusters is 0; it must be an integer from 1"),
    "no replicas": (["replicas=0"], "replicas is 0; it must be an integer from 1 to 32"),
    "a layout of graphs": (["layout=packed"], "layout is 'packed'; a cluster index has coded, grouped, decoupled"),
    "a typing mistake": (["layuot=coded"], "unknown parameter 'layuot' for the build of a cluster index; did you mean"),
    "a graph's key": (["graph_degree=8"], "unknown parameter 'graph_degree' for the build of a cluster index"),
    "a word": (["replicas=many"], "parameter replicas='many' must be an integer"),
    "alignment": (["align=3"], "align is 3; it must be one of 1, 64, 256, 512, 4096"),
}


@pytest.mark.parametrize("what", BAD_BUILDS)
def test_bad_builds(what: str, command: Any, folder: Path, tmp_path: Path) -> None:
    values, text = BAD_BUILDS[what]
    arguments = [part for value in values for part in ("--set", value)]
    data = folder / "queries.npy"
    done = command("build", "--kind", "cluster", "--data", data, "--out", tmp_path / "new", *arguments)
    one_error(done, text)
    assert list(tmp_path.iterdir()) == []


BAD_RELAYOUTS: dict[str, tuple[list[str], str]] = {
    "layout": (["layout=heap"], "layout is 'heap'; a cluster index has coded, grouped, decoupled, replicated"),
    "clusters": (["clusters=3"], "clusters cannot change without a new build; of a cluster index layout, code"),
    "replicas": (["replicas=3"], "replicas cannot change without a new build"),
    "a search key": (["nprobe=3"], "unknown parameter 'nprobe' for the relayout of a cluster index"),
    "a typing mistake": (["layuot=coded"], "did you mean 'layout'?"),
}


@pytest.mark.parametrize("what", BAD_RELAYOUTS)
def test_bad_relayouts(what: str, command: Any, own_copy: Path) -> None:
    values, text = BAD_RELAYOUTS[what]
    before = {file.name: file.read_bytes() for file in own_copy.iterdir()}
    one_error(command("relayout", own_copy, *(part for value in values for part in ("--set", value))), text)
    assert {file.name: file.read_bytes() for file in own_copy.iterdir()} == before


def test_relayout_wants_a_layout_of_the_kind_of_index(command: Any, folder: Path, tmp_path: Path) -> None:
    tiervec.build(VECTORS[:100], tmp_path / "graph", calibration_queries=VECTORS[:2], threads=1)
    one_error(
        command("relayout", tmp_path / "graph", "--set", "layout=coded"), "a graph index has packed, plain, sectors"
    )
    one_error(command("relayout", tmp_path / "nowhere", "--set", "layout=coded"), "nowhere does not exist")
    (tmp_path / "there").mkdir()
    one_error(command("relayout", folder / "index", "--out", tmp_path / "there", "--set", "layout=grouped"), "there")


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("nprobe=0", "nprobe is 0; it must be an integer from 1"),
        ("rerank=0", "rerank is 0; it must be an integer from 1 to 10000"),
        ("search_list=5", "unknown parameter 'search_list' for the search of a cluster index"),
    ],
)
def test_bad_searches(setting: str, text: str, command: Any, folder: Path) -> None:
    one_error(command("search", folder / "index", "--queries", folder / "queries.npy", "--set", setting), text)


def one_error(outcome: Any, text: str) -> None:
    assert (outcome.status, outcome.out) == (1, "")
    line = outcome.err.splitlines()[-1]
    assert line.startswith("tiervec: error: ")
    assert text in line
    assert "Traceback" not in outcome.err
