"""Who may do what on a memory node: a token that may write, and one that may only attach and look.

A token file holds one token, which may do everything; or two lines, ``write=TOKEN`` and ``read=TOKEN`` in any order, or
just the two tokens, the one that may write first. Empty lines and lines that begin with ``#`` do not count.

Tokens are compared in constant time and never appear in a message or a log.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tiervec.errors import InvalidArgumentError, PermissionDeniedError
from tiervec.machine.named_file import opened
from tiervec.rpc.certificates import others_may_read

__all__ = ["Tokens", "read_token_file"]

_log = logging.getLogger(__name__)
_SHORTEST: Final = 16
_LONGEST_FILE: Final = 4096
_TOKEN: Final = re.compile(rf"[\x21-\x7e]{{{_SHORTEST},512}}", re.ASCII)


@dataclass(frozen=True, kw_only=True, repr=False)
class Tokens:
    """The secrets of a node, or of a client.

    Attributes:
        write: May do everything.
        read: May attach and look; None when there is only the other.
    """

    write: str | None
    read: str | None = None

    def __repr__(self) -> str:
        return "Tokens(...)"

    def check(self, given: str | None, *, to_write: bool) -> None:
        """Lets a call pass that shows `given`.

        Raises:
            PermissionDeniedError: It shows nothing, or a token that does not grant this.
        """
        if given is None:
            raise PermissionDeniedError(
                "the call shows no token and this memory node asks for one; set TIERVEC_TOKEN or TIERVEC_TOKEN_FILE"
            )
        # Both are always compared, so that the time says nothing about which one is near.
        may_write, may_read = _same(given, self.write), _same(given, self.read)
        if may_write or (may_read and not to_write):
            return
        if may_read:
            raise PermissionDeniedError("the token grants reading only; this call needs the node's write token")
        raise PermissionDeniedError("the token is not one of this memory node's")


def read_token_file(path: Path) -> Tokens:
    """Reads a token file.

    Raises:
        NotFoundError: There is no such file.
        InvalidArgumentError: It holds no tokens, too many, or short ones; no message shows any of it.
    """
    with opened("token file", path) as file:
        text = file.read(_LONGEST_FILE + 1)
        mode = os.fstat(file.fileno()).st_mode
    if (open_to := others_may_read(path, mode)) is not None:
        _log.warning("token file %s", open_to)
    try:
        return _parse(text)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"token file {path} {error}") from None


def _parse(text: bytes) -> Tokens:
    if len(text) > _LONGEST_FILE:
        raise InvalidArgumentError(f"has more than {_LONGEST_FILE} bytes; it must hold one or two tokens")
    try:
        lines = [line.strip() for line in text.decode("ascii").splitlines()]
    except UnicodeDecodeError:
        raise InvalidArgumentError("is not ASCII text") from None
    lines = [line for line in lines if line and not line.startswith("#")]
    if not 1 <= len(lines) <= 2:
        raise InvalidArgumentError(f"has {len(lines)} tokens; it must hold one or two, a line each")
    given: dict[str, str] = {}
    for order, line in zip(("write", "read"), lines, strict=False):
        key, equals, value = line.partition("=")
        name, token = (key, value) if equals and key in ("write", "read") else (order, line)
        if name in given:
            raise InvalidArgumentError(f"has two {name} tokens; it must hold write= and read=, once each")
        if _TOKEN.fullmatch(token) is None:
            raise InvalidArgumentError(
                f"has a {name} token that is shorter than {_SHORTEST} characters, longer than 512, or holds spaces"
            )
        given[name] = token
    if len(given) == 2 and given["write"] == given["read"]:
        raise InvalidArgumentError("has the same token twice; leave one out, or choose another for reading")
    return Tokens(write=given.get("write"), read=given.get("read"))


def _same(given: str, expected: str | None) -> bool:
    # Digests have one length: the comparison does not tell how long the secret is.
    digest = hashlib.sha256((expected or "").encode()).digest()
    return hmac.compare_digest(hashlib.sha256(given.encode("utf-8", "replace")).digest(), digest) and bool(expected)
