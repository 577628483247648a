"""The exceptions of TierVec.

Every error is a `TiervecError` with a stable `code`; most are also the built-in exception a caller would expect. The
same codes are used in C++ (``tiervec/core/status.h``) and map one to one onto gRPC status codes in the service; only
`DiskFullError` has the status code of its parent. Nothing here depends on the extension module or on gRPC.

Example:
    >>> from tiervec.errors import InvalidArgumentError
    >>> try:
    ...     raise InvalidArgumentError("k is 0; it must be at least 1")
    ... except ValueError as error:
    ...     print(error.code, "-", error)
    invalid_argument - k is 0; it must be at least 1
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AlreadyExistsError",
    "CancelledError",
    "DataLossError",
    "DeadlineExceededError",
    "DiskFullError",
    "InvalidArgumentError",
    "NotFoundError",
    "PermissionDeniedError",
    "ResourceExhaustedError",
    "TiervecError",
    "UnavailableError",
    "UnsupportedError",
    "from_code",
]


class TiervecError(Exception):
    """Base of every error of TierVec; raised itself only for a bug of ours (code ``internal``)."""

    code: ClassVar[str] = "internal"

    def __str__(self) -> str:
        # KeyError would print the repr of its argument, OSError an errno: the message is all there is.
        return str(self.args[0]) if self.args else ""


class InvalidArgumentError(TiervecError, ValueError):
    """A value the caller gave cannot be used."""

    code = "invalid_argument"


class NotFoundError(TiervecError, KeyError):
    """Something named does not exist: an index directory, a file, a region, an id."""

    code = "not_found"


class AlreadyExistsError(TiervecError, FileExistsError):
    """Something would be overwritten."""

    code = "already_exists"


class DataLossError(TiervecError):
    """Stored bytes are not what was written: a wrong checksum, a truncated file, a foreign record."""

    code = "data_loss"


class UnavailableError(TiervecError, ConnectionError):
    """A tier or a server cannot answer now; a retry may succeed."""

    code = "unavailable"


class DeadlineExceededError(TiervecError, TimeoutError):
    """The time allowed for an operation is over."""

    code = "deadline_exceeded"


class CancelledError(TiervecError):
    """The caller stopped the operation."""

    code = "cancelled"


class ResourceExhaustedError(TiervecError, MemoryError):
    """Memory, disk or buffers do not suffice."""

    code = "resource_exhausted"


class DiskFullError(ResourceExhaustedError):
    """There is no space for a file: its disk is full, a quota is used up, or its size is limited."""

    code = "disk_full"


class UnsupportedError(TiervecError):
    """A newer format, or a capability this build or machine lacks."""

    code = "unsupported"


class PermissionDeniedError(TiervecError, PermissionError):
    """It may not be done: the operating system refuses it, or a token is missing, wrong, or grants less."""

    code = "permission_denied"


_BY_CODE: dict[str, type[TiervecError]] = {
    error.code: error
    for error in (
        TiervecError,
        InvalidArgumentError,
        NotFoundError,
        AlreadyExistsError,
        DataLossError,
        UnavailableError,
        DeadlineExceededError,
        CancelledError,
        ResourceExhaustedError,
        UnsupportedError,
        PermissionDeniedError,
        DiskFullError,
    )
}


def from_code(code: str, message: str) -> TiervecError:
    """Makes the error that carries `code`, as the extension module and the gRPC client do.

    Args:
        code: A name from ``tiervec/core/status.h``, for example ``"data_loss"``.
        message: One sentence that names the object, the value and what would be right.

    Returns:
        The exception, not yet raised. An unknown code gives a plain `TiervecError`, which means a bug of ours.

    Example:
        >>> from_code("not_found", "index directory 'a' does not exist")
        NotFoundError("index directory 'a' does not exist")
    """
    return _BY_CODE.get(code, TiervecError)(message)
