"""Limits of this process under which importing numpy ends in the words of OpenBLAS: asked before it is imported."""

from __future__ import annotations

import logging
import mmap
import os
import resource
import threading
from typing import Final

__all__ = ["check_numpy_needs"]

_log = logging.getLogger(__name__)
# Measured with numpy 2 and OpenBLAS: the libraries, and a buffer for each of its threads.
_LIBRARIES_BYTES: Final = 96 << 20
_THREAD_BYTES: Final = 40 << 20
_LIMITS: Final = (("ulimit -v", resource.RLIMIT_AS), ("ulimit -d", resource.RLIMIT_DATA))


def check_numpy_needs() -> None:
    """Takes as much address space and as many threads as importing numpy needs, and gives them back.

    Where they are short for OpenBLAS's threads, OpenBLAS gets one, and the log says so.

    Raises:
        ResourceExhaustedError: There is not so much address space; the sentence names the limit.
    """
    wanted = os.environ.get("OPENBLAS_NUM_THREADS", "")
    threads = int(wanted) if wanted.isascii() and wanted.isdigit() and int(wanted) else os.cpu_count() or 1
    if _address_space_for(threads) and not _can_start(threads - 1):
        _use_one_thread("the system gives no more threads (`ulimit -u`, or the pids limit of its container)")


def _address_space_for(threads: int) -> bool:
    """Whether there is address space for so many threads; if not, OpenBLAS was told to use one."""
    limits = [(name, soft) for name, which in _LIMITS if (soft := resource.getrlimit(which)[0]) >= 0]
    if not limits or _can_take(_LIBRARIES_BYTES + threads * _THREAD_BYTES):
        return True
    needed = _LIBRARIES_BYTES + _THREAD_BYTES
    name, soft = min(limits, key=lambda limit: limit[1])
    if _can_take(needed):
        _use_one_thread(f"`{name}` leaves no address space for more")
        return False
    from tiervec.errors import ResourceExhaustedError

    raise ResourceExhaustedError(
        f"`{name}` limits this process to {soft:,} bytes of address space, and it needs {needed:,} more to start; "
        f"raise the limit (`{name} unlimited`)"
    )


def _use_one_thread(reason: str) -> None:
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    _log.warning("numpy calculates with one thread: %s", reason)


def _can_start(threads: int) -> bool:
    end = threading.Event()
    started = []
    try:
        for _ in range(threads):
            thread = threading.Thread(target=end.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        return False
    finally:
        end.set()
        for thread in started:
            thread.join()
    return True


def _can_take(size: int) -> bool:
    try:
        mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except (OSError, MemoryError):
        return False
    return True
