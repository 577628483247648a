"""URLs of remote memory, and how a region is cut into stripes.

    tcp://HOST:PORT/REGION                         one memory node
    tcp://A:1,B:1/REGION                           two replicas
    tcp://A:1+B:1,C:1+D:1/REGION?timeout_ms=200    two replicas, each striped over two nodes

HOST:PORT is a node's control plane; ``rdma://`` reads the same regions with one-sided RDMA. Extent e of a region that
is striped over S nodes is extent e / S of the stripe on node e % S.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from tiervec.errors import InvalidArgumentError
from tiervec.rdma.memory_node.names import EXTENT_BYTES, TRANSPORTS, check_name, extents_of

__all__ = ["RemoteUrl", "is_remote", "stripe_extents", "stripe_size", "stripe_version"]

_NODE: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?\]|[A-Za-z0-9._-]+):[0-9]{1,5}", re.ASCII)
_MOST_REPLICAS: Final = 16
_MOST_STRIPES: Final = 64
_FORM: Final = "tcp://HOST:PORT/REGION, replicas separated by ',' and stripes by '+'"
_LONGEST_TIMEOUT_MS: Final = 600_000


def is_remote(url: str) -> bool:
    """True for the URL of a region on memory nodes."""
    return isinstance(url, str) and url.partition(":")[0] in TRANSPORTS


@dataclass(frozen=True, kw_only=True)
class RemoteUrl:
    """A parsed URL.

    Attributes:
        transport: ``tcp`` or ``rdma``.
        replicas: Each the ``HOST:PORT`` of its stripes, in order.
        region: Name of the region.
        options: What comes after the ``?``.
    """

    transport: str
    replicas: tuple[tuple[str, ...], ...]
    region: str
    options: Mapping[str, str]

    @classmethod
    def parse(cls, text: str, default_region: str | None = None) -> RemoteUrl:
        """Splits and checks a URL.

        Args:
            text: The URL.
            default_region: The region of a URL that names none.

        Raises:
            InvalidArgumentError: It names the URL and what is wrong.
        """

        def wrong(why: str) -> InvalidArgumentError:
            return InvalidArgumentError(f"tier URL {text!r} {why}; write {_FORM}")

        scheme, separator, rest = text.partition("://")
        if scheme not in TRANSPORTS or not separator:
            raise wrong(f"does not begin with {' or '.join(f'{name}://' for name in TRANSPORTS)}")
        rest, _, query = rest.partition("?")
        authority, _, region = rest.partition("/")
        replicas = tuple(tuple(replica.split("+")) for replica in authority.split(","))
        nodes = [node for replica in replicas for node in replica]
        for node in nodes:
            if _NODE.fullmatch(node) is None or not 0 < int(node.rpartition(":")[2]) < 65536:
                raise wrong(f"has the node {node!r}, which is not HOST:PORT")
        if len(set(nodes)) != len(nodes):
            raise wrong("has a node twice; each stripe and each replica needs a node of its own")
        if len(replicas) > _MOST_REPLICAS or max(map(len, replicas)) > _MOST_STRIPES:
            raise wrong(f"has more than {_MOST_REPLICAS} replicas or {_MOST_STRIPES} stripes")
        region = region or default_region or ""
        if not region:
            raise wrong("names no region")
        try:
            check_name(region)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"tier URL {text!r}: {error}") from None
        return cls(transport=scheme, replicas=replicas, region=region, options=_options(text, query))

    def __str__(self) -> str:
        authority = ",".join("+".join(replica) for replica in self.replicas)
        query = "&".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.transport}://{authority}/{self.region}" + (f"?{query}" if query else "")


def stripe_size(size_bytes: int, stripe: int, stripes: int) -> int:
    """Bytes of a region that lie on one stripe."""
    extents = extents_of(size_bytes)
    own = len(range(stripe, extents, stripes))
    if own and (extents - 1) % stripes == stripe:  # the last extent may be short
        return (own - 1) * EXTENT_BYTES + size_bytes - (extents - 1) * EXTENT_BYTES
    return own * EXTENT_BYTES


def stripe_extents(size_bytes: int, stripe: int, stripes: int) -> range:
    """Extents of the whole region that lie on one stripe, in the stripe's order."""
    return range(stripe, extents_of(size_bytes), stripes)


def stripe_version(checksum: str, stripe: int, stripes: int) -> str:
    """The version of a region, or of its stripe, whose content has this checksum: other content, another version."""
    return checksum if stripes == 1 else f"{checksum}-{stripe}of{stripes}"


def _options(text: str, query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key != "timeout_ms" or key in options:
            raise InvalidArgumentError(f"tier URL {text!r} has the option {key!r}; known is timeout_ms, once")
        if not (value.isascii() and value.isdigit() and 0 < int(value) <= _LONGEST_TIMEOUT_MS):
            raise InvalidArgumentError(f"tier URL {text!r}: timeout_ms must be 1 to {_LONGEST_TIMEOUT_MS}")
        options[key] = value
    return options
