"""What ``tiervec memory-node`` is told, checked."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tiervec.arguments.parameter_checks import (
    MAX_BYTES,
    check_choice,
    check_field,
    check_instance,
    check_number,
    check_path,
    check_switch,
    check_text,
    check_whole,
    shown,
)
from tiervec.errors import InvalidArgumentError
from tiervec.rdma.memory_node.names import TRANSPORTS
from tiervec.rpc.limits import CallLimits
from tiervec.rpc.listening import TlsFiles, check_listen
from tiervec.rpc.tokens import Tokens

__all__ = ["LOCK_MODES", "MemoryNodeConfig"]

LOCK_MODES: Final = ("try", "require", "no")
_MAX_DRAIN_S: Final = 86_400


@dataclass(frozen=True, kw_only=True)
class MemoryNodeConfig:
    """Everything a memory node needs to know.

    Attributes:
        listen: ``HOST:PORT`` of the control plane; port 0 picks a free one.
        capacity_bytes: Memory that regions may take.
        data_dir: Where sealed regions are kept over a restart, or None.
        transports: Of ``tcp`` and ``rdma``.
        device: RDMA device; None: the one that has `data_host`.
        data_host: Address of the data planes; None: that of `listen`.
        data_port: Port of the data planes; 0: the one they had before the restart, or a free one.
        data_threads: Threads that answer reads over tcp.
        max_readers_per_address: Connections of readers over tcp that one address may have (of IPv6, one /64 network);
            0: three quarters of all.
        tls: Certificate and key of the control plane, or None for plain text.
        client_ca: Authorities whose clients may connect (mutual TLS); needs `tls`.
        tokens: Tokens that allow writing and reading; None: every client that can connect may do both.
        allow_anonymous: Serve without tokens on an address that other machines reach.
        lock_memory: ``try``, ``require`` or ``no``.
        scrub_bytes_per_s: Rate of the verification in the background; 0: none.
        drain_s: Seconds that running calls get when the node stops.
        limits: Bounds on clients of the control plane.
    """

    listen: str
    capacity_bytes: int
    data_dir: Path | None = None
    transports: tuple[str, ...] = ("tcp",)
    device: str | None = None
    data_host: str | None = None
    data_port: int = 0
    data_threads: int = 1
    max_readers_per_address: int = 0
    tls: TlsFiles | None = None
    client_ca: Path | None = None
    tokens: Tokens | None = None
    allow_anonymous: bool = False
    lock_memory: str = "try"
    scrub_bytes_per_s: int = 16 << 20
    drain_s: float = 10.0
    limits: CallLimits = field(default_factory=CallLimits)

    def __post_init__(self) -> None:
        check_listen(self.listen)
        self._check_types()
        for transport in self.transports:
            if transport not in TRANSPORTS:
                raise InvalidArgumentError(
                    f"transports has {shown(transport)}, which is unknown; known are {', '.join(TRANSPORTS)}"
                )
        if not self.transports or len(set(self.transports)) != len(self.transports):
            raise InvalidArgumentError(f"transports is {','.join(self.transports)!r}; name one or both, each once")
        if self.client_ca is not None and self.tls is None:
            raise InvalidArgumentError("a client CA needs a certificate and a key of the node (--tls-cert, --tls-key)")
        if self.tokens is None and not self.allow_anonymous and not self.is_loopback:
            raise InvalidArgumentError(
                f"{self.listen} can be reached from other machines and there is no token file: give --token-file, or "
                f"--allow-anonymous when everybody on that network may read and replace the regions"
            )

    def _check_types(self) -> None:
        check_field(self, "capacity_bytes", check_whole, 1, MAX_BYTES)
        check_instance("transports", self.transports, tuple, list)
        for name in ("data_dir", "client_ca"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, Path(check_path(name, getattr(self, name))))
        for name in ("device", "data_host"):
            if getattr(self, name) is not None:
                check_field(self, name, check_text, "mlx5_0" if name == "device" else "10.0.0.1")
        check_field(self, "data_port", check_whole, 0, 65535)
        check_field(self, "data_threads", check_whole, 1, 256)
        check_field(self, "max_readers_per_address", check_whole, 0, 2**31 - 1)
        check_instance("tls", self.tls, TlsFiles, type(None))
        check_instance("tokens", self.tokens, Tokens, type(None))
        check_field(self, "allow_anonymous", check_switch)
        check_field(self, "lock_memory", check_choice, LOCK_MODES)
        check_field(self, "scrub_bytes_per_s", check_whole, 0, MAX_BYTES)
        check_field(self, "drain_s", check_number, 0, _MAX_DRAIN_S)
        check_instance("limits", self.limits, CallLimits)

    @property
    def host(self) -> str:
        """Host of the control plane, as gRPC takes it."""
        return self.listen.rpartition(":")[0]

    @property
    def bare_data_host(self) -> str:
        """Where the data planes listen, IPv6 without brackets."""
        return (self.data_host or self.host).strip("[]")

    @property
    def advertised_host(self) -> str:
        """What readers are told; empty: the host they reached the control plane at."""
        return "" if self.data_host is None or _is_unspecified(self.bare_data_host) else self.bare_data_host

    @property
    def is_loopback(self) -> bool:
        """True when only processes of this machine can connect."""
        return all(_is_loopback(host.strip("[]")) for host in (self.host, self.data_host or self.host))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_unspecified(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return host == ""
