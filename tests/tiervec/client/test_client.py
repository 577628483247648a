from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec.client import Client
from tiervec.errors import (
    DataLossError,
    DeadlineExceededError,
    InvalidArgumentError,
    NotFoundError,
    TiervecError,
    UnavailableError,
    UnsupportedError,
)


def test_same_answers_as_the_index(serve: Any, fake_index: Any) -> None:
    queries = fake_index.vectors[:5] + np.float32(0.01)
    expected = fake_index.search(queries, 3, params={"search_list": 70})
    with serve({"fake": fake_index}) as server, Client(server.address, timeout_s=60) as client:
        result = client.search("fake", queries, 3, target_recall=0.9, params={"search_list": 70, "pipeline": False})
        assert client.indexes() == ["fake"]
        assert client.info("fake")["vectors"] == 100
    assert (result.ids.dtype, result.distances.dtype) == (np.int64, np.float32)
    np.testing.assert_array_equal(result.ids, expected.ids)
    np.testing.assert_array_equal(result.distances, expected.distances)
    assert fake_index.calls[-1]["params"] == {"search_list": 70, "pipeline": False}
    assert fake_index.calls[-1]["target_recall"] == 0.9
    same = {**expected.receipt.as_dict(), "params": {"search_list": 70, "pipeline": False}}
    measured = ("wall_us", "qps", "fraction_of_limit")
    assert {**result.receipt.as_dict(), **dict.fromkeys(measured)} == {**same, **dict.fromkeys(measured)}


@pytest.mark.parametrize("layout", ["coded", "grouped"])
def test_same_answers_as_a_cluster_index(layout: str, serve: Any, tmp_path: Path) -> None:
    pytest.importorskip("faiss", reason="clusters are built with faiss, which is not installed")
    base = np.random.default_rng(3).normal(size=(600, 8)).astype(np.float32)
    tiervec.build(base, tmp_path / "index", kind="cluster", params={"layout": layout}, threads=1)
    with tiervec.open(tmp_path / "index", threads=1) as index:
        asked: list[dict[str, Any]] = [{"params": {"nprobe": 3, "rerank": 20, "split": False}}, {"target_recall": 0.9}]
        expected = [index.search(base[:7], 5, **how) for how in asked]
        with serve({"clusters": index}) as server, Client(server.address, timeout_s=60) as client:
            info = client.info("clusters")
            assert (info["kind"], info["params"]["layout"]) == ("cluster", layout)
            for how, right in zip(asked, expected, strict=True):
                found = client.search("clusters", base[:7], 5, **how)
                np.testing.assert_array_equal(found.ids, right.ids)
                np.testing.assert_array_equal(found.distances, right.distances)
                assert found.receipt.params == right.receipt.params
                assert found.receipt.reads == right.receipt.reads > 0
            with pytest.raises(InvalidArgumentError, match="search_list"):
                client.search("clusters", base[:1], 5, params={"search_list": 40})


@pytest.mark.parametrize("query", [[0.5] * 8, np.full(8, 0.5), np.full((1, 8), 0.5, np.float16)])
def test_one_query(serve: Any, fake_index: Any, query: Any) -> None:
    with serve({"fake": fake_index}) as server, Client(server.address, timeout_s=60) as client:
        assert client.search("fake", query, 2).ids.shape == (1, 2)


def test_more_than_four_mebibytes_of_results(serve: Any, fake_index: Any) -> None:
    with serve({"fake": fake_index}) as server, Client(server.address, timeout_s=60) as client:
        assert client.search("fake", np.zeros((500, 8), np.float32), 1000).ids.shape == (500, 1000)


@pytest.mark.parametrize(
    "fault",
    [
        UnavailableError("tier is down"),
        DataLossError("wrong checksum"),
        UnsupportedError("no filters"),
        TiervecError("a bug"),
    ],
)
def test_errors_come_back_as_ours(serve: Any, fake_index: Any, fault: TiervecError) -> None:
    with serve({"fake": fake_index}) as server, Client(server.address, timeout_s=60) as client:
        fake_index.fault = fault
        with pytest.raises(type(fault)) as caught:
            client.search("fake", fake_index.vectors[:1])
        assert type(caught.value) is type(fault)
        assert str(caught.value) == f"{server.address}: {fault}"


def test_bad_arguments(serve: Any, fake_index: Any) -> None:
    with serve({"fake": fake_index}) as server, Client(server.address, timeout_s=60) as client:
        with pytest.raises(InvalidArgumentError, match="dim 3"):
            client.search("fake", np.zeros((1, 3), np.float32))
        with pytest.raises(InvalidArgumentError, match="int64"):
            client.search("fake", np.zeros((1, 8), np.int64))
        with pytest.raises(InvalidArgumentError, match="k is -1"):
            client.search("fake", np.zeros((1, 8), np.float32), -1)
        with pytest.raises(InvalidArgumentError, match="k is 0"):
            client.search("fake", np.zeros((1, 8), np.float32), 0)
        with pytest.raises(NotFoundError, match="index 'x' is not served"):
            client.info("x")
        with pytest.raises(NotFoundError):
            client.is_serving("x")


@pytest.mark.realtime
def test_deadline(serve: Any, fake_index: Any) -> None:
    fake_index.hold = threading.Event()
    with serve({"fake": fake_index}) as server, Client(server.address) as client:
        with pytest.raises(DeadlineExceededError):
            client.search("fake", fake_index.vectors[:1], timeout_s=0.2)
        fake_index.hold.set()


def test_no_server() -> None:
    with socket.socket() as taken:  # bound and not listening: nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with Client(address, timeout_s=60) as client, pytest.raises(UnavailableError, match=address):
            client.indexes()


def test_closed_client_and_missing_authorities(tmp_path: Path) -> None:
    client = Client("127.0.0.1:1")
    client.close()
    with pytest.raises(InvalidArgumentError, match="closed"):
        client.indexes()
    with pytest.raises(NotFoundError, match=r"TLS file .* does not exist"):
        Client("127.0.0.1:1", tls_ca=tmp_path / "none.pem")


def test_a_proxy_that_is_dead_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("grpc_proxy", "https_proxy", "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("http_proxy", "http://user:secret@127.0.0.1:1")
    with Client("127.0.0.2:7", timeout_s=60) as client, pytest.raises(UnavailableError) as raised:
        client.indexes()
    assert "http_proxy sends it through the proxy 127.0.0.1:1: put 127.0.0.2 into no_proxy" in str(raised.value)
    assert "secret" not in str(raised.value)
    monkeypatch.setenv("no_proxy", "127.0.0.2,example.org")
    with Client("127.0.0.2:7", timeout_s=60) as client, pytest.raises(UnavailableError) as raised:
        client.indexes()
    assert "proxy" not in str(raised.value)
