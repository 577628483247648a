"""Memory for regions: whole pages, huge ones from 2 MiB on where the system has them, locked where it allows that."""

from __future__ import annotations

import logging
from typing import Any, Final

from tiervec import _core
from tiervec.arguments.sizes import format_size
from tiervec.errors import ResourceExhaustedError
from tiervec.rdma.memory_node.names import extents_of

__all__ = ["RegionMemory", "memory_bytes"]

_log = logging.getLogger(__name__)
_PAGE_BYTES: Final = 4096
#: What the node keeps of a region beside its bytes: objects, entries in tables, the kernel's mapping. 1.4 KiB of
#: resident memory were measured with 4,000 regions of 1 byte; tests/attacks/test_many_regions.py checks the sum.
_REGION_OVERHEAD_BYTES: Final = 3072
_EXTENT_OVERHEAD_BYTES: Final = 9  # its checksum, and whether it is there
_LOCK_ADVICE: Final = (
    "raise the limit of locked memory: `ulimit -l unlimited` in the shell that starts the node, LimitMEMLOCK=infinity "
    "in its systemd unit, or --ulimit memlock=-1 for its container"
)


def memory_bytes(size_bytes: int) -> int:
    """What a region takes of the capacity: its bytes and what the node keeps beside them, in whole pages."""
    beside = _REGION_OVERHEAD_BYTES + _EXTENT_OVERHEAD_BYTES * extents_of(size_bytes)
    return sum(-(-part // _PAGE_BYTES) * _PAGE_BYTES for part in (size_bytes, beside))


class RegionMemory:
    """Allocates it, and says once that it could not be locked.

    Args:
        lock: ``try`` locks regions into memory where the system allows it, ``require`` refuses a region that cannot be
            locked, ``no`` does not ask.
    """

    def __init__(self, lock: str) -> None:
        self._lock = lock
        self._warned = False

    def allocate(self, name: str, size_bytes: int) -> Any:
        """Memory of the region `name`; locking it may take long.

        Raises:
            ResourceExhaustedError: There is none, or it must be locked and cannot be.
        """
        memory = _core.NodeMemory(size_bytes, self._lock != "no")
        if self._lock == "no" or memory.locked:
            return memory
        if self._lock == "require":
            raise ResourceExhaustedError(
                f"region {name} of {format_size(size_bytes)} cannot be locked into memory; {_LOCK_ADVICE}"
            )
        if not self._warned:
            self._warned = True
            _log.warning("regions are not locked into memory and may be swapped out; %s", _LOCK_ADVICE)
        return memory
