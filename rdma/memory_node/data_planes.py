"""The ways in which readers read: sockets always, RDMA where there is a device."""

from __future__ import annotations

import logging
import resource
from collections.abc import Mapping
from typing import Final, Protocol

from tiervec import _core
from tiervec.errors import TiervecError, UnsupportedError
from tiervec.rdma.memory_node.region import Region, RemoteKey
from tiervec.rdma.memory_node.verbs import VerbsDataPlane

__all__ = ["DataPlane", "RdmaDataPlane", "TcpDataPlane", "open_data_plane", "raise_descriptor_limit"]

_log = logging.getLogger(__name__)
_WANTED_DESCRIPTORS: Final = 16_384  # half for 4,096 readers and more, the rest for the control plane and files
_WANTED_READERS: Final = 4096


class DataPlane(Protocol):
    """Makes regions readable by those who show the attach token, and by nobody else."""

    transport: str
    port: int

    def serve(self, region: Region) -> RemoteKey:
        """Begins to answer reads of a region."""

    def withdraw(self, region_id: int) -> None:
        """No byte of the region is looked at after this has returned."""

    def stats(self) -> Mapping[str, float]:
        """What the data plane counts."""

    def close(self) -> None:
        """Stops; the regions' memory is not needed any more."""


class TcpDataPlane:
    """Threads of the extension answer batches of reads on sockets, straight from the regions' memory."""

    transport = "tcp"

    def __init__(self, host: str, port: int, threads: int, max_per_address: int = 0) -> None:
        self._server = _core.RegionServer(host, port, threads, max_per_address)
        self.port = int(self._server.port)
        readers = int(self._server.stats()["max_connections"])
        if readers < _WANTED_READERS:
            _log.warning(
                "the tcp data plane takes at most %s connections of readers at once, half of the files this process "
                "may open; raise that limit (`ulimit -n`, LimitNOFILE of its systemd unit) for more",
                f"{readers:,}",
            )

    def serve(self, region: Region) -> RemoteKey:
        """Begins to answer reads of a region."""
        self._server.serve(region.region_id, region.token, region.memory, 0, region.size_bytes)
        return RemoteKey()

    def withdraw(self, region_id: int) -> None:
        """Closes the connections of the region's readers."""
        self._server.withdraw(region_id)

    def stats(self) -> Mapping[str, float]:
        """See ``_core.RegionServer.stats``."""
        return {key: float(value) for key, value in self._server.stats().items()}

    def close(self) -> None:
        """Sends the replies to what has arrived and closes."""
        self._server.stop()


class RdmaDataPlane:
    """Registers regions with an RDMA device for one-sided reads: the device answers, this machine's CPU does not."""

    transport = "rdma"

    def __init__(self, host: str, port: int, device: str | None) -> None:
        self._plane = VerbsDataPlane(host, port, device)
        self.port = int(self._plane.port)

    def serve(self, region: Region) -> RemoteKey:
        """Registers a region for remote reads."""
        address, key = self._plane.serve(region.region_id, region.token, region.memory.address, region.size_bytes)
        return RemoteKey(remote_address=address, remote_key=key)

    def withdraw(self, region_id: int) -> None:
        """Takes the registration back."""
        self._plane.withdraw(region_id)

    def stats(self) -> Mapping[str, float]:
        """Counters of connections; this machine's CPU does not see one-sided reads."""
        return {key: float(value) for key, value in self._plane.stats().items()}

    def close(self) -> None:
        """Ends the connections and registrations."""
        self._plane.close()


def raise_descriptor_limit() -> None:
    """Lets this process open as many files as its readers need, as far as the system allows that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_WANTED_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def open_data_plane(
    transport: str,
    host: str,
    port: int,
    *,
    threads: int,
    max_per_address: int,
    device: str | None,
    preferred_port: int | None,
) -> DataPlane:
    """Opens a data plane on `port`; for port 0 on `preferred_port`, if it is free.

    Raises:
        UnavailableError: The port is taken.
        UnsupportedError: rdma without a device; the sentence says what is missing.
    """

    def opened(at: int) -> DataPlane:
        if transport == "tcp":
            return TcpDataPlane(host, at, threads, max_per_address)
        return RdmaDataPlane(host, at, device)

    if port == 0 and preferred_port:
        try:
            return opened(preferred_port)
        except UnsupportedError:
            raise
        except TiervecError as error:
            _log.warning(
                "the %s data plane had port %d before, which is not free now (%s); it takes another one, and readers "
                "that attached before must open their index again",
                transport,
                preferred_port,
                error,
            )
    return opened(port)
