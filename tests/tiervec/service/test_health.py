from __future__ import annotations

import threading
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tiervec.errors import DataLossError, TiervecError, UnavailableError
from tiervec.rpc.event_loop import event_loop
from tiervec.rpc.health import Health
from tiervec.rpc.limits import PeerCount
from tiervec.service.catalogue import IndexCatalogue
from tiervec.service.health import HealthReport

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SILENT = UnavailableError("tier does not answer")
DAMAGED = DataLossError("record 3 is damaged")


class Looks:
    """A report whose looks happen when the test says so."""

    def __init__(self, **indexes: Any) -> None:
        self.catalogue = IndexCatalogue(indexes)
        self.health = Health(event_loop(), PeerCount("health Watches", 4, 4))
        self.report = HealthReport(self.catalogue, self.health, interval_s=3600)
        self.report.publish()

    def states(self) -> dict[str, bool]:
        return {name: self.health.status(name) == SERVING for name in ("a", "b", "")}


@pytest.fixture
def looks(fake_index: Any, bytes_index: Any) -> Looks:
    return Looks(a=fake_index, b=bytes_index)


def test_one_answer_per_index(serve: Any, fake_index: Any, bytes_index: Any) -> None:
    with serve({"a": fake_index, "b": bytes_index}) as server, grpc.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "a", "b"):
            assert stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=60).status == SERVING
        with pytest.raises(grpc.RpcError) as caught:
            stub.Check(health_pb2.HealthCheckRequest(service="c"), timeout=60)
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.NOT_FOUND


def test_an_unavailable_tier_is_found_back(looks: Looks, fake_index: Any, bytes_index: Any) -> None:
    fake_index.fault = bytes_index.fault = SILENT
    looks.catalogue.failed("a", SILENT)
    assert looks.states() == {"a": False, "b": True, "": True}
    looks.catalogue.failed("b", SILENT)
    assert looks.states() == {"a": False, "b": False, "": False}
    looks.report.look()
    assert looks.states() == {"a": False, "b": False, "": False}, "a look that fails changes nothing"
    fake_index.fault = bytes_index.fault = None
    looks.report.look()
    assert looks.states() == {"a": True, "b": True, "": True}
    assert not any(fake_index.calls[-1]["queries"][0, 1:])
    looks.report.stop()
    assert looks.states() == {"a": False, "b": False, "": False}
    looks.health.set("a", True)
    assert not looks.states()["a"], "a stop is for good"


@pytest.mark.parametrize("fault", [SILENT, DAMAGED, TiervecError("a bug"), ZeroDivisionError("another")])
def test_an_index_that_nobody_asks_is_looked_at(looks: Looks, fake_index: Any, fault: Exception) -> None:
    fake_index.fault = fault
    looks.report.look()
    assert looks.states() == {"a": False, "b": True, "": True}
    fake_index.fault = None
    looks.report.look()
    assert looks.states() == {"a": True, "b": True, "": True}


def test_an_index_with_answers_is_not_asked(looks: Looks, fake_index: Any, bytes_index: Any) -> None:
    looks.catalogue.answered("a")
    looks.report.look()
    assert not fake_index.calls
    assert len(bytes_index.calls) == 1
    looks.report.look()
    assert len(fake_index.calls) == 1, "the answer is no longer recent"


def test_damaged_data_is_looked_at_at_once(looks: Looks, fake_index: Any, bytes_index: Any) -> None:
    fake_index.fault = DAMAGED
    looks.catalogue.failed("a", DAMAGED)
    assert looks.report._wake.is_set(), "the prober is woken"
    looks.report.look(at_doubtful_only=True)
    assert looks.states() == {"a": False, "b": True, "": True}
    assert not bytes_index.calls
    fake_index.fault = None
    looks.report.look()
    assert looks.states()["a"]


def test_one_damaged_record_among_many_is_not_the_whole_index(looks: Looks, fake_index: Any) -> None:
    for _ in range(10):
        looks.catalogue.failed("a", DAMAGED)
        looks.catalogue.failed("a", DAMAGED)
        looks.catalogue.answered("a")
    assert looks.states()["a"]
    assert not fake_index.calls


def test_three_searches_in_a_row_that_meet_damage(looks: Looks, fake_index: Any) -> None:
    lost = fake_index.vectors[5:6]
    for _ in range(3):
        assert looks.states()["a"]
        looks.catalogue.failed("a", DAMAGED, lost)
    assert not looks.states()["a"]
    search, asked = fake_index.search, []

    def search_without_one_record(query: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(query)
        if np.array_equal(query, lost):
            raise DataLossError("record 3 is damaged")  # a new one: its traceback holds frames
        return search(query, *arguments, **options)

    fake_index.search = search_without_one_record
    looks.report.look()
    assert not looks.states()["a"], "the query that met the damage still does"
    assert len(asked) == 2
    fake_index.search = search
    looks.report.look()
    assert looks.states()["a"]
    assert not looks.catalogue.doubtful()


def test_a_stop_ends_a_look(fake_index: Any) -> None:
    looks = Looks(a=fake_index)
    fake_index.hold = threading.Event()  # never set
    looks.report.start()
    looks.catalogue.failed("a", DAMAGED)
    while not fake_index.running:
        assert looks.report._prober.is_alive()
    looks.report.stop()
    assert fake_index.cancelled == 1


@pytest.mark.parametrize("fault", [SILENT, DAMAGED])
def test_health_follows_the_searches(serve: Any, fake_index: Any, fault: TiervecError) -> None:
    from tiervec.client import Client

    with serve({"fake": fake_index}) as server, Client(server.address, timeout_s=60) as client:
        assert client.is_serving("fake")
        fake_index.fault = fault
        for _ in range(3):
            with pytest.raises(type(fault), match=str(fault)):
                client.search("fake", fake_index.vectors[:1])
        assert not client.is_serving("fake")
        assert not client.is_serving()
        fake_index.fault = None
        client.search("fake", fake_index.vectors[:1])
        assert client.is_serving("fake")
        assert client.is_serving()


def test_the_prober_finds_damage_and_its_end(serve: Any, fake_index: Any) -> None:
    with (
        serve({"fake": fake_index}, probe_interval_s=0.001) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        states = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="fake"), timeout=60)
        assert next(states).status == SERVING
        fake_index.fault = DAMAGED
        assert next(states).status == NOT_SERVING
        fake_index.fault = None
        assert next(states).status == SERVING
        states.cancel()
