"""Verifies the regions in memory, extent by extent, at a bounded rate: memory and its errors are the node's own."""

from __future__ import annotations

import logging
import threading
from typing import Final

from tiervec.machine.processes import starting_threads
from tiervec.rdma.memory_node.names import EXTENT_BYTES
from tiervec.rdma.memory_node.node import MemoryNode

__all__ = ["Scrubber"]

_log = logging.getLogger(__name__)
_IDLE_S: Final = 1.0


class Scrubber:
    """A thread that goes round all sealed regions until it is stopped.

    Args:
        node: Whose regions.
        bytes_per_s: Memory that it reads per second; 0: it does nothing.
    """

    def __init__(self, node: MemoryNode, bytes_per_s: int) -> None:
        self.bytes_per_s = bytes_per_s
        self._node = node
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tiervec-scrubber", daemon=True)

    def start(self) -> None:
        """Begins."""
        if self.bytes_per_s > 0:
            with starting_threads("checking regions"):
                self._thread.start()

    def stop(self) -> None:
        """Ends after the extent under way."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        pause_s = EXTENT_BYTES / self.bytes_per_s
        while not self._stopping.is_set():
            verified = 0
            for region in self._node.ready_regions():
                for index in range(region.extents):
                    if self._stopping.wait(pause_s):
                        return
                    try:
                        self._node.verify_extent(region, index)
                    except Exception:
                        _log.exception("verifying extent %d of %s failed", index, region.label)
                    verified += 1
            if verified:
                self._node.counters.scrub_passes += 1
            elif self._stopping.wait(_IDLE_S):
                return
