"""The event loop of this process's gRPC servers: one thread, started by the first server and never stopped.

grpc.aio has one poller in a process, and it is reliable with one loop only: several servers share this one. It is
uvloop's: with the loop of the standard library an answer costs a third more.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

from tiervec.machine.processes import starting_threads
from tiervec.rpc.forks import note_server

__all__ = ["event_loop", "run_on_loop"]

Result = TypeVar("Result")
_lock = threading.Lock()
_running: tuple[int, asyncio.AbstractEventLoop] | None = None  # with the process it runs in


def event_loop() -> asyncio.AbstractEventLoop:
    """The loop, running."""
    global _running
    with _lock:
        if _running is None or _running[0] != os.getpid():  # a forked child has no threads of its parent
            note_server()
            loop = uvloop.new_event_loop()
            with starting_threads("a server"):
                threading.Thread(target=loop.run_forever, name="tiervec-rpc-loop", daemon=True).start()
            _running = (os.getpid(), loop)
        return _running[1]


def run_on_loop(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Runs a coroutine on the loop and waits for its result; never call it on the loop itself."""
    return asyncio.run_coroutine_threadsafe(coroutine, event_loop()).result()
