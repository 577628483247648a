"""The gRPC server: ports, threads, limits, and a stop that loses no running call."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType
from typing import Final

from tiervec.errors import InvalidArgumentError
from tiervec.rpc.certificates import certificate_problem
from tiervec.rpc.foreground import run_until_signalled
from tiervec.rpc.serving import RpcServer
from tiervec.service._generated import index_pb2_grpc, search_pb2_grpc
from tiervec.service.admission import Admission
from tiervec.service.catalogue import IndexCatalogue
from tiervec.service.configuration import Limits, ServeConfig, TlsFiles
from tiervec.service.grpc_services import IndexService, SearchService
from tiervec.service.handlers import IndexHandler, SearchHandler
from tiervec.service.health import HealthReport

__all__ = ["Server"]

_log = logging.getLogger(__name__)
_INDEX_THREADS: Final = 2
_MAX_INDEX_CALLS: Final = 64


class Server:
    """Serves a catalogue of open indexes until stopped; owns the catalogue.

    Binding happens on construction, so that a taken port is an error before anything runs.

    Args:
        catalogue: The indexes; closed by ``stop``.
        config: Where to listen and what to allow. Its ``indexes`` are not looked at.

    Raises:
        UnavailableError: The address cannot be listened on.
        NotFoundError: A TLS file does not exist.
        InvalidArgumentError: A TLS file is not a usable PEM file, or the certificate is not valid today.
    """

    def __init__(self, catalogue: IndexCatalogue, config: ServeConfig) -> None:
        limits = config.limits
        self._drain_s = config.drain_s
        self._catalogue = catalogue
        self._server = RpcServer(
            config.listen,
            tls=config.tls,
            limits=limits,
            max_request_bytes=limits.max_message_bytes,
            # The receipt comes on top of the results.
            max_response_bytes=limits.max_message_bytes + (1 << 20),
        )
        if config.tls is not None:
            self._check_certificate(config.tls)
        self._health = HealthReport(catalogue, self._server.health, config.probe_interval_s)
        self._add_services(limits)

    @property
    def address(self) -> str:
        """``HOST:PORT`` as bound."""
        return self._server.address

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
        # An index stays open until the threads of its searches are done, also of those that were cancelled.
        self._server.stop(self._drain_s if drain_s is None else drain_s)
        self._catalogue.close()

    def run_until_signalled(self, on_ready: Callable[[], None]) -> None:
        """Starts, and stops at SIGTERM or SIGINT; a second signal ends the draining at once. Main thread only.

        Args:
            on_ready: Called once calls are answered.
        """
        run_until_signalled(
            start=self.start,
            stop=self.stop,
            cut_short=self._server.cut_short,
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

    def _check_certificate(self, tls: TlsFiles) -> None:
        # Clients verify it, so no client could connect, and there is nothing else that this server is for.
        problem = certificate_problem(tls.cert, tls.key)
        if problem is not None:
            self._server.stop(0)
            raise InvalidArgumentError(f"{problem}: no client would accept it; give a valid one")
        for line in tls.warnings():
            _log.warning("%s", line)

    def _add_services(self, limits: Limits) -> None:
        admission = Admission(limits.concurrent_searches, limits.max_waiting_searches)
        # Searches wait in the lane, without a thread. Admission checks deadlines when their turn comes.
        searches = limits.concurrent_searches + limits.max_waiting_searches
        search_lane = self._server.lane(
            "searches",
            threads=limits.concurrent_searches,
            limit=searches,
            limit_per_peer=limits.calls_per_peer(searches),
        )
        index_lane = self._server.lane(
            "calls that list indexes",
            threads=_INDEX_THREADS,
            limit=_MAX_INDEX_CALLS,
            limit_per_peer=limits.calls_per_peer(_MAX_INDEX_CALLS),
        )
        search = SearchService(SearchHandler(self._catalogue, limits, admission))
        self._server.add_service(search_pb2_grpc.add_SearchServiceServicer_to_server, search, lambda _: search_lane)
        index = IndexService(IndexHandler(self._catalogue))
        self._server.add_service(index_pb2_grpc.add_IndexServiceServicer_to_server, index, lambda _: index_lane)
