"""Small files that a user names: configuration, tokens, certificates. What the system refuses is one sentence."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tiervec.errors import NotFoundError
from tiervec.machine.durable_files import storage_errors

__all__ = ["opened"]


@contextlib.contextmanager
def opened(what: str, path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a file for reading; errors of reading are translated too.

    Args:
        what: Noun for messages, such as ``"TLS file"``.
        path: As the user named it.

    Raises:
        NotFoundError: There is no such file.
        TiervecError: The system refuses it; the class is that of the errno (`storage_error`).
    """
    with storage_errors(f"reading {what} {os.fspath(path)}", Path(path).parent):
        try:
            file = open(path, "rb")  # noqa: SIM115 - closed below
        except FileNotFoundError:
            raise NotFoundError(f"{what} {os.fspath(path)} does not exist") from None
        with file:
            yield file
