"""What a server lets its clients take: connections, calls and streams, of all clients and of one."""

from __future__ import annotations

import dataclasses
import functools
import math
import resource
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from tiervec.arguments.parameter_checks import check_number, check_whole
from tiervec.errors import ResourceExhaustedError

__all__ = ["MAX_WAIT_S", "CallLimits", "PeerCount", "peer_host", "usable_time_left"]

#: Longer waits are waits without end: a call without a deadline has one in some hundred billion years.
MAX_WAIT_S: Final = 366 * 86400.0
_MAX_CONNECTIONS: Final = 4096
_MIN_CONNECTIONS: Final = 16


@dataclass(frozen=True, kw_only=True)
class CallLimits:
    """Bounds on clients. A client is a host: its address without the port, of IPv6 the /64 network.

    Attributes:
        max_connections: Connections of all clients; 0 means a quarter of the process's limit of open files, at most
            4,096. A connection above the bound is closed at once.
        max_calls_per_peer: Calls of one client that the server works on at once; 0 means three quarters of all that it
            works on, at least 16 (RESOURCE_EXHAUSTED above).
        max_streams: Health Watches of all clients, and as many reflection streams (RESOURCE_EXHAUSTED above).
        max_streams_per_peer: The same of one client.
        message_timeout_s: Seconds within which the message of a call must be there (DEADLINE_EXCEEDED above).
    """

    max_connections: int = 0
    max_calls_per_peer: int = 0
    max_streams: int = 256
    max_streams_per_peer: int = 64
    message_timeout_s: float = 20.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(CallLimits):
            name, value = f"limits.{field.name}", getattr(self, field.name)
            if field.name == "message_timeout_s":
                value = check_number(name, value, 0.001, 86400)
            else:
                least = 0 if field.name in ("max_connections", "max_calls_per_peer") else 1
                value = check_whole(name, value, least, 2**31 - 1)
            object.__setattr__(self, field.name, value)

    @property
    def connections(self) -> int:
        """``max_connections`` with 0 resolved."""
        if self.max_connections:
            return self.max_connections
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if files == resource.RLIM_INFINITY:
            return _MAX_CONNECTIONS
        return min(max(files // 4, _MIN_CONNECTIONS), _MAX_CONNECTIONS)

    def calls_per_peer(self, calls: int) -> int:
        """``max_calls_per_peer`` with 0 resolved, of a server that works on `calls` at once."""
        return self.max_calls_per_peer or max(calls * 3 // 4, 16)


class PeerCount:
    """Counts something that clients hold, and refuses what is above its bounds. Used on one thread, the event loop's.

    Args:
        what: Plural noun for messages.
        limit: Most for all clients together.
        limit_per_peer: Most for one client.

    Attributes:
        total: Held now, by all clients.
    """

    def __init__(self, what: str, limit: int, limit_per_peer: int) -> None:
        self._what = what
        self._limit = limit
        self._limit_per_peer = limit_per_peer
        self._held: dict[str, int] = {}
        self.total = 0

    def enter(self, peer: str, amount: int = 1) -> None:
        """Counts one more, or `amount` more, such as bytes. What is larger than a bound comes in alone.

        Raises:
            ResourceExhaustedError: The client, or all of them, have as many as they may.
        """
        if self.total and self.total + amount > self._limit:
            raise ResourceExhaustedError(
                f"the server is busy: it has {self.total} {self._what}, the most it takes; try again later"
            )
        held = self._held.get(peer, 0)
        if held and held + amount > self._limit_per_peer:
            raise ResourceExhaustedError(
                f"the client {peer} has {held} {self._what} here, the most that one client may have"
            )
        self._held[peer] = held + amount
        self.total += amount

    def leave(self, peer: str, amount: int = 1) -> None:
        """Counts one fewer, or `amount` fewer."""
        self.total -= amount
        held = self._held[peer] - amount
        if held:
            self._held[peer] = held
        else:
            del self._held[peer]


@functools.lru_cache(maxsize=4096)
def peer_host(peer: str) -> str:
    """The host in gRPC's name of a peer: ``ipv4:10.0.0.1:5`` is ``10.0.0.1``; of IPv6 its /64 network."""
    kind, _, address = unquote(peer).partition(":")
    host = address.rpartition(":")[0].strip("[]").partition("%")[0]
    if kind != "ipv6" or not host:
        return host or kind
    import ipaddress

    try:
        parsed = ipaddress.IPv6Address(host)
    except ValueError:
        return host
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, 64), strict=False))


def usable_time_left(time_left_s: float | None) -> float | None:
    """Seconds that a wait can take: None for a time without end, which gRPC writes as a huge number.

    A negative time and what is not a number count as over.
    """
    if time_left_s is None or time_left_s > MAX_WAIT_S:
        return None
    return 0.0 if math.isnan(time_left_s) else max(0.0, time_left_s)
