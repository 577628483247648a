"""A client's side of gRPC: channels with or without TLS, and gRPC's failures as our errors."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import grpc

from tiervec.arguments.parameter_checks import check_path, check_text, shown
from tiervec.errors import InvalidArgumentError, TiervecError, UnavailableError
from tiervec.rpc.certificates import read_authorities, read_key_pair
from tiervec.rpc.forks import check_usable, in_grpc
from tiervec.rpc.status_codes import error_class

__all__ = [
    "ClientTls",
    "Connection",
    "grpc_timeout",
    "handshake_failure",
    "open_channel",
    "proxy_note",
    "translated",
]

# In the order in which gRPC looks.
_PROXY_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")
_DIRECT_VARIABLES = ("no_grpc_proxy", "no_proxy")

_MAX_ADDRESS = 300  # characters; a host name has at most 253
_MAX_TIMEOUT_S = 1e8  # about three years; gRPC takes a far longer deadline for one that is over

_NOT_VERIFIED: Final = "CERTIFICATE_VERIFY_FAILED"


@dataclass(frozen=True, kw_only=True)
class ClientTls:
    """PEM files of a client.

    Attributes:
        ca: Authorities to trust.
        cert: The client's own certificate chain, where the server wants one; with `key`.
        key: Its private key.
    """

    ca: str | os.PathLike[str]
    cert: str | os.PathLike[str] | None = None
    key: str | os.PathLike[str] | None = None


def open_channel(address: str, tls: ClientTls | None, options: list[tuple[str, Any]]) -> Any:
    """A channel that connects on its first call.

    Raises:
        NotFoundError: A TLS file does not exist.
        PermissionDeniedError: A TLS file may not be read.
        InvalidArgumentError: The address or a TLS file is unusable, or a certificate has no key.
        UnsupportedError: In a child that was forked while another thread was in gRPC.
    """
    check_usable(address)
    address = check_text("address", address, "127.0.0.1:7700")
    if not address or len(address) > _MAX_ADDRESS:
        raise InvalidArgumentError(f"address is {shown(address)}; it must be HOST:PORT, for example 127.0.0.1:7700")
    # Channels would share connections by address, and one of a forked child those of its parent.
    options = [*options, ("grpc.use_local_subchannel_pool", 1)]
    if tls is None:
        return grpc.insecure_channel(address, options)
    if (tls.cert is None) != (tls.key is None):
        raise InvalidArgumentError("the client's TLS certificate and its key need each other; give both or none")
    ca = check_path("the TLS file", tls.ca)
    chain = key = None
    if tls.cert is not None and tls.key is not None:
        chain, key = read_key_pair(check_path("the TLS file", tls.cert), check_path("the TLS file", tls.key))
    credentials = grpc.ssl_channel_credentials(read_authorities(ca), key, chain)
    return grpc.secure_channel(address, credentials, options)


class Connection:
    """A channel of this process and its stubs; in a forked child a channel of its own, when it is first used.

    gRPC's threads do not come along into a child, and its sockets are the parent's: an inherited channel is left
    alone, without a word to the server. Thread-safe.

    Args:
        address: ``HOST:PORT``.
        tls: None: plain text.
        options: Options of the channel.
        kinds: Generated stub classes, which have no types.

    Raises:
        NotFoundError: A TLS file does not exist.
        PermissionDeniedError: A TLS file may not be read.
        InvalidArgumentError: A TLS file is unusable, or a certificate has no key.
    """

    def __init__(self, address: str, tls: ClientTls | None, options: list[tuple[str, Any]], *kinds: Any) -> None:
        self._address = address
        self._open = functools.partial(open_channel, address, tls, options)
        self._closed, self._kinds = False, kinds
        self._connect()

    def stub(self, kind: Any) -> Any:
        """The stub of one of the kinds."""
        check_usable(self._address)
        if self._process != os.getpid() and not self._closed:
            # At its end it would say goodbye on the parent's sockets.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._channel))
            self._connect()
        return self._stubs[kind]

    def _connect(self) -> None:
        self._channel, self._process = self._open(), os.getpid()
        # All of them now: gRPC crashes when a stub is made for a channel that was closed.
        self._stubs = {kind: kind(self._channel) for kind in self._kinds}

    @staticmethod
    def calling() -> contextlib.AbstractContextManager[None]:
        """Around every call."""
        return in_grpc()

    def close(self) -> None:
        """Closes the connection; calls that run are cancelled."""
        self._closed = True
        if self._process == os.getpid():
            self._channel.close()


def grpc_timeout(timeout_s: float | None) -> float | None:
    """A checked timeout as gRPC takes it: a very long one is no deadline."""
    return None if timeout_s is None or timeout_s > _MAX_TIMEOUT_S else timeout_s


def translated(error: Any, address: str) -> TiervecError:
    """The error of ours that a failed call stands for; the sentence begins with the address."""
    code, details = error.code(), error.details() or error.code().name.lower()
    if code is grpc.StatusCode.UNAVAILABLE and (reason := handshake_failure(details)) is not None:
        return UnavailableError(f"{address}: {reason}")
    if code is grpc.StatusCode.CANCELLED and details == "CANCELLED":
        # Our clients never cancel: gRPC gives the bare word to a call that meets a stopping server.
        return UnavailableError(f"{address}: the server is stopping")
    if code is grpc.StatusCode.UNAVAILABLE:
        details += proxy_note(address)
    return error_class(code)(f"{address}: {details}")


def handshake_failure(details: str) -> str | None:
    """Why client and server did not come together, from gRPC's text about a connection; None for other reasons."""
    if _NOT_VERIFIED in details:
        reason = details.partition(f"{_NOT_VERIFIED}: ")[2].partition(":")[0] or "it cannot be verified"
        return (
            f"the server's certificate was not accepted: {reason}; it must be signed by one of the authorities that "
            f"this client trusts, and be within its dates"
        )
    if "Hostname Verification Check failed" in details:
        return "the server's certificate was not accepted: it is for another host than this address"
    if "WRONG_VERSION_NUMBER" in details:
        return "the server does not speak TLS, and this client was given an authority to trust"
    if "handshake failed" in details:
        return f"the TLS handshake failed ({details.rpartition('OPENSSL_internal:')[2].partition(':')[0] or details})"
    if details.endswith("Socket closed") and "failed to connect" in details:
        return (
            "the server closed the connection at once; it may speak TLS while this client does not, want a certificate "
            "of the client, or have as many connections as it takes"
        )
    return None


def proxy_note(address: str) -> str:
    """Names the proxy that gRPC would reach an address through, if there is one; never its password."""
    variable, value = _first_set(_PROXY_VARIABLES)
    if not value:
        return ""
    _, exceptions = _first_set(_DIRECT_VARIABLES)
    host = address.rpartition(":")[0].strip("[]")
    if any(host.endswith(end.strip()) for end in exceptions.split(",") if end.strip()):  # as gRPC decides
        return ""
    try:
        proxy = urlsplit(value)
        where = f"{proxy.hostname}:{proxy.port}" if proxy.port else str(proxy.hostname)
    except ValueError:
        where = "an address that is none"
    return f"; {variable} sends it through the proxy {where}: put {host} into no_proxy to connect directly"


def _first_set(variables: tuple[str, ...]) -> tuple[str, str]:
    """The first of some environment variables that has a value, and the value; empty when none has."""
    return next(((name, os.environ[name]) for name in variables if os.environ.get(name)), ("", ""))
