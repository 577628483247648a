"""The salt of a build, which seeds the checks of its records: records of one build never pass in another.

It is a hash of content and holds no time and no randomness, so that one thread and one seed still give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from tiervec.index_files.manifest import FORMAT_VERSION

__all__ = ["SaltHash"]

_BLOCK_BYTES: Final = 8 * 1024 * 1024


class SaltHash:
    """Gathers what gives the records of a build their meaning.

    Example:
        >>> one, other = (SaltHash(kind="graph", metric=metric, params={}, seed=0) for metric in ("l2", "ip"))
        >>> one.value() == other.value()
        False
    """

    def __init__(self, *, kind: str, metric: str, params: Mapping[str, Any], seed: int) -> None:
        """Begins with what the build is."""
        described = {
            "format_version": FORMAT_VERSION,
            "kind": kind,
            "metric": metric,
            "params": dict(params),
            "seed": seed,
        }
        self._hash = xxhash.xxh3_64(json.dumps(described, sort_keys=True, separators=(",", ":")).encode())

    def add(self, values: NDArray[Any] | None) -> None:
        """Adds an array (C order), its dtype and shape; None is an array that the build does not have.

        It is read in blocks of 8 MiB, so a mapped file that is larger than memory will do.
        """
        self._hash.update(b"none" if values is None else f"{values.dtype.str} {values.shape}".encode())
        if values is None or values.size == 0:
            return
        rows = max(1, _BLOCK_BYTES * len(values) // values.nbytes)
        for first in range(0, len(values), rows):
            self._hash.update(np.ascontiguousarray(values[first : first + rows]).reshape(-1).view(np.uint8).data)

    def value(self) -> int:
        """64 bits."""
        return self._hash.intdigest()
