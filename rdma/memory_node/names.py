"""Names that travel in URLs and messages: regions, versions, and the constants that both sides must agree on."""

from __future__ import annotations

import re
from typing import Final

from tiervec.arguments.parameter_checks import shown
from tiervec.errors import InvalidArgumentError
from tiervec.rdma.extents import EXTENT_BYTES, extents_of

__all__ = ["EXTENT_BYTES", "PROTOCOL_VERSION", "TRANSPORTS", "check_name", "extents_of"]

#: Version of the control plane's protocol; raised when an old client or node would misunderstand a new one.
PROTOCOL_VERSION: Final = 1
TRANSPORTS: Final = ("tcp", "rdma")

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)


def check_name(name: str, what: str = "region name") -> str:
    """Returns `name` when it may name a region or a version.

    Raises:
        InvalidArgumentError: It has other characters, begins with ``.`` or ``-``, or is longer than 128.
    """
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise InvalidArgumentError(
            f"{what} is {shown(name)}; use 1 to 128 letters, digits, '.', '_' and '-', beginning with a letter, digit "
            f"or '_'"
        )
    return name
