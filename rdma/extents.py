"""Extents: what is uploaded, verified and compared of a section as one piece.

The checksums of a tier section's extents are a section of their own, so that opening an index can compare some of the
bytes of a tier that does not verify all of them, and `tiervec verify` can say where a file is damaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import xxhash
from numpy.typing import NDArray

__all__ = ["EXTENT_BYTES", "ExtentHash", "describe_extents", "extents_of", "extents_section"]

#: What is uploaded, verified and striped as one piece.
EXTENT_BYTES: Final = 1 << 20

_MAX_NAMED: Final = 8


def extents_of(size_bytes: int) -> int:
    """How many extents a section or region of this size has."""
    return -(-size_bytes // EXTENT_BYTES)


def extents_section(name: str) -> str:
    """The section that holds the checksums of the extents of the tier section `name`."""
    return f"{name}_extents"


def describe_extents(extents: Sequence[int]) -> str:
    """Names extents in a message, the first few of many."""
    named = ", ".join(str(extent) for extent in extents[:_MAX_NAMED])
    return f"{named} and {len(extents) - _MAX_NAMED:,} more" if len(extents) > _MAX_NAMED else named


class ExtentHash:
    """XXH3 (64 bits) of a stream of bytes and of each of its extents.

    Example:
        >>> both = ExtentHash()
        >>> both.update(bytes(EXTENT_BYTES + 1))
        >>> len(both.checksums()), both.hexdigest() == xxhash.xxh3_64_hexdigest(bytes(EXTENT_BYTES + 1))
        (2, True)
    """

    def __init__(self) -> None:
        self._whole = xxhash.xxh3_64()
        self._extent = xxhash.xxh3_64()
        self._extent_bytes = 0
        self._done: list[int] = []

    def update(self, data: bytes | memoryview) -> None:
        """Adds the next bytes."""
        self._whole.update(data)
        rest = memoryview(data).cast("B")
        while len(rest) > 0:
            piece = rest[: EXTENT_BYTES - self._extent_bytes]
            self._extent.update(piece)
            self._extent_bytes += len(piece)
            rest = rest[len(piece) :]
            if self._extent_bytes == EXTENT_BYTES:
                self._done.append(self._extent.intdigest())
                self._extent.reset()
                self._extent_bytes = 0

    def hexdigest(self) -> str:
        """The checksum of all bytes so far, 16 hexadecimal digits."""
        return self._whole.hexdigest()

    def checksums(self) -> NDArray[np.uint64]:
        """The checksum of each extent so far; the last extent may be shorter."""
        last = [self._extent.intdigest()] if self._extent_bytes > 0 else []
        return np.array([*self._done, *last], np.dtype("<u8"))
