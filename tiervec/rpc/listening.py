"""Where a server listens: its address, TLS and mutual TLS, each mistake one sentence."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from tiervec.errors import InvalidArgumentError, NotFoundError, UnavailableError
from tiervec.parameter_checks import check_text, shown
from tiervec.rpc.certificates import others_may_read

__all__ = ["TlsFiles", "bind", "check_listen"]


@dataclass(frozen=True, kw_only=True)
class TlsFiles:
    """PEM files of the server's certificate chain and its private key."""

    cert: Path
    key: Path

    def warnings(self) -> list[str]:
        """Sentences about usable files that are not as they should be."""
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
        UnavailableError: The address cannot be listened on.
        NotFoundError: A TLS file does not exist.
        InvalidArgumentError: A TLS file is not a usable PEM file.
    """
    try:
        port = server.add_secure_port(listen, _credentials(tls, client_ca)) if tls else server.add_insecure_port(listen)
    except RuntimeError:  # what grpc raises; its text repeats the address and adds nothing
        port = 0
    if port == 0:
        raise UnavailableError(f"cannot listen on {listen}: the port is taken or this machine lacks the address")
    return int(port)


def _credentials(tls: TlsFiles, client_ca: Path | None) -> Any:
    authorities = None if client_ca is None else _authorities(client_ca)
    try:
        # gRPC would report a bad file as a failure to bind.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.cert, tls.key)
        return grpc.ssl_server_credentials(
            [(tls.key.read_bytes(), tls.cert.read_bytes())],
            root_certificates=authorities,
            require_client_auth=authorities is not None,
        )
    except FileNotFoundError:
        missing = tls.key if tls.cert.exists() else tls.cert
        raise NotFoundError(f"TLS file {missing} does not exist") from None
    except ssl.SSLError as error:
        raise InvalidArgumentError(
            f"TLS files {tls.cert} and {tls.key} must be a PEM certificate and its private key "
            f"({error.reason or error})"
        ) from None


def _authorities(client_ca: Path) -> bytes:
    try:
        text = client_ca.read_bytes()
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=text.decode("ascii"))
    except FileNotFoundError:
        raise NotFoundError(f"TLS file {client_ca} does not exist") from None
    except (ssl.SSLError, UnicodeDecodeError) as error:
        reason = getattr(error, "reason", None) or error
        raise InvalidArgumentError(f"TLS file {client_ca} must hold PEM certificates ({reason})") from None
    return text
