"""SearchService.Search through a real channel: results, and one test per status code."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest

from tiervec.errors import DataLossError, TiervecError, UnavailableError, UnsupportedError
from tiervec.service._generated import search_pb2, search_pb2_grpc, vectors_pb2
from tiervec.service.configuration import Limits

QUERIES = np.random.default_rng(1).standard_normal((3, 8)).astype("<f4")


@pytest.fixture
def stub(serve: Any, fake_index: Any) -> Iterator[Any]:
    limits = Limits(max_batch_queries=5, max_k=50, max_concurrent_searches=1, max_waiting_searches=1)
    with serve({"fake": fake_index}, limits=limits) as server, grpc.insecure_channel(server.address) as channel:
        yield search_pb2_grpc.SearchServiceStub(channel)


def request(**changes: Any) -> search_pb2.SearchRequest:
    vectors = {"dtype": vectors_pb2.DTYPE_FLOAT32, "dim": 8, "data": QUERIES.tobytes()}
    vectors.update({key: changes.pop(key) for key in list(changes) if key in vectors})
    values: dict[str, Any] = {"index": "fake", "k": 4, "queries": vectors_pb2.Vectors(**vectors)}
    return search_pb2.SearchRequest(**{**values, **changes})


def refused(stub: Any, message: search_pb2.SearchRequest, timeout: float = 10) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        stub.Search(message, timeout=timeout)
    error: Any = caught.value
    return error.code(), error.details()


def test_answers_are_those_of_the_index(stub: Any, fake_index: Any) -> None:
    response = stub.Search(request(params={"search_list": "80", "pipeline": "off"}, target_recall=0.9), timeout=60)
    expected = fake_index.search(QUERIES, 4)
    assert np.frombuffer(response.ids, "<i8").reshape(3, 4).tolist() == expected.ids.tolist()
    assert np.frombuffer(response.distances, "<f4").reshape(3, 4).tolist() == expected.distances.tolist()
    call = fake_index.calls[0]
    assert (call["k"], call["target_recall"]) == (4, 0.9)
    assert call["params"] == {"search_list": 80, "pipeline": False}
    assert 0 < call["timeout_s"] < 66  # gRPC rounds the time up as it sends it


def test_receipt_arrives_whole(stub: Any) -> None:
    receipt = stub.Search(request(), timeout=60).receipt
    assert (receipt.queries, receipt.k, receipt.reads, receipt.bytes_read, receipt.rounds) == (3, 4, 120, 30720, 36)
    assert (receipt.code_distances, receipt.hot_records) == (4500, 6)
    assert (receipt.cpu_us, receipt.waiting_us) == (150, 60)
    assert receipt.emulated
    assert list(receipt.latency_us) == [100, 150, 200]
    assert receipt.device.reads_per_s == 68e6
    assert list(receipt.notes) == ["the fake index has no device"]
    assert receipt.params["search_list"] == 64


def test_fewer_than_k_vectors_are_padded(serve: Any, bytes_index: Any) -> None:
    with serve({"bytes": bytes_index}) as server, grpc.insecure_channel(server.address) as channel:
        message = request(index="bytes", dtype=vectors_pb2.DTYPE_UINT8, dim=4, data=b"\0\1\2\3")
        response = search_pb2_grpc.SearchServiceStub(channel).Search(message, timeout=60)
    assert np.frombuffer(response.ids, "<i8").tolist() == [0, 1, 2, -1]
    assert np.frombuffer(response.distances, "<f4")[3] == np.inf
    assert not response.receipt.HasField("device")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"k": 0}, ["k is 0", "1 to 50"]),
        ({"k": 51}, ["k is 51", "1 to 50"]),
        ({"dim": 7}, ["dim 7", "dim 8"]),
        ({"dim": 0}, ["dim 0", "dim 8"]),
        ({"data": b""}, ["no rows"]),
        ({"data": b"\0" * 33}, ["33 bytes", "32"]),
        ({"dtype": vectors_pb2.DTYPE_UNSPECIFIED}, ["dtype number 0", "float32"]),
        ({"dtype": 77}, ["dtype number 77"]),
        ({"dtype": vectors_pb2.DTYPE_INT8, "data": b"\0" * 24}, ["int8", "float32"]),
        ({"data": np.full(8, np.nan, "<f4").tobytes()}, ["nan", "row 0"]),
        ({"data": np.full(8, np.inf, "<f4").tobytes()}, ["inf", "row 0"]),
        ({"target_recall": 1.5}, ["target_recall is 1.5"]),
        ({"target_recall": float("nan")}, ["target_recall is nan"]),
        ({"params": {"serch_list": "10"}}, ["'serch_list'", "did you mean 'search_list'", "beam_width"]),
        ({"params": {"search_list": "many"}}, ["search_list='many'", "integer"]),
        ({"params": {"pipeline": "perhaps"}}, ["pipeline='perhaps'", "on or off"]),
        ({"params": {"search_list": "0"}}, ["search_list is 0"]),
    ],
)
def test_invalid_argument(stub: Any, change: dict[str, Any], words: list[str]) -> None:
    code, details = refused(stub, request(**change))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert all(word in details for word in words), details


def test_not_found(stub: Any) -> None:
    code, details = refused(stub, request(index="other"))
    assert code is grpc.StatusCode.NOT_FOUND
    assert details == "index 'other' is not served here; served: fake"


def test_too_many_queries(stub: Any) -> None:
    code, details = refused(stub, request(data=b"\0" * 32 * 6))
    assert (code, details) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "the call has 6 queries; this server takes at most 5 in one call",
    )


def test_message_too_large(serve: Any, fake_index: Any) -> None:
    limits = Limits(max_message_bytes=4096)
    with serve({"fake": fake_index}, limits=limits) as server, grpc.insecure_channel(server.address) as channel:
        stub = search_pb2_grpc.SearchServiceStub(channel)
        assert refused(stub, request(data=b"\0" * 8192))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        code, details = refused(stub, request(k=1000))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "36000 bytes" in details


def test_searches_without_a_deadline_wait_for_their_turn(serve: Any, fake_index: Any) -> None:
    fake_index.hold = threading.Event()
    limits = Limits(max_concurrent_searches=1, max_waiting_searches=16)
    with (
        serve({"fake": fake_index}, limits=limits) as server,
        grpc.insecure_channel(server.address) as channel,
        ThreadPoolExecutor(16) as pool,
    ):
        search = search_pb2_grpc.SearchServiceStub(channel).Search
        running = [pool.submit(search, request()) for _ in range(16)]
        wait_until(lambda: fake_index.running == 1 and server._server._lanes[0].count.total == 16)
        fake_index.hold.set()
        assert [done.result().receipt.queries for done in running] == [3] * 16
    assert {call["timeout_s"] for call in fake_index.calls} == {None}


def test_too_many_searches_wait(stub: Any, fake_index: Any) -> None:
    fake_index.hold = threading.Event()
    with ThreadPoolExecutor(4) as pool:
        running = pool.submit(stub.Search, request(), timeout=60)
        wait_until(lambda: fake_index.running == 1)
        others = [pool.submit(stub.Search, request(), timeout=60) for _ in range(3)]
        wait_until(lambda: sum(other.done() for other in others) == 2)  # the third one waits
        errors = [other.exception() for other in others if other.done()]
        assert [error.code() for error in errors] == [grpc.StatusCode.RESOURCE_EXHAUSTED] * 2  # type: ignore[union-attr]
        fake_index.hold.set()
        answers = [other.result() for other in others if other.exception() is None]
        assert [answer.receipt.queries for answer in [running.result(), *answers]] == [3, 3]


@pytest.mark.realtime
def test_deadline_passes_while_waiting(stub: Any, fake_index: Any) -> None:
    fake_index.hold = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(stub.Search, request(), timeout=60)
        wait_until(lambda: fake_index.running == 1)
        assert refused(stub, request(), timeout=0.1)[0] is grpc.StatusCode.DEADLINE_EXCEEDED
        fake_index.hold.set()
        running.result()

    def answered() -> bool:
        try:
            return len(stub.Search(request(), timeout=60).ids) == 3 * 4 * 8
        except grpc.RpcError as error:  # the client knows sooner than the server that a call is late
            refusal: Any = error
            assert refusal.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            return False

    wait_until(answered)  # neither the slot of the late call nor its place in the queue is lost


def test_a_client_that_goes_away_ends_its_search(stub: Any, fake_index: Any) -> None:
    fake_index.hold = threading.Event()
    call = stub.Search.future(request(), timeout=60)
    wait_until(lambda: fake_index.running == 1)
    call.cancel()
    wait_until(lambda: fake_index.cancelled == 1)
    fake_index.hold = None
    assert len(stub.Search(request(), timeout=60).ids) == 3 * 4 * 8


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (UnavailableError("tier rdma://a does not answer"), grpc.StatusCode.UNAVAILABLE),
        (DataLossError("section records has a wrong checksum"), grpc.StatusCode.DATA_LOSS),
        (UnsupportedError("filters need a newer version"), grpc.StatusCode.UNIMPLEMENTED),
        (TiervecError("slot 3 is owned twice"), grpc.StatusCode.INTERNAL),
    ],
)
def test_errors_of_the_index(stub: Any, fake_index: Any, fault: Exception, code: grpc.StatusCode) -> None:
    fake_index.fault = fault
    assert refused(stub, request()) == (code, str(fault))


def test_a_bug_is_internal_and_tells_nothing(stub: Any, fake_index: Any, caplog: pytest.LogCaptureFixture) -> None:
    fake_index.fault = ZeroDivisionError("in secret.py, line 7")
    with caplog.at_level(logging.ERROR):
        code, details = refused(stub, request())
    assert code is grpc.StatusCode.INTERNAL
    assert details == "internal error; the server's log has the details"
    assert "secret.py" in caplog.text


def wait_until(condition: Any, timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.01)
