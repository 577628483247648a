"""IndexService and reflection through a real channel."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tiervec.service import wire
from tiervec.service._generated import index_pb2, index_pb2_grpc


def test_list_is_by_name(serve: Any, fake_index: Any, bytes_index: Any) -> None:
    with serve({"b": fake_index, "a": bytes_index}) as server, grpc.insecure_channel(server.address) as channel:
        response = index_pb2_grpc.IndexServiceStub(channel).List(index_pb2.ListIndexesRequest(), timeout=60)
    assert [(index.name, index.dim, index.tier) for index in response.indexes] == [
        ("a", 4, "dram:"),
        ("b", 8, "emulated:rdma-200g"),
    ]


def test_get_says_what_info_says(serve: Any, fake_index: Any) -> None:
    with serve({"fake": fake_index}) as server, grpc.insecure_channel(server.address) as channel:
        message = index_pb2_grpc.IndexServiceStub(channel).Get(index_pb2.GetIndexRequest(name="fake"), timeout=60)
    document = wire.index_document(message)
    expected = {"name": "fake", "tier": "emulated:rdma-200g", "emulated": True, **fake_index.info.as_dict()}
    assert document == expected
    # Whole numbers stay whole: protobuf's JSON has only doubles.
    assert json.dumps(document["params"], sort_keys=True) == '{"alpha": 1.2, "graph_degree": 32, "layout": "packed"}'


def test_get_of_an_unknown_name(serve: Any, fake_index: Any) -> None:
    with (
        serve({"fake": fake_index}) as server,
        grpc.insecure_channel(server.address) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        index_pb2_grpc.IndexServiceStub(channel).Get(index_pb2.GetIndexRequest(name="x"), timeout=60)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert "'x'" in error.details()


def test_reflection_describes_the_services(serve: Any, fake_index: Any) -> None:
    with serve({"fake": fake_index}) as server, grpc.insecure_channel(server.address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert set(database.get_services()) == {
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
            "tiervec.v1.IndexService",
            "tiervec.v1.SearchService",
        }
        service = DescriptorPool(database).FindServiceByName("tiervec.v1.SearchService")
        assert service.methods_by_name["Search"].input_type.fields_by_name["k"].number == 3
