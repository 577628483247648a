"""Regions on ``dax:`` outlive the process that loaded them: found again by their checksum, loaded when they are new."""

from __future__ import annotations

from pathlib import Path

import xxhash

from tiervec import _core
from tiervec.errors import DataLossError

__all__ = ["open_dax_region"]


def open_dax_region(url: str, path: Path, *, size_bytes: int, checksum: str, name: str) -> _core.Tier:
    """Opens a region at a ``dax:`` place. Only a region that is not there yet is loaded, compared and marked complete.

    Args:
        url: ``dax:<path>``, or ``dax:<path>?overwrite`` to replace what is there, if that is something else.
        path: File with the region's bytes.
        size_bytes: Size of the region.
        checksum: XXH3 (64 bits) of the region, hexadecimal.
        name: What the region is called in messages about it.

    Returns:
        The tier. Its bytes may have aged since they were written: records are checked when they are read.

    Raises:
        AlreadyExistsError: The place holds something else.
        DataLossError: The file is not what was written.
        NotFoundError: No such device.
        ResourceExhaustedError: The place is too small.
        UnavailableError: Another process uses it.
    """
    wanted = int(checksum, 16)
    found = _core.attach_dax(url, size_bytes, wanted)
    if found is not None:
        return found
    loaded = _core.load_dax(url, path)
    if xxhash.xxh3_64_intdigest(loaded.bytes.data) != wanted:
        raise DataLossError(
            f"{path} is damaged: what was loaded from it to {url} does not have the checksum {checksum}"
        )
    loaded.complete(wanted, name)
    return loaded
