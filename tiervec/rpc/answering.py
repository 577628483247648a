"""The edge of a servicer: our errors become status codes, everything else INTERNAL with its traceback in the log."""

from __future__ import annotations

import logging
from typing import Final

import grpc

from tiervec.errors import TiervecError
from tiervec.rpc.status_codes import status_code

__all__ = ["bounded_message", "status_of"]

_log = logging.getLogger(__name__)
_INTERNAL_MESSAGE: Final = "internal error; the server's log has the details"
# The status travels in a header, which gRPC limits to 8 KiB; what is not printable ASCII takes 3 bytes there per byte.
_MAX_MESSAGE_BYTES: Final = 2048


def status_of(error: Exception, method: str) -> tuple[grpc.StatusCode, str]:
    """The status that ends a call of `method` which raised `error`; a client never sees a traceback."""
    if not isinstance(error, TiervecError):
        _log.error("%s failed", method, exc_info=error)
        return grpc.StatusCode.INTERNAL, _INTERNAL_MESSAGE
    code = status_code(error)
    if code is grpc.StatusCode.INTERNAL:
        _log.error("%s failed", method, exc_info=error)
    return code, bounded_message(str(error))


def bounded_message(message: str) -> str:
    """The message, cut where it would not fit a status; bytes of paths that are not UTF-8 are escaped."""
    message = message.encode("utf-8", "backslashreplace").decode()
    taken = 0
    for at, character in enumerate(message):
        printable = " " <= character <= "~" and character != "%"
        taken += 1 if printable else 3 * len(character.encode())
        if taken > _MAX_MESSAGE_BYTES:
            return message[:at] + "..."
    return message
