"""Any bytes and any messages to the services: a status that says what is wrong, never INTERNAL, and a healthy server.

Messages are made from the descriptors, so that a new field or call is tested without a line here.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any, Final

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tiervec.client import Client
from tiervec.rdma.memory_node._generated import memory_node_pb2
from tiervec.rdma.memory_node.client import MemoryNodeClient
from tiervec.rpc.credentials import Credentials
from tiervec.rpc.tokens import Tokens
from tiervec.service._generated import index_pb2, search_pb2

#: Messages of each call.
ROUNDS: Final = int(os.environ.get("TIERVEC_FUZZ_ROUNDS", "60"))
WRITE: Final = Tokens(write="the-write-token-0001", read=None)
_OPTIONS: Final = [("grpc.use_local_subchannel_pool", 1)]
_TEXTS: Final = (
    "",
    "i",
    "r",
    "0123456789abcdef",
    "0123456789abcdef-1of2",
    "..",
    "/",
    "a/../../b",
    "x" * 5000,
    "数\n%s",
    "nan",
)
_NUMBERS: Final = (0, 1, 2, 7, 8, 64, 4096, 1 << 20, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1)
_REALS: Final = (0.0, -1.0, 0.5, 0.9, 1.0, 1.5, float("nan"), float("inf"), 1e30)


def value_of(field: FieldDescriptor, choice: random.Random) -> Any:
    """A value for a scalar field: what is right, what lies at the ends of its type, and what makes no sense."""
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        if field.type != FieldDescriptor.TYPE_BYTES:
            return choice.choice(_TEXTS)
        floats = np.array([choice.choice(_REALS) for _ in range(8)], np.float32).tobytes()
        return choice.choice([b"", floats, floats * choice.randint(1, 5), choice.randbytes(choice.randint(0, 99))])
    if field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return choice.choice(_REALS)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return choice.random() < 0.5
    bits = {FieldDescriptor.CPPTYPE_INT32: 31, FieldDescriptor.CPPTYPE_UINT32: 32, FieldDescriptor.CPPTYPE_INT64: 63}
    most = 2 ** bits.get(field.cpp_type, 31 if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM else 64) - 1
    return choice.choice([number for number in _NUMBERS if number <= most])


def random_message(made: Message, choice: random.Random) -> Message:
    """Fills some of the fields of a message."""
    for field in made.DESCRIPTOR.fields:
        if choice.random() < 0.2:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for _ in range(choice.randint(0, 3)):
                key = choice.choice(("search_list", "nprobe", "beam_width", "stop_margin", *_TEXTS))
                getattr(made, field.name)[key] = choice.choice(("32", "-1", "1e400", "9" * 5000, *_TEXTS))
        elif field.message_type is not None:
            random_message(getattr(made, field.name), choice)
        else:
            setattr(made, field.name, value_of(field, choice))
    return made


def damaged(content: bytes, choice: random.Random) -> bytes:
    """The bytes of a message, some of them changed, cut or random."""
    if choice.random() < 0.3:
        return choice.randbytes(choice.randint(0, 200))
    changed = bytearray(content)
    for _ in range(choice.randint(1, 4)):
        if changed:
            changed[choice.randrange(len(changed))] = choice.randrange(256)
    return bytes(changed[: choice.randint(0, len(changed))] if choice.random() < 0.3 else changed)


def statuses_of(
    address: str, module: Any, metadata: list[tuple[str, str]], choice: random.Random
) -> dict[str, set[str]]:
    """Sends random messages to every call of every service; the statuses of each call."""
    found: dict[str, set[str]] = {}
    with grpc.insecure_channel(address, _OPTIONS) as channel:
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                path = f"/{service.full_name}/{method.name}"
                made = getattr(module, method.input_type.name)
                streams = method.client_streaming
                call = (channel.stream_unary if streams else channel.unary_unary)(path)
                for _ in range(ROUNDS):
                    contents = [random_message(made(), choice).SerializeToString() for _ in range(3 if streams else 1)]
                    if choice.random() < 0.4:
                        contents = [damaged(content, choice) for content in contents]
                    try:
                        call(iter(contents) if streams else contents[0], metadata=metadata, timeout=60)
                        status = "OK"
                    except grpc.RpcError as error:
                        status = f"{error.code().name}"  # type: ignore[attr-defined]
                        if status in ("INTERNAL", "UNKNOWN", "DEADLINE_EXCEEDED"):
                            status += f" {error.details()} for {contents!r}"[:600]  # type: ignore[attr-defined]
                    found.setdefault(path, set()).add(status)
    return found


def check(found: dict[str, set[str]]) -> None:
    """No call ended as a bug or hung."""
    wrong = ("INTERNAL", "UNKNOWN", "DEADLINE_EXCEEDED")
    bad = [f"{path}: {status}" for path, statuses in found.items() for status in statuses if status.startswith(wrong)]
    assert not bad, "\n".join(bad)


def test_a_memory_node(node: Callable[..., Any]) -> None:
    with node(max_streams=64) as server:
        metadata = [("tiervec-protocol", "1"), ("authorization", f"Bearer {WRITE.write}")]
        found = statuses_of(server.address, memory_node_pb2, metadata, random.Random(1))
        check(found)
        assert any("OK" in statuses for statuses in found.values()), found
        with MemoryNodeClient(server.address, Credentials(tokens=WRITE)) as client:
            client.describe()
            assert client.stats().used_bytes <= client.stats().capacity_bytes


@pytest.mark.parametrize("module", [search_pb2, index_pb2], ids=["search", "index"])
def test_a_search_server(module: Any, search_server: Callable[..., Any]) -> None:
    with search_server() as server:
        found = statuses_of(server.address, module, [], random.Random(2))
        check(found)
        assert any("INVALID_ARGUMENT" in statuses or "NOT_FOUND" in statuses for statuses in found.values()), found
        with Client(server.address) as client:
            assert client.indexes() == ["i"]
            assert client.search("i", np.ones((1, 8), np.float32), 3).ids.shape == (1, 3)
