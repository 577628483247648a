"""TLS files, and what is wrong with them: each mistake is one sentence that names the file.

gRPC itself would report a bad file of a server as a failure to bind, and one of a client as a server that is not there.
"""

from __future__ import annotations

import os
import ssl
import stat
from pathlib import Path
from typing import Final, NoReturn

from tiervec.errors import InvalidArgumentError
from tiervec.machine.durable_files import storage_errors
from tiervec.machine.named_file import opened

__all__ = ["certificate_problem", "others_may_read", "read_authorities", "read_key_pair"]

# Of OpenSSL, X509_V_ERR_...
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
# Reasons that OpenSSL gives for a key of another certificate: other numbers, another algorithm.
_STRANGE_KEY: Final = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"})


def read_authorities(path: str | os.PathLike[str]) -> bytes:
    """The PEM certificates of authorities to trust.

    Raises:
        NotFoundError: The file does not exist.
        PermissionDeniedError: It may not be read.
        InvalidArgumentError: It holds no PEM certificates.
    """
    text = _read(path)
    _check_certificates(path, text)
    return text


def read_key_pair(cert: str | os.PathLike[str], key: str | os.PathLike[str]) -> tuple[bytes, bytes]:
    """A PEM certificate chain and its private key.

    Raises:
        NotFoundError: A file does not exist.
        PermissionDeniedError: One may not be read.
        InvalidArgumentError: One does not hold what it must, or the key is encrypted or of another certificate.
    """
    pair = _read(cert), _read(key)
    _check_certificates(cert, pair[0])
    with storage_errors(f"reading TLS files {os.fspath(cert)} and {os.fspath(key)}", Path(key).parent):
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, lambda: _refuse_encrypted(key))
        except ssl.SSLError as error:
            raise InvalidArgumentError(_mismatch(cert, key, error.reason or "")) from None
    return pair


def _read(path: str | os.PathLike[str]) -> bytes:
    with opened("TLS file", path) as file:
        return file.read()


def _check_certificates(path: str | os.PathLike[str], text: bytes) -> None:
    try:  # comments between certificates may be in any encoding
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=text.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError) as error:  # ValueError: nothing at all
        reason = getattr(error, "reason", None) or "it holds none"
        raise InvalidArgumentError(f"TLS file {os.fspath(path)} must hold PEM certificates ({reason})") from None


def _refuse_encrypted(key: str | os.PathLike[str]) -> NoReturn:
    raise InvalidArgumentError(
        f"TLS key {os.fspath(key)} is encrypted with a pass phrase, and nobody is asked for it; "
        f"`openssl pkey -in {os.fspath(key)} -out plain.pem` writes it as it must be"
    )


def _mismatch(cert: str | os.PathLike[str], key: str | os.PathLike[str], reason: str) -> str:
    cert, key = os.fspath(cert), os.fspath(key)
    if reason in _STRANGE_KEY:
        return f"TLS key {key} is not the key of the certificate {cert}; give the two that were made together"
    if reason.endswith(("_TOO_SMALL", "_TOO_WEAK")):
        return f"TLS certificate {cert} is too weak for this machine's OpenSSL ({reason}); make one with a longer key"
    return f"TLS file {key} must hold a PEM private key ({reason or 'it holds none'})"


def certificate_problem(cert: Path, key: Path) -> str | None:
    """One sentence when no client can accept the certificate today, because of its dates; else None.

    The files must be usable ones. A client is played in memory that trusts this certificate and looks at nothing but
    its dates: Python shows those of a certificate only once it was verified.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with storage_errors(f"reading TLS files {cert} and {key}", key.parent):
        server.load_cert_chain(cert, key)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # it trusts what is not an authority
    client.load_verify_locations(cafile=cert)
    try:
        _shake_hands(client, server)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code == _EXPIRED:
            return f"TLS certificate {cert} has expired"
        if error.verify_code == _NOT_YET_VALID:
            return f"TLS certificate {cert} is not valid yet; is the clock of this machine right?"
    except ssl.SSLError:
        pass  # what this client cannot judge, such as a curve it does not know, others may accept
    return None


def others_may_read(path: Path, mode: int) -> str | None:
    """One phrase when a file with a secret is open to others than its owner; else None."""
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        whom = "every user of this machine"
    elif mode & (stat.S_IRGRP | stat.S_IWGRP):
        whom = "the users of its group"
    else:
        return None
    return f"{path} is open to {whom}; `chmod 600` keeps it to its owner"


def _shake_hands(client_context: ssl.SSLContext, server_context: ssl.SSLContext) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(10):  # flights of a handshake are four at most
        waiting = 0
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                waiting += 1
        if not waiting:
            return
