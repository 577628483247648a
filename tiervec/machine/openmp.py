"""How many threads OpenMP, which faiss uses, may have.

OpenMP ends the process when it gets fewer threads than it asks for, and in a forked child it waits for ever for the
parent's. So it is told first what there is.
"""

from __future__ import annotations

import logging

from tiervec import _core
from tiervec.machine.processes import is_forked

__all__ = ["openmp_threads"]

_log = logging.getLogger(__name__)


def openmp_threads(threads: int) -> int:
    """Threads for OpenMP when a build asks for so many (0: all allowed CPUs); a warning when it is fewer."""
    wanted = _core.resolve_threads(threads)
    if wanted > 1 and is_forked():
        _log.warning(
            "faiss runs on 1 thread instead of %d: OpenMP has no others in a forked process; "
            "one that multiprocessing spawned has all of them",
            wanted,
        )
        return 1
    startable = _core.startable_threads(wanted)
    if startable < wanted:
        _log.warning(
            "faiss runs on %d of %d threads: the system gives no more (ulimit -u, or pids.max of the container)",
            startable,
            wanted,
        )
    return startable
