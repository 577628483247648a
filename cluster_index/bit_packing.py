"""Numbers of a few bits each, lowest bit first, without gaps; 8 zero bytes follow, so that any one is one load."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PADDING_BYTES", "bits_for", "pack", "packed_bytes", "readable_bits", "unpack"]

PADDING_BYTES = 8
_MOST_BITS = 56  # with seven bits before it, a number still fits a word
_WHOLE_BITS = 64
_BLOCK = 1 << 16  # values at a time, a multiple of 8


def bits_for(largest: int) -> int:
    """Bits of each number up to `largest`: 1 to 56, or 64, which one load reads too because it begins at a byte."""
    bits = max(1, int(largest).bit_length())
    return bits if bits <= _MOST_BITS else _WHOLE_BITS


def readable_bits(bits: object) -> bool:
    """Whether numbers of so many bits can be read: what `bits_for` returns."""
    return type(bits) is int and (1 <= bits <= _MOST_BITS or bits == _WHOLE_BITS)


def packed_bytes(count: int, bits: int) -> int:
    """Bytes of `count` packed numbers, padding counted."""
    return (count * bits + 7) // 8 + PADDING_BYTES


def pack(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Packs non-negative numbers below 2**bits.

    Example:
        >>> pack(np.array([1, 2, 3]), 2)[:2].tolist()
        [57, 0]
    """
    packed = np.zeros(packed_bytes(len(values), bits), np.uint8)
    places = np.arange(bits, dtype=np.uint64)
    for start in range(0, len(values), _BLOCK):
        part = values[start : start + _BLOCK].astype(np.uint64)
        flags = ((part[:, None] >> places) & np.uint64(1)).astype(np.uint8)
        content = np.packbits(flags.reshape(-1), bitorder="little")
        packed[start * bits // 8 : start * bits // 8 + len(content)] = content
    return packed


def unpack(packed: NDArray[np.uint8], count: int, bits: int) -> NDArray[np.int64]:
    """Reads `count` numbers that `pack` wrote.

    Example:
        >>> unpack(pack(np.array([5, 0, 7]), 3), 3, 3).tolist()
        [5, 0, 7]
    """
    values = np.empty(count, np.int64)
    weights = np.int64(1) << np.arange(bits, dtype=np.int64)
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        content = packed[start * bits // 8 : (stop * bits + 7) // 8]
        flags = np.unpackbits(content, count=(stop - start) * bits, bitorder="little")
        values[start:stop] = flags.reshape(-1, bits) @ weights
    return values
