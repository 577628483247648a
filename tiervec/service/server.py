"""The gRPC server: ports, threads, limits, and a stop that loses no running call."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent import futures
from types import TracebackType
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from tiervec.rpc.foreground import run_until_signalled
from tiervec.rpc.listening import bind
from tiervec.service._generated import index_pb2, index_pb2_grpc, search_pb2, search_pb2_grpc
from tiervec.service.admission import Admission
from tiervec.service.catalogue import IndexCatalogue
from tiervec.service.configuration import Limits, ServeConfig
from tiervec.service.grpc_services import IndexService, SearchService
from tiervec.service.handlers import IndexHandler, SearchHandler
from tiervec.service.health import HealthReport

__all__ = ["Server"]

_log = logging.getLogger(__name__)
_SPARE_THREADS = 4  # health, reflection and index calls get through while all searches wait


class Server:
    """Serves a catalogue of open indexes until stopped; owns the catalogue.

    Binding happens on construction, so that a taken port is an error before anything runs.

    Args:
        catalogue: The indexes; closed by ``stop``.
        config: Where to listen and what to allow. Its ``indexes`` are not looked at.

    Raises:
        UnavailableError: The address cannot be listened on.
        NotFoundError: A TLS file does not exist.
        InvalidArgumentError: A TLS file is not a usable PEM file.
    """

    def __init__(self, catalogue: IndexCatalogue, config: ServeConfig) -> None:
        limits = config.limits
        searches = limits.concurrent_searches + limits.max_waiting_searches
        self._drain_s = config.drain_s
        self._catalogue = catalogue
        self._health = HealthReport(catalogue)
        self._executor = futures.ThreadPoolExecutor(searches + _SPARE_THREADS, thread_name_prefix="tiervec-grpc")
        # Admission refuses surplus searches with a sentence; this outer bound stops a flood from queueing in memory.
        self._server = grpc.server(
            self._executor, options=_options(limits), maximum_concurrent_rpcs=2 * (searches + _SPARE_THREADS)
        )
        admission = Admission(limits.concurrent_searches, limits.max_waiting_searches)
        self._add_services(SearchHandler(catalogue, limits, admission), IndexHandler(catalogue))
        self._port = bind(self._server, config.listen, config.tls)
        self._host = config.listen.rpartition(":")[0]

    @property
    def address(self) -> str:
        """``HOST:PORT`` as bound."""
        return f"{self._host}:{self._port}"

    def start(self) -> None:
        """Begins to answer; returns at once."""
        self._health.start()
        self._server.start()
        _log.info("serving %s on %s", ", ".join(name for name, _ in self._catalogue), self.address)

    def stop(self, drain_s: float | None = None) -> None:
        """Stops: health says NOT_SERVING, new calls are refused, running ones finish, then the indexes are closed.

        Args:
            drain_s: Seconds that running calls get; None means what the configuration says. Later they are cancelled.
        """
        self._health.stop()
        self._server.stop(self._drain_s if drain_s is None else drain_s).wait()
        # An index must stay open until the threads of its searches are done, also of those that were cancelled.
        self._executor.shutdown(wait=True)
        self._catalogue.close()

    def run_until_signalled(self, on_ready: Callable[[], None]) -> None:
        """Starts, and stops at SIGTERM or SIGINT; a second signal ends the draining at once. Main thread only.

        Args:
            on_ready: Called once calls are answered.
        """
        run_until_signalled(
            start=self.start,
            stop=self.stop,
            cut_short=lambda: self._server.stop(0),
            on_ready=on_ready,
            drain_s=self._drain_s,
        )

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _add_services(self, search: SearchHandler, index: IndexHandler) -> None:
        add_search: Any = search_pb2_grpc.add_SearchServiceServicer_to_server
        add_search(SearchService(search), self._server)
        add_index: Any = index_pb2_grpc.add_IndexServiceServicer_to_server
        add_index(IndexService(index), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health.servicer, self._server)
        names = [
            search_pb2.DESCRIPTOR.services_by_name["SearchService"].full_name,
            index_pb2.DESCRIPTOR.services_by_name["IndexService"].full_name,
            health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
            reflection.SERVICE_NAME,
        ]
        reflection.enable_server_reflection(names, self._server)


def _options(limits: Limits) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", limits.max_message_bytes),
        # The receipt comes on top of the results.
        ("grpc.max_send_message_length", limits.max_message_bytes + (1 << 20)),
        # Otherwise two servers on one port share it silently.
        ("grpc.so_reuseport", 0),
    ]
