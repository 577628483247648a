"""Brings the parts of a region to memory nodes: sends what they lack, lets them verify it, reads some of it back."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tiervec import _core
from tiervec.errors import CancelledError, DataLossError, TiervecError, UnavailableError, UnsupportedError
from tiervec.index_files.directory import Section
from tiervec.machine.durable_files import storage_error
from tiervec.machine.interruptible import BuildProgress
from tiervec.machine.processes import starting_threads
from tiervec.placement.publish import NodeReceipt
from tiervec.rdma.attach import Content, attach
from tiervec.rdma.memory_node._generated import memory_node_pb2 as pb
from tiervec.rdma.memory_node.client import MemoryNodeClient
from tiervec.rdma.memory_node.names import EXTENT_BYTES
from tiervec.rdma.remote_url import RemoteUrl, stripe_extents, stripe_size, stripe_version
from tiervec.rpc.credentials import Credentials

__all__ = ["Part", "Upload", "greet"]

_ATTEMPTS: Final = 4  # uploads broken by the network are taken up again
_RETRY_S: Final = 0.2
_SAMPLES: Final = 16
_SAMPLE_BYTES: Final = 4096
_POLL_S: Final = 0.1
# A publisher can wait and has no other replica to go to: a slow node is not taken for one that is down.
_PATIENCE_MS: Final = 30_000


@dataclass(frozen=True, kw_only=True)
class Part:
    """One node and what it gets: stripe `stripe` of `stripes` of copy `replica`."""

    node: str
    replica: int
    stripe: int
    stripes: int


def greet(url: RemoteUrl, parts: Sequence[Part]) -> None:
    """Makes sure that every node is there, speaks this protocol and takes the environment's token."""
    for part in parts:
        with MemoryNodeClient(part.node, timeout_s=_patience_ms(url) / 1000) as client:
            client.describe()


