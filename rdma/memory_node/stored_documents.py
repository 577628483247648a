"""The JSON files of the data directory: what they hold, and every check of it.

The files were written by this node, but a disk, a backup or a hand may have changed them: nothing of them is used
before its type and its range were checked. No message shows a token.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tiervec.errors import DataLossError, InvalidArgumentError
from tiervec.rdma.memory_node.names import TRANSPORTS, check_name

__all__ = [
    "LONGEST_DOCUMENT",
    "RegionDocument",
    "encode",
    "named_in",
    "parse_current",
    "parse_ports",
    "parse_region",
]

#: Bytes of a file; the current versions of 4,096 regions take at most this much.
LONGEST_DOCUMENT: Final = 2 << 20
_FORMAT: Final = 1
_MAX_SIZE_BYTES: Final = 2**62
_MAX_TIME_S: Final = 253_402_300_800.0  # the year 10000
_TOKEN: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_CHECKSUM: Final = re.compile(r"[0-9a-f]{16}", re.ASCII)
_SHOWN: Final = 40  # characters of a wrong value in a message


@dataclass(frozen=True, kw_only=True)
class RegionDocument:
    """``region.json``.

    Attributes:
        name: Name of the region.
        version: Version, named by the content.
        size_bytes: Size of the content, in bytes.
        region_id: The name of its folder, 16 hexadecimal digits.
        token: 16 bytes that grant reads.
        sealed_at_s: Seconds since 1970.
        checksum: XXH3 (64 bits, hexadecimal) of ``checksums.bin``.
    """

    name: str
    version: str
    size_bytes: int
    region_id: str
    token: bytes
    sealed_at_s: float
    checksum: str

    def encode(self) -> bytes:
        """The file."""
        return encode({**vars(self), "token": self.token.hex(), "format": _FORMAT})


def encode(document: Mapping[str, Any]) -> bytes:
    """A JSON file."""
    return json.dumps(dict(document), indent=2, sort_keys=True).encode() + b"\n"


def parse_region(text: bytes, region_id: str) -> RegionDocument:
    """Checks a ``region.json`` of the folder `region_id`.

    Raises:
        DataLossError: A value is missing, has another type or lies outside of its range; the sentence names it.
    """
    found = _object(text)
    if (form := found.get("format")) != _FORMAT or type(form) is not int:
        raise DataLossError(f"its format is {_shown(form)}; this version of tiervec reads format {_FORMAT}")
    size, sealed, token = found.get("size_bytes"), found.get("sealed_at_s"), found.get("token")
    if isinstance(size, bool) or not isinstance(size, int) or not 0 < size < _MAX_SIZE_BYTES:
        raise DataLossError(f"size_bytes is {_shown(size)}; it must be an integer from 1 to 2**62 - 1")
    # Compared before it is converted: not every integer is a float.
    if isinstance(sealed, bool) or not isinstance(sealed, int | float) or not 0 <= sealed < _MAX_TIME_S:
        raise DataLossError(f"sealed_at_s is {_shown(sealed)}; it must be seconds since 1970, before the year 10000")
    if not isinstance(token, str) or _TOKEN.fullmatch(token) is None:
        raise DataLossError("token must be 32 hexadecimal digits")
    if found.get("region_id") != region_id:
        raise DataLossError(f"region_id is {_shown(found.get('region_id'))}; the folder is {region_id}")
    checksum = found.get("checksum")
    if not isinstance(checksum, str) or _CHECKSUM.fullmatch(checksum) is None:
        raise DataLossError(f"checksum is {_shown(checksum)}; it must be 16 hexadecimal digits")
    return RegionDocument(
        name=_name(found, "name"),
        version=_name(found, "version"),
        size_bytes=size,
        region_id=region_id,
        token=bytes.fromhex(token),
        sealed_at_s=float(sealed),
        checksum=checksum,
    )


def named_in(text: bytes) -> tuple[str, str] | None:
    """Name and version in a ``region.json`` that is damaged elsewhere; None when they are not there either."""
    try:
        found = _object(text)
        return _name(found, "name"), _name(found, "version")
    except DataLossError:
        return None


def parse_current(text: bytes) -> dict[str, str]:
    """Checks ``current.json``: name of a region -> its current version.

    Raises:
        DataLossError: It holds anything else.
    """
    found = _object(text)
    for name in found:
        try:
            check_name(name)
        except InvalidArgumentError:
            raise DataLossError(f"{_shown(name)} is not a region name") from None
    return {name: _name(found, name) for name in found}


def parse_ports(text: bytes) -> dict[str, int]:
    """Checks ``node.json``: transport -> the port that its data plane had.

    Raises:
        DataLossError: It holds anything else.
    """
    found = _object(text)
    for transport, port in found.items():
        if transport not in TRANSPORTS or type(port) is not int or not 0 < port < 65536:
            raise DataLossError(f"{_shown(transport)} has port {_shown(port)}; a transport has a port from 1 to 65535")
    return found


def _object(text: bytes) -> dict[str, Any]:
    if len(text) > LONGEST_DOCUMENT:
        raise DataLossError(f"it is longer than {LONGEST_DOCUMENT:,} bytes")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise DataLossError("it is not valid JSON") from None
    if not isinstance(found, dict):
        raise DataLossError("it holds no JSON object")
    return found


def _name(found: Mapping[str, Any], key: str) -> str:
    try:
        return check_name(found.get(key, ""))
    except InvalidArgumentError:
        raise DataLossError(
            f"{key} is {_shown(found.get(key))}, which is not a name of a region or a version"
        ) from None


def _shown(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and abs(value) > 10**_SHOWN:
        return f"an integer of {value.bit_length():,} bits"
    text = "missing" if value is None else repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
