"""What a client shows a memory node, from the environment: secrets are never in URLs or on a command line.

TIERVEC_TOKEN        a token; or
TIERVEC_TOKEN_FILE   a file as the node has it, or with one of its tokens
TIERVEC_CA           PEM file of the authorities to trust: the control plane then speaks TLS
TIERVEC_CERT, TIERVEC_KEY   PEM files of the client, where the node wants a certificate (mutual TLS)
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tiervec.errors import InvalidArgumentError
from tiervec.rpc.calling import ClientTls
from tiervec.rpc.tokens import Tokens, read_token_file

__all__ = ["Credentials"]


@dataclass(frozen=True, kw_only=True, repr=False)
class Credentials:
    """A client's tokens and TLS files; both None: plain text, and no token."""

    tokens: Tokens | None = None
    tls: ClientTls | None = None

    def __repr__(self) -> str:
        return "Credentials(...)"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Credentials:
        """Reads the variables above.

        Raises:
            NotFoundError, InvalidArgumentError: A file is missing or unusable, or two variables contradict each other.
        """
        given = {key: value for key, value in (environment or os.environ).items() if value}
        token, file = given.get("TIERVEC_TOKEN"), given.get("TIERVEC_TOKEN_FILE")
        if token and file:
            raise InvalidArgumentError("TIERVEC_TOKEN and TIERVEC_TOKEN_FILE are both set; set one of them")
        tokens = Tokens(write=token.strip(), read=None) if token else None
        if file:
            tokens = read_token_file(Path(file))
        ca, cert, key = (given.get(f"TIERVEC_{name}") for name in ("CA", "CERT", "KEY"))
        if ca is None and (cert or key):
            raise InvalidArgumentError("TIERVEC_CERT and TIERVEC_KEY need TIERVEC_CA, the authorities to trust")
        return cls(tokens=tokens, tls=None if ca is None else ClientTls(ca=ca, cert=cert, key=key))

    def metadata(self, *, to_write: bool) -> list[tuple[str, str]]:
        """Headers of a call; the token that grants no more than the call needs."""
        if self.tokens is None:
            return []
        token = self.tokens.write if to_write else self.tokens.read or self.tokens.write
        return [] if token is None else [("authorization", f"Bearer {token}")]
