"""grpc.health.v1 on the event loop: answered when everything else is taken, with Watches that end at a stop."""

from __future__ import annotations

import asyncio
from typing import Any

from grpc_health.v1 import health_pb2

from tiervec.arguments.parameter_checks import shown
from tiervec.errors import NotFoundError
from tiervec.rpc.limits import PeerCount

__all__ = ["Health"]

_States = health_pb2.HealthCheckResponse


class Health:
    """What is said about each service name; the empty name stands for the server.

    Args:
        loop: Where Watches run.
        watches: Bounds on them.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, watches: PeerCount) -> None:
        self._loop = loop
        self._watches = watches
        self._serving: dict[str, bool] = {}
        self._changed: set[asyncio.Event] = set()  # one of each Watch; touched on the loop only
        self._stopped = False

    def set(self, name: str, serving: bool) -> None:
        """Says that a service can answer or not; from any thread. After `stop` nothing changes any more."""
        if self._stopped:
            return
        self._serving[name] = serving
        self._loop.call_soon_threadsafe(self._wake)

    def stop(self) -> None:
        """Says NOT_SERVING for everything, for good; Watches get it and end."""
        self._stopped = True
        self._loop.call_soon_threadsafe(self._wake)

    def status(self, name: str) -> Any:
        """SERVING, NOT_SERVING, or SERVICE_UNKNOWN."""
        serving = self._serving.get(name)
        if serving is None:
            return _States.SERVICE_UNKNOWN
        return _States.SERVING if serving and not self._stopped else _States.NOT_SERVING

    def check(self, name: str) -> Any:
        """The answer to Check.

        Raises:
            NotFoundError: Nobody ever set this name.
        """
        status = self.status(name)
        if status == _States.SERVICE_UNKNOWN:
            raise NotFoundError(f"this server has no service {shown(name)}")
        return _States(status=status)

    async def watch(self, name: str, peer: str, context: Any) -> None:
        """Sends the status now and at each change, until the client goes away or the server stops."""
        self._watches.enter(peer)
        changed = asyncio.Event()
        self._changed.add(changed)
        try:
            last = None
            while True:
                changed.clear()
                # Read in this order, or the last status could be one from before the stop.
                stopped, status = self._stopped, self.status(name)
                if status != last:
                    last = status
                    await context.write(_States(status=status).SerializeToString())
                if stopped:
                    return
                await changed.wait()
        finally:
            self._changed.discard(changed)
            self._watches.leave(peer)

    def _wake(self) -> None:
        for changed in self._changed:
            changed.set()
