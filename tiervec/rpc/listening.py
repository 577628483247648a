"""Where a server listens: its address, TLS and mutual TLS, each mistake one sentence."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import grpc

from tiervec import _core
from tiervec.arguments.parameter_checks import check_text, shown
from tiervec.errors import InvalidArgumentError, UnavailableError, from_code
from tiervec.machine.durable_files import storage_errors
from tiervec.rpc.certificates import others_may_read, read_authorities, read_key_pair

__all__ = ["TlsFiles", "bind", "check_listen"]


@dataclass(frozen=True, kw_only=True)
class TlsFiles:
    """PEM files of the server's certificate chain and its private key."""

    cert: Path
    key: Path

    def warnings(self) -> list[str]:
        """Sentences about usable files that are not as they should be."""
        with storage_errors(f"reading TLS file {self.key}", self.key.parent):
            open_to = others_may_read(self.key, self.key.stat().st_mode)
        return [] if open_to is None else [f"TLS key {open_to}"]


def check_listen(listen: str) -> None:
    """Refuses what is not ``HOST:PORT`` (``[::1]:7700`` for IPv6)."""
    host, colon, port = check_text("listen", listen, "127.0.0.1:7700").rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise InvalidArgumentError(f"listen address {shown(listen)} must be HOST:PORT, for example 127.0.0.1:7700")


def bind(server: Any, listen: str, tls: TlsFiles | None, client_ca: Path | None = None) -> int:
    """Binds a gRPC server and returns its port.

    Args:
        server: Of ``grpc.server``; give it the option ``grpc.so_reuseport`` 0, or two servers share a port silently.
        listen: ``HOST:PORT``; port 0 picks a free one.
        tls: None for plain text.
        client_ca: PEM file of the authorities whose clients may connect; needs `tls`.

    Raises:
        UnavailableError: The port is taken, or this machine lacks the address.
        PermissionDeniedError: The system does not let this process listen there, or read a TLS file.
        NotFoundError: A TLS file does not exist.
        InvalidArgumentError: A TLS file is not a usable PEM file.
    """
    credentials = None if tls is None else _credentials(tls, client_ca)
    try:
        port = server.add_insecure_port(listen) if credentials is None else server.add_secure_port(listen, credentials)
    except RuntimeError:  # what grpc raises; its text repeats the address and adds nothing
        port = 0
    if port == 0:
        _refuse_to_listen(listen, tls)
    return int(port)


def _refuse_to_listen(listen: str, tls: TlsFiles | None) -> NoReturn:
    """Finds out what gRPC does not tell: binds a socket of its own."""
    host, _, port = listen.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise UnavailableError(f"cannot listen on {listen}: host {host!r} has no address: {error.strerror}") from None
    for family, kind, protocol, _, address in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gRPC
                probe.bind(address)
                probe.listen()
        except OSError as error:
            code = _core.errno_code(error.errno or 0)
            raise from_code(code, f"cannot listen on {listen}: {os.strerror(error.errno or 0)}") from None
    if tls is not None:
        raise InvalidArgumentError(
            f"cannot listen on {listen}: gRPC does not take the TLS certificate {tls.cert} with the key {tls.key}; "
            f"use a key of RSA, ECDSA (P-256, P-384) or Ed25519"
        )
    raise UnavailableError(f"cannot listen on {listen}: the port was taken a moment ago; try again")


def _credentials(tls: TlsFiles, client_ca: Path | None) -> Any:
    authorities = None if client_ca is None else read_authorities(client_ca)
    chain, key = read_key_pair(tls.cert, tls.key)
    return grpc.ssl_server_credentials([(key, chain)], authorities, require_client_auth=authorities is not None)
