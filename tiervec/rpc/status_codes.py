"""The one map between the errors of TierVec and the status codes of gRPC, used by the server and by the client."""

from __future__ import annotations

import grpc

from tiervec.errors import (
    AlreadyExistsError,
    CancelledError,
    DataLossError,
    DeadlineExceededError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    TiervecError,
    UnavailableError,
    UnsupportedError,
)

__all__ = ["STATUS_CODES", "error_class", "status_code"]

# One to one, and exhaustive but for what is a case of another error; a test compares it with tiervec.errors.
STATUS_CODES: dict[type[TiervecError], grpc.StatusCode] = {
    InvalidArgumentError: grpc.StatusCode.INVALID_ARGUMENT,
    NotFoundError: grpc.StatusCode.NOT_FOUND,
    AlreadyExistsError: grpc.StatusCode.ALREADY_EXISTS,
    DataLossError: grpc.StatusCode.DATA_LOSS,
    UnavailableError: grpc.StatusCode.UNAVAILABLE,
    DeadlineExceededError: grpc.StatusCode.DEADLINE_EXCEEDED,
    CancelledError: grpc.StatusCode.CANCELLED,
    ResourceExhaustedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    UnsupportedError: grpc.StatusCode.UNIMPLEMENTED,
    PermissionDeniedError: grpc.StatusCode.PERMISSION_DENIED,
    TiervecError: grpc.StatusCode.INTERNAL,  # raised itself only for a bug of ours
}

_ERROR_CLASSES = {code: error for error, code in STATUS_CODES.items()}


def status_code(error: TiervecError) -> grpc.StatusCode:
    """The status code of an error; a subclass has its parent's."""
    return next(STATUS_CODES[cls] for cls in type(error).__mro__ if cls in STATUS_CODES)


def error_class(code: grpc.StatusCode) -> type[TiervecError]:
    """The error that a status code stands for; TiervecError itself for codes that this service never sends."""
    return _ERROR_CLASSES.get(code, TiervecError)
