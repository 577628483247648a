"""The commands on a real index, in this process and as processes of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec.cli.main import main
from tiervec.client import Client
from tiervec.vectors.ground_truth import write_ground_truth

VECTORS = np.random.default_rng(3).standard_normal((1500, 24)).astype(np.float32)
QUERIES = np.random.default_rng(4).standard_normal((40, 24)).astype(np.float32)
TIERVEC = [sys.executable, "-m", "tiervec.cli"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of vectors, queries and ground truth, and ``index`` built from them by the command."""
    path = tmp_path_factory.mktemp("real")
    np.save(path / "vectors.npy", VECTORS)
    np.save(path / "queries.npy", QUERIES)
    distances = ((QUERIES[:, None] - VECTORS[None]) ** 2).sum(axis=2)
    write_ground_truth(path / "truth.bin", np.argsort(distances, axis=1)[:, :10])
    settings = ["--set", "graph_degree=16", "--set", "build_list=40", "--set", "code_bits=8"]
    assert main(["build", "--data", str(path / "vectors.npy"), "--out", str(path / "index"), *settings]) == 0
    return path


def test_build_info_verify(command: Any, folder: Path) -> None:
    document = command("info", folder / "index", "--json").document
    assert (document["vectors"], document["dim"], document["dtype"]) == (1500, 24, "float32")
    assert document["params"]["graph_degree"] == 16
    assert document["calibration"] is not None
    assert command("verify", folder / "index", "--json").document["ok"] is True
    assert "holds           1,500 vectors of 24 x float32, metric l2" in command("info", folder / "index").out


@pytest.mark.parametrize("tier", ["dram:", "mmap:", "emulated:rdma-200g"])
def test_search_finds_the_neighbours(command: Any, folder: Path, tier: str) -> None:
    arguments = ["--queries", folder / "queries.npy", "--ground-truth", folder / "truth.bin", "--tier", tier]
    document = command("search", folder / "index", *arguments, "--set", "search_list=100", "--json").document
    assert document["recall"] >= 0.95
    assert document["tier"] == tier
    assert document["emulated"] == tier.startswith("emulated:")
    assert document["reads_per_query"] > 10
    assert (document["fraction_of_limit"] is None) == (not document["emulated"])
    document = command("search", folder / "index", *arguments, "--target-recall", 0.8, "--json").document
    assert document["recall"] >= 0.7


def test_what_the_index_refuses(command: Any, folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "wide.npy", np.zeros((2, 25), np.float32))
    index, queries = folder / "index", folder / "queries.npy"
    for arguments, words in [
        (["search", index, "--queries", tmp_path / "wide.npy"], "dim 25"),
        (["search", index, "--queries", queries, "--set", "search_list=0"], "search_list is 0"),
        (["search", index, "--queries", queries, "--tier", "tape:"], "tape"),
        (["search", index, "--queries", queries, "--tier", "emulated:floppy"], "floppy"),
        (["build", "--data", queries, "--out", index], "index"),
        (["build", "--data", queries, "--out", tmp_path / "o", "--metric", "l3"], "l3"),
        (["build", "--data", queries, "--out", tmp_path / "o", "--memory-limit", "1MiB"], "1 MiB"),
    ]:
        outcome = command(*arguments)
        assert (outcome.status, outcome.out) == (1, ""), arguments
        line = outcome.err.splitlines()[-1]
        assert line.startswith("tiervec: error: ")
        assert words in line
        assert "Traceback" not in outcome.err
    assert not (tmp_path / "o").exists()


def test_profile(command: Any) -> None:
    document = command("profile", "emulated:cxl-x8", "--json").document
    assert document["emulated"] is True
    assert document["sizes"][0]["read_bytes"] == 64


def test_one_json_document_and_progress_apart(folder: Path, tmp_path: Path) -> None:
    data = folder / "vectors.npy"
    done = run("build", "--data", data, "--out", tmp_path / "i", "--set", "graph_degree=8", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["vectors"] == 1500
    assert "linking: 100%" in done.stderr


def test_closed_pipe(folder: Path) -> None:
    command = f"{sys.executable} -m tiervec.cli info {folder}/index --json | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=500, check=True)
    assert done.stdout.strip() in ("0", "141")  # the pipe may close after the document went into it
    assert done.stderr == ""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_build_leaves_nothing(tmp_path: Path, number: signal.Signals, status: int) -> None:
    np.save(tmp_path / "big.npy", np.random.default_rng(5).standard_normal((60_000, 64)).astype(np.float32))
    out = tmp_path / "out"
    out.mkdir()
    command = [*TIERVEC, "build", "--data", str(tmp_path / "big.npy"), "--out", str(out / "index")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("linking"):
                break
        process.send_signal(number)
        rest = process.stderr.read()
        assert process.wait(timeout=500) == status  # not 0: it did not finish the build
    assert rest.splitlines()[-1] in ("tiervec: interrupted", "tiervec: ended by SIGTERM")
    assert "Traceback" not in rest
    assert list(out.iterdir()) == []


@pytest.fixture
def server(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server process and its address."""
    command = [*TIERVEC, "serve", "--index", str(folder / "index"), "--listen", "127.0.0.1:0", "--tier", "mmap:"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            address = next(found[1] for line in process.stderr if (found := re.search(r"listening on (\S+)", line)))
            yield process, address
        finally:
            process.kill()


def test_serve_as_a_process(folder: Path, server: tuple[subprocess.Popen[str], str]) -> None:
    process, address = server
    with tiervec.open(folder / "index", tier="mmap:") as index, Client(address, timeout_s=60) as client:
        expected = index.search(QUERIES, 10, params={"search_list": 80})
        found = client.search("index", QUERIES, 10, params={"search_list": 80})
        np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_array_equal(found.distances, expected.distances)
        assert found.receipt.reads == expected.receipt.reads
        assert found.receipt.params == expected.receipt.params
        document = index.info.as_dict()
        del document["path"]
        assert client.info("index") == {"name": "index", "tier": "mmap:", "emulated": False, **document}
        with pytest.raises(tiervec.InvalidArgumentError, match="dim 25"):
            client.search("index", np.zeros((1, 25), np.float32))
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=500) == 0


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*TIERVEC, *map(str, arguments)]
    return subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, timeout=500, check=False)
