from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tiervec.rpc.calling import handshake_failure
from tiervec.rpc.certificates import certificate_problem, others_may_read
from tiervec.rpc.listening import TlsFiles


def test_dates(make_certificate: Any) -> None:
    cert, key = make_certificate()
    assert certificate_problem(cert, key) is None
    cert, key = make_certificate(ends="20210101000000Z")
    assert certificate_problem(cert, key) == f"TLS certificate {cert} has expired"
    cert, key = make_certificate(begins="20990101000000Z")
    problem = certificate_problem(cert, key)
    assert problem == f"TLS certificate {cert} is not valid yet; is the clock of this machine right?"


@pytest.mark.parametrize(
    ("mode", "whom"),
    [(0o600, None), (0o400, None), (0o640, "users of its group"), (0o620, "users of its group"), (0o604, "every user")],
)
def test_keys_that_others_can_read(make_certificate: Any, mode: int, whom: str | None) -> None:
    cert, key = make_certificate()
    key.chmod(mode)
    warnings = TlsFiles(cert=cert, key=key).warnings()
    assert len(warnings) == (whom is not None)
    assert all(str(key) in line and whom in line and "chmod 600" in line for line in warnings if whom)
    assert others_may_read(Path("x"), 0o100644) == (
        "x is open to every user of this machine; `chmod 600` keeps it to its owner"
    )


def test_what_is_no_failure_of_a_handshake() -> None:
    for details in ("", "failed to connect to all addresses; last error: ...: Connection refused", "Socket closed"):
        assert handshake_failure(details) is None
    failure = handshake_failure(
        "Tls handshake failed (TSI): SSL_ERROR_SSL: error:1:SSL routines:OPENSSL_internal:ODD: OK"
    )
    assert failure == "the TLS handshake failed (ODD)"