@dataclass(kw_only=True)
class Upload:
    """One call of `publish`: what is sent where, and how far it is.

    Attributes:
        path: File of the section.
        section: Its entry in the manifest.
        checksums: XXH3 (64 bits) of each extent.
        url: All nodes.
        node_path: The section's file on the nodes, when nothing is to be sent.
        sent_bytes: So far, to all nodes.
        credentials: Those of the environment.
    """

    path: Path
    section: Section
    checksums: NDArray[np.uint64]
    url: RemoteUrl
    node_path: str | None
    sent_bytes: int = 0
    credentials: Credentials = field(default_factory=Credentials.from_environment)
    _done_bytes: int = 0
    _stopping: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, parts: Sequence[Part], progress: BuildProgress | None) -> list[NodeReceipt]:
        """Publishes all parts at once; the first failure, or Ctrl-C, stops all of them."""
        began = time.perf_counter()
        with ThreadPoolExecutor(len(parts), thread_name_prefix="tiervec-publish") as pool:
            try:
                with starting_threads("publishing to memory nodes"):
                    futures = [pool.submit(self._publish_part, part) for part in parts]
                pending = set(futures)
                while pending:
                    done, pending = wait(pending, timeout=_POLL_S, return_when=FIRST_EXCEPTION)
                    for future in done:
                        future.result()
                    self._report(began, progress)
            except BaseException:
                self._stopping.set()
                raise
        return [future.result() for future in futures]

    def switch(self, parts: Sequence[Part], keep: int | None) -> tuple[str, ...]:
        """Every node has the version and has proved it: makes it the current one on each, then tidies up.

        Args:
            parts: All of them.
            keep: Versions to keep, or None for all.

        Returns:
            ``NODE VERSION`` of what was removed.
        """
        name, removed = self.url.region, []
        for part in parts:
            with self._client(part) as client:
                client.switch(name, stripe_version(self.section.checksum, part.stripe, part.stripes))
        for part in parts if keep is not None else ():
            with self._client(part) as client:
                old = [region for region in client.list(name) if region.sealed_at_s > 0 and not region.current]
                old.sort(key=lambda region: -region.sealed_at_s)
                for region in old[(keep or 1) - 1 :]:
                    client.delete(name, region.version)
                    removed.append(f"{part.node} {region.version}")
        return tuple(removed)

    def _publish_part(self, part: Part) -> NodeReceipt:
        """Brings one node its part, verifies it there and reads some of it back."""
        version = stripe_version(self.section.checksum, part.stripe, part.stripes)
        size = stripe_size(self.section.bytes, part.stripe, part.stripes)
        own = self.checksums[part.stripe :: part.stripes]
        with self._client(part) as client:
            if self.node_path is None:
                sent = self._send(client, part, version, size)
                region = client.seal(self.url.region, version, size)
            else:
                sent = 0
                region = client.load(
                    self.url.region, version, self.node_path, self.section.checksum, size_bytes=self.section.bytes
                )
                self._count(size, 0)
            if not np.array_equal(np.array(region.extent_checksums, np.uint64), own):
                raise DataLossError(f"{part.node}: region {self.url.region} is not in its memory as it was sent")
        sampled, note = self._read_back(part, size)
        return NodeReceipt(
            node=part.node,
            replica=part.replica,
            stripe=part.stripe,
            stripes=part.stripes,
            version=version,
            size_bytes=size,
            extents=len(own),
            sent_extents=sent,
            sampled_bytes=sampled,
            note=note,
        )

    def _send(self, client: MemoryNodeClient, part: Part, version: str, size: int) -> int:
        """Sends the extents that the node lacks; a broken stream is taken up again where it broke."""
        sent = 0
        for attempt in range(_ATTEMPTS):
            try:
                region = client.create(self.url.region, version, size)
                own = self.checksums[part.stripe :: part.stripes]
                missing = _missing(region, own)
                if attempt == 0:
                    self._count(size - sum(self._extent_bytes(part, at) for at in missing), 0)
                if missing:
                    failures: list[Exception] = []
                    sent += client.upload(self._requests(part, version, missing, failures))
                    if failures:
                        raise failures[0]
                    self._raise_if_stopping()
                    continue  # what did not arrive is asked for once more
                return sent
            except UnavailableError:
                self._raise_if_stopping()
                if attempt + 1 == _ATTEMPTS:
                    raise
                self._stopping.wait(_RETRY_S * 2**attempt)
        return sent

    def _requests(
        self, part: Part, version: str, missing: Sequence[int], failures: list[Exception]
    ) -> Iterator[pb.UploadRequest]:
        """The messages; gRPC would hide why an iterator failed, so it ends instead and leaves its failure."""
        extents = stripe_extents(self.section.bytes, part.stripe, part.stripes)
        name = {"name": self.url.region, "version": version}
        try:
            with open(self.path, "rb", buffering=0) as file:
                for at in missing:
                    if self._stopping.is_set():
                        return
                    data = os.pread(file.fileno(), EXTENT_BYTES, extents[at] * EXTENT_BYTES)
                    yield pb.UploadRequest(extent=at, checksum=int(self.checksums[extents[at]]), data=data, **name)
                    name = {}
                    self._count(len(data), len(data))
        except OSError as error:
            failures.append(storage_error(error, f"reading {self.path}", self.path.parent))

    def _client(self, part: Part) -> MemoryNodeClient:
        return MemoryNodeClient(part.node, self.credentials, timeout_s=_patience_ms(self.url) / 1000)

    def _read_back(self, part: Part, size: int) -> tuple[int, str]:
        """Reads random places of the node's part as a reader would, but patiently, and compares them with the file."""
        single = RemoteUrl(
            transport=self.url.transport,
            replicas=((part.node,),),
            region=self.url.region,
            options={"timeout_ms": str(_patience_ms(self.url))},
        )
        version = stripe_version(self.section.checksum, part.stripe, part.stripes)
        attached = attach(single, Content(size_bytes=size, checksum=version), self.credentials)
        try:
            tier = _core.open_remote_tier(str(single), [[attached[0][0].native()]])
        except UnsupportedError as error:
            return 0, f"not read back through the data plane: {error}"
        extents = stripe_extents(self.section.bytes, part.stripe, part.stripes)
        random_places = random.Random(size)
        places = [0, max(0, size - _SAMPLE_BYTES), *(random_places.randrange(size) for _ in range(_SAMPLES))]
        compared = 0
        with open(self.path, "rb", buffering=0) as file:
            for place in places:
                within = place % EXTENT_BYTES
                length = min(_SAMPLE_BYTES, size - place, EXTENT_BYTES - within)
                expected = os.pread(file.fileno(), length, extents[place // EXTENT_BYTES] * EXTENT_BYTES + within)
                if tier.read(place, length) != expected:
                    raise DataLossError(
                        f"{part.node}: {length:,} bytes at {place:,} of region {self.url.region} were read back wrong"
                    )
                compared += length
        return compared, ""

    def _extent_bytes(self, part: Part, at: int) -> int:
        extent = stripe_extents(self.section.bytes, part.stripe, part.stripes)[at]
        return min(EXTENT_BYTES, self.section.bytes - extent * EXTENT_BYTES)

    def _count(self, done: int, sent: int) -> None:
        with self._lock:
            self._done_bytes += done
            self.sent_bytes += sent

    def _raise_if_stopping(self) -> None:
        if self._stopping.is_set():
            raise CancelledError("publishing was stopped")

    def _report(self, began: float, progress: BuildProgress | None) -> None:
        if progress is not None:
            total_bytes = len(self.url.replicas) * self.section.bytes
            done = min(self._done_bytes, total_bytes)
            elapsed_s = time.perf_counter() - began
            left_s = elapsed_s * (total_bytes - done) / done if done else None
            progress(f"publishing {self.path.name}", done, total_bytes, left_s)


def _patience_ms(url: RemoteUrl) -> int:
    return max(_PATIENCE_MS, int(url.options.get("timeout_ms", 0)))


def _missing(region: pb.Region, own: NDArray[np.uint64]) -> list[int]:
    """Extents that the node does not have whole, or has with other content."""
    if len(region.extent_checksums) != len(own) or len(region.present) != -(-len(own) // 8):
        raise TiervecError(f"the memory node described region {region.name} with another number of extents")
    present = np.unpackbits(np.frombuffer(region.present, np.uint8), bitorder="little")[: len(own)].astype(bool)
    if region.state == pb.REGION_STATE_LOADING:
        raise UnavailableError(f"the memory node is loading region {region.name} from its disk; try again in a moment")
    missing = ~present | (np.array(region.extent_checksums, np.uint64) != own)
    return [int(index) for index in np.flatnonzero(missing)]
