from __future__ import annotations

import logging
from urllib.parse import quote

import grpc
import pytest

from tiervec.errors import NotFoundError, TiervecError
from tiervec.rpc.answering import bounded_message, status_of


@pytest.mark.parametrize(
    "text", ["", "index 'a' is not here", "x" * 100_000, "\U0001f600" * 1000, "%" * 5000, "\n" * 3000, "\ud800"]
)
def test_a_message_fits_a_header(text: str) -> None:
    message = bounded_message(text)
    assert len(quote(message, safe="", errors="replace")) <= 3 * 2048 + 3
    encoded = message.encode()  # as gRPC does: a byte of a path that is not UTF-8 must not end the call otherwise
    assert sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in encoded) <= 2048 + 3
    escaped = text.encode("utf-8", "backslashreplace").decode()
    assert message == escaped or (message.endswith("...") and escaped.startswith(message[:-3]))


def test_errors_of_ours_keep_their_sentence(caplog: pytest.LogCaptureFixture) -> None:
    assert status_of(NotFoundError("no index"), "x/Y") == (grpc.StatusCode.NOT_FOUND, "no index")
    assert not caplog.records


@pytest.mark.parametrize("error", [ZeroDivisionError("secret"), TiervecError("secret")])
def test_a_bug_is_in_the_log(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        code, message = status_of(error, "x/Y")
    assert code is grpc.StatusCode.INTERNAL
    assert "x/Y failed" in caplog.text
    assert isinstance(error, TiervecError) or "secret" not in message
