"""What is wrong with the files of a server: certificates out of their time, secrets that others can read."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path
from typing import Final

__all__ = ["certificate_problem", "others_may_read"]

# Of OpenSSL, X509_V_ERR_...
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10


def certificate_problem(cert: Path, key: Path) -> str | None:
    """One sentence when no client can accept the certificate today, because of its dates; else None.

    The files must be usable ones. A client is played in memory that trusts this certificate and looks at nothing but
    its dates: Python shows those of a certificate only once it was verified.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
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
