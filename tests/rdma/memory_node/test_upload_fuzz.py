"""Whatever arrives on the control plane, a region holds what was verified; the answer is one of the promised errors."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
import xxhash
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from tiervec.errors import TiervecError
from tiervec.rdma.memory_node._generated import memory_node_pb2 as pb
from tiervec.rdma.memory_node.grpc_service import MemoryNodeService
from tiervec.rdma.memory_node.names import EXTENT_BYTES
from tiervec.rdma.memory_node.node import MemoryNode
from tiervec.rdma.memory_node.scrubber import Scrubber
from tiervec.rpc.answering import status_of
from tiervec.rpc.call import Call

SIZE = EXTENT_BYTES + 100
WHOLE, REST = bytes(EXTENT_BYTES), b"r" * 100


class Context:
    """What grpc.aio gives a call."""

    def invocation_metadata(self) -> list[tuple[str, Any]]:
        return [("user-agent", "x"), ("binary-bin", b"\0")]

    def peer(self) -> str:
        return "ipv4:127.0.0.1:5"

    def time_remaining(self) -> float | None:
        return None


def call_of(method: str) -> Call:
    return Call(method, Context())


def check_refusal(error: Exception) -> None:
    code, details = status_of(error, "test")
    assert code is not grpc.StatusCode.INTERNAL, details
    assert details
    assert "\n" not in details


def upload(served: MemoryNodeService, messages: list[pb.UploadRequest]) -> int:
    stream = served.Upload(None, call_of("Upload"))
    try:
        for message in messages:
            stream.take(message)
        return int(stream.finish().extents)
    finally:
        stream.close()


def service() -> tuple[MemoryNode, MemoryNodeService]:
    node = MemoryNode(8 << 20, [], lock_memory="no")
    return node, MemoryNodeService(node, Scrubber(node, 0), None, "")


payloads = st.sampled_from([WHOLE, REST, b"", WHOLE[:-1], WHOLE + b"x"]) | st.binary(max_size=120)
messages = st.builds(
    lambda name, version, extent, data, right, other: pb.UploadRequest(
        name=name,
        version=version,
        extent=extent,
        checksum=xxhash.xxh3_64_intdigest(data) if right else other,
        data=data,
    ),
    name=st.sampled_from(["", "", "", "sift", "deep", "a/b"]),
    version=st.sampled_from(["", "", "", "v1", "v2"]),
    extent=st.sampled_from([0, 1, 2, 2**64 - 1]),
    data=payloads,
    right=st.booleans(),
    other=st.integers(0, 2**64 - 1),
)


@given(first=messages, rest=st.lists(messages, max_size=4), sealing=st.booleans())
@settings(max_examples=150)
def test_any_stream_of_extents(first: pb.UploadRequest, rest: list[pb.UploadRequest], sealing: bool) -> None:
    node, served = service()
    region = node.create("sift", "v1", SIZE)
    first.name, first.version = first.name or "sift", first.version or "v1"
    taken = 0
    try:
        taken = upload(served, [first, *rest])
        if sealing:
            served.Seal(pb.SealRegionRequest(name="sift", version="v1"), call_of("Seal"))
    except TiervecError as error:
        check_refusal(error)
    assert taken <= 1 + len(rest)
    for index in range(region.extents):
        assert region.is_right(index) or not region.present[index]


requests: list[tuple[str, Any]] = [
    ("Create", st.builds(pb.CreateRegionRequest, name=st.text(max_size=3), version=st.text(max_size=3),
                         size_bytes=st.integers(0, 2**64 - 1))),
    ("Seal", st.builds(pb.SealRegionRequest, name=st.text(max_size=3), version=st.text(max_size=3))),
    ("Switch", st.builds(pb.SwitchRegionRequest, name=st.text(max_size=3), version=st.text(max_size=3))),
    ("Get", st.builds(pb.GetRegionRequest, name=st.text(max_size=3), version=st.text(max_size=3))),
    ("Delete", st.builds(pb.DeleteRegionRequest, name=st.text(max_size=3), version=st.text(max_size=3))),
    ("Load", st.builds(pb.LoadRegionRequest, name=st.text(max_size=3), version=st.text(max_size=3),
                       path=st.text(max_size=5), checksum=st.text(max_size=5))),
    ("Attach", st.builds(pb.AttachRegionRequest, name=st.text(max_size=3), version=st.text(max_size=3),
                         transport=st.text(max_size=4))),
]  # fmt: skip


@pytest.mark.parametrize(("method", "strategy"), requests, ids=[name for name, _ in requests])
def test_any_request(method: str, strategy: Any) -> None:
    _, served = service()

    @given(request=strategy)
    @settings(max_examples=60)
    def call(request: Any) -> None:
        try:
            answer = getattr(served, method)(request, call_of(method))
        except TiervecError as error:
            check_refusal(error)
            return
        assert answer is not None

    call()


@given(data=st.binary(max_size=64))
def test_any_bytes_as_a_message(data: bytes) -> None:
    node, served = service()
    node.create("sift", "v1", SIZE)
    try:
        message = pb.UploadRequest.FromString(data)
    except DecodeError:  # answered before the service sees it
        return
    with pytest.raises(TiervecError) as caught:  # no such message is a right extent
        upload(served, [message])
    check_refusal(caught.value)
