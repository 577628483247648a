"""Health that tells the truth: one service name per index, and "" for the whole server.

An index stops serving when its searches fail for want of its tier or of undamaged data. Balancers then send it nothing,
so no search could find out that it is back; and an index that nobody asks could be gone unnoticed. So each index
without a successful search is looked at every half second: it is asked one query, and one that failed before.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from tiervec._core import CancelToken
from tiervec.errors import TiervecError
from tiervec.machine.processes import starting_threads

if TYPE_CHECKING:
    from tiervec.api import Index
    from tiervec.rpc.health import Health
    from tiervec.service.catalogue import IndexCatalogue

__all__ = ["HealthReport"]

_log = logging.getLogger(__name__)
_OVERALL: Final = ""
_PROBE_TIMEOUT_S: Final = 5.0  # a machine with much to do is slow and not broken


class HealthReport:
    """Publishes the availability of a catalogue's indexes and looks at those that answer no searches.

    Args:
        catalogue: The indexes.
        health: Where it is published.
        interval_s: Seconds between two looks.
    """

    def __init__(self, catalogue: IndexCatalogue, health: Health, interval_s: float) -> None:
        self._catalogue = catalogue
        self._health = health
        self._interval_s = interval_s
        self._available: dict[str, bool] = {}
        self._cancel = CancelToken()
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._prober = threading.Thread(target=self._probe_until_stopped, name="tiervec-health-probe", daemon=True)

    def start(self) -> None:
        """Publishes the present state and starts looking."""
        self.publish()
        with starting_threads("probing indexes"):
            self._prober.start()

    def publish(self) -> None:
        """Publishes the present state, and each change from now on."""
        self._catalogue.on_change(self._publish, self._wake.set)

    def stop(self) -> None:
        """Says NOT_SERVING for everything, for good, and ends a look under way."""
        self._health.stop()
        self._stopping.set()
        self._cancel.cancel()
        self._wake.set()
        if self._prober.is_alive():
            self._prober.join()

    def look(self, *, at_doubtful_only: bool = False) -> None:
        """Asks each index that does not answer; and unless `at_doubtful_only`, each without a recent answer."""
        doubtful = self._catalogue.doubtful()
        silent = [] if at_doubtful_only else self._catalogue.silent()
        for name in {**doubtful, **dict.fromkeys(silent)}:
            if self._stopping.is_set():
                return
            failure = self._failure(self._catalogue.get(name), doubtful.get(name))
            if not self._stopping.is_set():
                self._catalogue.set_available(name, failure is None, failure or "")

    def _failure(self, index: Index, lost_query: NDArray[Any] | None) -> str | None:
        """Why the index does not answer, or None."""
        query = np.zeros((1, index.info.dim), dtype=index.info.dtype)
        query[0, 0] = 1  # the cosine of a zero vector is undefined
        try:
            for asked in (query, lost_query):
                if asked is not None:
                    index.search(asked, 1, timeout_s=_PROBE_TIMEOUT_S, cancel=self._cancel)
        except TiervecError as error:
            _log.debug("probe of %s: %s", index.info.path, error)
            return str(error)
        except Exception as error:
            _log.exception("probe of %s failed", index.info.path)
            return f"its probe ended in {type(error).__name__}, a bug of tiervec"
        return None

    def _publish(self, name: str, available: bool) -> None:
        self._available[name] = available
        self._health.set(name, available)
        # One working index is worth sending clients here for; each index has its own answer.
        self._health.set(_OVERALL, any(self._available.values()))

    def _probe_until_stopped(self) -> None:
        while True:
            woken = self._wake.wait(self._interval_s)
            self._wake.clear()
            if self._stopping.is_set():
                return
            self.look(at_doubtful_only=woken)
