"""grpc.health.v1 that tells the truth: one service name per index, and "" for the whole server.

An index stops serving when a search finds its tier unavailable. Balancers then send it nothing, so no search could find
out that the tier is back: a probe asks one query from time to time.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import numpy as np
from grpc_health.v1 import health, health_pb2

from tiervec.errors import TiervecError

if TYPE_CHECKING:
    from tiervec.api import Index
    from tiervec.service.catalogue import IndexCatalogue

__all__ = ["HealthReport"]

_log = logging.getLogger(__name__)
_OVERALL = ""


class HealthReport:
    """Publishes the availability of a catalogue's indexes and probes those that are unavailable.

    Args:
        catalogue: The indexes.
        probe_interval_s: Seconds between two probes of an unavailable index.
    """

    def __init__(self, catalogue: IndexCatalogue, probe_interval_s: float = 1.0) -> None:
        self.servicer = health.HealthServicer()
        self._catalogue = catalogue
        self._probe_interval_s = probe_interval_s
        self._available: dict[str, bool] = {}
        self._stopping = threading.Event()
        self._prober = threading.Thread(target=self._probe_until_stopped, name="tiervec-health-probe", daemon=True)

    def start(self) -> None:
        """Publishes the present state and starts probing."""
        self._catalogue.on_change(self._publish)
        self._prober.start()

    def stop(self) -> None:
        """Says NOT_SERVING for everything, for good, and stops probing."""
        self.servicer.enter_graceful_shutdown()
        self._stopping.set()
        if self._prober.is_alive():
            self._prober.join()

    def _publish(self, name: str, available: bool) -> None:
        self._available[name] = available
        self._set(name, available)
        # One working index is worth sending clients here for; each index has its own answer.
        self._set(_OVERALL, any(self._available.values()))

    def _set(self, service: str, available: bool) -> None:
        states = health_pb2.HealthCheckResponse
        self.servicer.set(service, states.SERVING if available else states.NOT_SERVING)

    def _probe_until_stopped(self) -> None:
        while not self._stopping.wait(self._probe_interval_s):
            for name in self._catalogue.unavailable():
                if _answers(self._catalogue.get(name)):
                    self._catalogue.set_available(name, True)


def _answers(index: Index) -> bool:
    query = np.zeros((1, index.info.dim), dtype=index.info.dtype)
    query[0, 0] = 1  # the cosine of a zero vector is undefined
    try:
        index.search(query, 1)
    except TiervecError as error:
        _log.debug("probe of %s: %s", index.info.path, error)
        return False
    return True
