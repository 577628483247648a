"""Limits of this process under which importing numpy ends in the words of OpenBLAS: asked before it is imported."""

from __future__ import annotations

import logging
import mmap
import os
import resource
from typing import Final

__all__ = ["check_address_space"]

_log = logging.getLogger(__name__)
# Measured with numpy 2 and OpenBLAS: the libraries, and a buffer for each of its threads.
_LIBRARIES_BYTES: Final = 96 << 20
_THREAD_BYTES: Final = 40 << 20
_LIMITS: Final = (("ulimit -v", resource.RLIMIT_AS), ("ulimit -d", resource.RLIMIT_DATA))


def check_address_space() -> None:
    """Takes as much address space as importing numpy needs, and gives it back.

    Where it is short for OpenBLAS's threads, OpenBLAS gets one.

    Raises:
        ResourceExhaustedError: There is not so much; the sentence names the limit.
    """
    limits = [(name, soft) for name, which in _LIMITS if (soft := resource.getrlimit(which)[0]) >= 0]
    if not limits:
        return
    wanted = os.environ.get("OPENBLAS_NUM_THREADS", "")
    threads = int(wanted) if wanted.isascii() and wanted.isdigit() and int(wanted) else os.cpu_count() or 1
    if _can_take(_LIBRARIES_BYTES + threads * _THREAD_BYTES):
        return
    needed = _LIBRARIES_BYTES + _THREAD_BYTES
    name, soft = min(limits, key=lambda limit: limit[1])
    if _can_take(needed):
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        _log.warning("numpy calculates with one thread: `%s` leaves no address space for more", name)
        return
    from tiervec.errors import ResourceExhaustedError

    raise ResourceExhaustedError(
        f"`{name}` limits this process to {soft:,} bytes of address space, and it needs {needed:,} more to start; "
        f"raise the limit (`{name} unlimited`)"
    )


def _can_take(size: int) -> bool:
    try:
        mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except (OSError, MemoryError):
        return False
    return True
