"""The edge of a servicer: our errors become status codes, everything else INTERNAL with its traceback in the log."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import grpc

from tiervec.errors import TiervecError
from tiervec.rpc.status_codes import status_code

__all__ = ["with_status"]

_log = logging.getLogger(__name__)
_INTERNAL_MESSAGE = "internal error; the server's log has the details"
_LONGEST_MESSAGE = 1000  # characters; the status travels in a header, which gRPC limits to 8 KiB

Response = TypeVar("Response")


def with_status(method: Callable[[Any, Any, Any], Response]) -> Callable[[Any, Any, Any], Response]:
    """Ends the call with the status code of the error that `method` raised; a client never sees a traceback."""

    @functools.wraps(method)
    def call(self: Any, request: Any, context: Any) -> Response:
        try:
            return method(self, request, context)
        except TiervecError as error:
            code, message = status_code(error), str(error)[:_LONGEST_MESSAGE]
            if code is grpc.StatusCode.INTERNAL:
                _log.exception("%s failed", method.__qualname__)
        except Exception:
            _log.exception("%s failed", method.__qualname__)
            code, message = grpc.StatusCode.INTERNAL, _INTERNAL_MESSAGE
        context.abort(code, message)
        raise AssertionError("abort raises")

    return call
