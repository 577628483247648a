from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import xxhash

from tiervec.rdma.memory_node._generated import memory_node_pb2 as pb
from tiervec.rdma.memory_node.client import MemoryNodeClient
from tiervec.rdma.memory_node.configuration import MemoryNodeConfig
from tiervec.rdma.memory_node.names import EXTENT_BYTES
from tiervec.rdma.memory_node.server import MemoryNodeServer
from tiervec.rpc.credentials import Credentials


class Sending:
    """A publisher in small steps."""

    @staticmethod
    def messages(name: str, version: str, data: bytes, only: Any = None) -> Iterator[pb.UploadRequest]:
        """What sends `data`, or the extents `only` of it."""
        indices = range(-(-len(data) // EXTENT_BYTES)) if only is None else only
        first = {"name": name, "version": version}
        for index in indices:
            part = data[index * EXTENT_BYTES : (index + 1) * EXTENT_BYTES]
            yield pb.UploadRequest(extent=index, checksum=xxhash.xxh3_64_intdigest(part), data=part, **first)
            first = {}

    def put(self, client: MemoryNodeClient, name: str, version: str, data: bytes) -> pb.Region:
        """Creates, uploads, seals and switches."""
        client.create(name, version, len(data))
        client.upload(self.messages(name, version, data))
        client.seal(name, version, len(data))
        return client.switch(name, version)


@pytest.fixture(scope="session")
def sending() -> Sending:
    return Sending()


ServerFactory = Callable[..., contextlib.AbstractContextManager[MemoryNodeServer]]


@pytest.fixture
def lend() -> ServerFactory:
    """``with lend(capacity_bytes=..., data_dir=...) as server:`` a memory node on free ports of this machine."""

    @contextlib.contextmanager
    def factory(**settings: Any) -> Iterator[MemoryNodeServer]:
        config = MemoryNodeConfig(
            listen="127.0.0.1:0", capacity_bytes=64 << 20, lock_memory="no", scrub_bytes_per_s=0, drain_s=5.0
        )
        with MemoryNodeServer(dataclasses.replace(config, **settings)) as server:
            yield server

    return factory


@pytest.fixture
def anonymous() -> Credentials:
    return Credentials()


@pytest.fixture(autouse=True, scope="session")
def no_credentials_of_the_machine() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("TOKEN", "TOKEN_FILE", "CA", "CERT", "KEY"):
            patch.delenv(f"TIERVEC_{name}", raising=False)
        yield
