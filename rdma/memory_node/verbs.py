"""The RDMA data plane of a memory node: regions are registered with the device, which then answers reads by itself."""

from __future__ import annotations

from tiervec import _core

__all__ = ["VerbsDataPlane"]


class VerbsDataPlane:
    """Lets clients that show a region's token read it by one-sided RDMA, and nothing else.

    Regions are registered with remote-read rights only, each in a protection domain of its own. One thread of the
    extension waits for clients that connect or go; while they read, no CPU of this machine has a part in it.

    Args:
        host: A name or address that belongs to an RDMA device, or a wildcard.
        port: Port of the connection manager, apart from TCP's ports; 0 takes a free one.
        device: Name of the device, as `rdma link` prints it; None: the one that has the address, or the first.

    Attributes:
        port: Where it listens.
        device: The device the regions are registered with.

    Raises:
        UnsupportedError: No libraries, or no device; the sentence says which.
        InvalidArgumentError: No such host or device.
        UnavailableError: The port is taken.

    Example:
        >>> from tiervec.errors import UnsupportedError
        >>> try:
        ...     plane = VerbsDataPlane("192.0.2.1", 0, None)
        ... except UnsupportedError:
        ...     plane = None  # no RDMA device has this address
    """

    def __init__(self, host: str, port: int, device: str | None) -> None:
        self._server = _core.VerbsServer(host, port, device or "")
        self.port: int = self._server.port
        self.device: str = self._server.device

    def serve(self, region_id: int, token: bytes, address: int, size_bytes: int) -> tuple[int, int]:
        """Makes memory readable, which the caller keeps where it is until `withdraw` or `close`.

        Args:
            region_id: What readers ask for; one that is not served.
            token: 16 bytes that a reader has to show.
            address: Where the memory begins.
            size_bytes: Size of the memory, in bytes.

        Returns:
            The address and the key that reads name.

        Raises:
            AlreadyExistsError: The id is served.
            ResourceExhaustedError: The limit of locked memory is too low; the sentence names `ulimit -l`.
        """
        return self._server.serve(region_id, token, address, size_bytes)

    def withdraw(self, region_id: int) -> None:
        """Ends the region's connections; the device does not look at its memory any more when this returns.

        Raises:
            NotFoundError: The id is not served.
        """
        self._server.withdraw(region_id)

    def stats(self) -> dict[str, float]:
        """What is counted: connections (open now), accepted, refused, cpu_seconds (of the waiting thread); no reads."""
        return self._server.stats()

    def close(self) -> None:
        """Withdraws every region and accepts nothing more."""
        self._server.stop()
