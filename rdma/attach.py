"""From the URL of a remote region to a tier: asks the memory nodes for it and checks that it is what the index means.

C++ never speaks gRPC: it gets what the nodes said. A replica that does not answer is left out with a warning, as long
as another one does; a region that is not this index's is an error, whoever says so.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from tiervec import _core
from tiervec.errors import (
    DataLossError,
    DeadlineExceededError,
    InvalidArgumentError,
    NotFoundError,
    TiervecError,
    UnavailableError,
)
from tiervec.machine.processes import starting_threads
from tiervec.rdma.memory_node._generated import memory_node_pb2 as pb
from tiervec.rdma.memory_node.client import MemoryNodeClient
from tiervec.rdma.remote_url import RemoteUrl, stripe_size, stripe_version
from tiervec.rpc.credentials import Credentials

__all__ = ["Content", "RegionAttachment", "attach", "open_remote"]

_log = logging.getLogger(__name__)
_TIMEOUT_S: Final = 5.0
# Of a replica: another one may answer.
_MAY_BE_LEFT_OUT = (UnavailableError, DeadlineExceededError, DataLossError)


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a region must hold: the size and checksum (XXH3, 64 bits, hexadecimal) of a section."""

    size_bytes: int
    checksum: str


@dataclass(frozen=True, kw_only=True)
class RegionAttachment:
    """What one memory node said about one region, or about its stripe of one.

    Attributes:
        node: Its control plane.
        version: Version of the region on that node.
        transport: ``tcp`` or ``rdma``.
        host: Host of the data plane.
        port: Port of the data plane.
        region_id: What the data plane calls the region.
        size_bytes: Size of the region, or of the stripe, in bytes.
        token: 16 bytes that grant reads.
        remote_address: rdma: where the region begins.
        remote_key: rdma: its rkey.
    """

    node: str
    version: str
    transport: str
    host: str
    port: int
    region_id: int
    size_bytes: int
    token: bytes
    remote_address: int = 0
    remote_key: int = 0

    def __repr__(self) -> str:
        return f"RegionAttachment(node={self.node!r}, version={self.version!r}, token=...)"

    def native(self) -> _core.Attachment:
        """The same for the extension."""
        return _core.Attachment(
            transport=self.transport,
            host=self.host,
            port=self.port,
            region_id=self.region_id,
            size_bytes=self.size_bytes,
            token=self.token,
            remote_address=self.remote_address,
            remote_key=self.remote_key,
        )


def attach(
    url: RemoteUrl, content: Content | None, credentials: Credentials | None = None
) -> list[list[RegionAttachment]]:
    """Asks every node of a URL for its region, and waits for it as long as the URL says, at least 5 s.

    Args:
        url: The nodes and the name.
        content: What the region must hold; None: the current version, whatever it holds.
        credentials: None: those of the environment.

    Returns:
        One list per replica that answered, in the URL's order; each has one attachment per stripe.

    Raises:
        UnavailableError: No replica answers.
        NotFoundError: A node has no such region, or not in this version.
        InvalidArgumentError: A region has another size than the index says.
        PermissionDeniedError: A token is missing or wrong.
        DataLossError: The region is damaged on every replica.
    """
    credentials = Credentials.from_environment() if credentials is None else credentials
    timeout_s = max(_TIMEOUT_S, int(url.options.get("timeout_ms", 0)) / 1000)
    nodes = [(address, at, len(replica)) for replica in url.replicas for at, address in enumerate(replica)]

    def ask(node: tuple[str, int, int]) -> RegionAttachment | TiervecError:
        try:
            return _attach_one(url, content, *node, credentials, timeout_s)
        except TiervecError as error:
            return error

    with (
        starting_threads("asking memory nodes"),
        ThreadPoolExecutor(len(nodes), thread_name_prefix="tiervec-attach") as pool,
    ):
        answers = dict(zip((address for address, _, _ in nodes), pool.map(ask, nodes), strict=True))
    return _whole_replicas(url, content, answers)


def open_remote(url: str, content: Content | None, default_region: str | None = None) -> _core.Tier:
    """Opens the region of a URL as a tier; see `attach`."""
    parsed = RemoteUrl.parse(url, default_region)
    replicas = attach(parsed, content)
    return _core.open_remote_tier(str(parsed), [[stripe.native() for stripe in replica] for replica in replicas])


def _attach_one(
    url: RemoteUrl,
    content: Content | None,
    address: str,
    stripe: int,
    stripes: int,
    credentials: Credentials,
    timeout_s: float,
) -> RegionAttachment:
    version = "" if content is None else stripe_version(content.checksum, stripe, stripes)
    with MemoryNodeClient(address, credentials, timeout_s=timeout_s) as client:
        try:
            said = client.attach(url.region, version, url.transport)
        except NotFoundError as error:
            if content is None:
                raise
            raise NotFoundError(
                f"{error}; this index needs version {version}: `tiervec publish` puts it there"
            ) from None
    attachment = _attachment(said, address)
    if content is not None:
        expected = stripe_size(content.size_bytes, stripe, stripes)
        if attachment.size_bytes != expected:
            than = "smaller" if attachment.size_bytes < expected else "larger"
            raise InvalidArgumentError(
                f"{address}: region {url.region} has {attachment.size_bytes:,} bytes, {than} than the manifest says: "
                f"{expected:,}"
            )
    return attachment


def _attachment(said: pb.Attachment, address: str) -> RegionAttachment:
    if len(said.token) != 16 or not 0 < said.port < 65536:
        raise UnavailableError(f"{address}: the memory node answered with an attachment that cannot be used")
    return RegionAttachment(
        node=address,
        version=said.version,
        transport=said.transport,
        host=said.host or address.rpartition(":")[0].strip("[]"),
        port=said.port,
        region_id=said.region_id,
        size_bytes=said.size_bytes,
        token=said.token,
        remote_address=said.remote_address,
        remote_key=said.remote_key,
    )


def _whole_replicas(url: RemoteUrl, content: Content | None, answers: dict[str, Any]) -> list[list[RegionAttachment]]:
    whole: list[list[RegionAttachment]] = []
    left_out: list[TiervecError] = []
    for replica in url.replicas:
        said = [answers[address] for address in replica]
        errors = [answer for answer in said if isinstance(answer, TiervecError)]
        for error in errors:
            if not isinstance(error, _MAY_BE_LEFT_OUT):
                raise error
        if errors:
            left_out.append(errors[0])
        else:
            whole.append(said)
    if not whole:
        raise left_out[0]
    for error in left_out:
        _log.warning("a replica of %s is left out: %s", url.region, error)
    if content is None:
        _check_same_content(url, whole)
    return whole


def _check_same_content(url: RemoteUrl, replicas: Sequence[Sequence[RegionAttachment]]) -> None:
    """Without a manifest: the nodes' current versions must be of one content, each stripe at its place."""
    checksum = replicas[0][0].version.partition("-")[0]
    for replica in replicas:
        for at, stripe in enumerate(replica):
            expected = stripe_version(checksum, at, len(replica))
            if len(replicas) * len(replica) > 1 and stripe.version != expected:
                raise InvalidArgumentError(
                    f"{stripe.node}: the current version of region {url.region} is {stripe.version}; "
                    f"the other nodes of the URL need {expected}"
                )
