from __future__ import annotations

import time
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tiervec.errors import UnavailableError
from tiervec.service.catalogue import IndexCatalogue
from tiervec.service.health import HealthReport

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def check(report: HealthReport, service: str) -> int:
    status: int = report.servicer.Check(health_pb2.HealthCheckRequest(service=service), None).status
    return status


def test_one_answer_per_index(serve: Any, fake_index: Any, bytes_index: Any) -> None:
    with serve({"a": fake_index, "b": bytes_index}) as server, grpc.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "a", "b"):
            assert stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10).status == SERVING
        with pytest.raises(grpc.RpcError) as caught:
            stub.Check(health_pb2.HealthCheckRequest(service="c"), timeout=10)
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.NOT_FOUND


def test_an_unavailable_tier_is_probed_until_it_is_back(fake_index: Any, bytes_index: Any) -> None:
    catalogue = IndexCatalogue({"a": fake_index, "b": bytes_index})
    report = HealthReport(catalogue, probe_interval_s=0.01)
    report.start()
    try:
        fake_index.fault = UnavailableError("tier does not answer")
        catalogue.set_available("a", False)
        assert [check(report, name) for name in ("a", "b", "")] == [NOT_SERVING, SERVING, SERVING]
        bytes_index.fault = UnavailableError("tier does not answer")
        catalogue.set_available("b", False)
        assert check(report, "") == NOT_SERVING
        fake_index.fault = bytes_index.fault = None
        wait_until(lambda: [check(report, name) for name in ("a", "b", "")] == [SERVING] * 3)
        assert not any(fake_index.calls[-1]["queries"][0, 1:])
    finally:
        report.stop()
    assert [check(report, name) for name in ("a", "b", "")] == [NOT_SERVING] * 3


def test_a_search_finds_the_tier_gone(serve: Any, fake_index: Any) -> None:
    from tiervec.client import Client

    with serve({"fake": fake_index}) as server, Client(server.address, timeout_s=10) as client:
        assert client.is_serving("fake")
        fake_index.fault = UnavailableError("tier does not answer")
        with pytest.raises(UnavailableError, match="tier does not answer"):
            client.search("fake", fake_index.vectors[:1])
        assert not client.is_serving("fake")
        fake_index.fault = None
        client.search("fake", fake_index.vectors[:1])
        assert client.is_serving("fake")


def wait_until(condition: Any, timeout_s: float = 10) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.01)
