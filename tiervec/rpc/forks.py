"""What a fork does to gRPC.

gRPC readies itself for a fork only while no other thread is inside it: then a child can open channels of its own. Else
calls of the child may wait for ever, so they are refused at once.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from tiervec.errors import UnsupportedError

__all__ = ["check_usable", "in_grpc", "note_server"]

_inside: set[object] = set()  # calls of this process, and the loop of its servers


class _Child:
    broken = False


def check_usable(address: str) -> None:
    """Before a channel is opened or used.

    Raises:
        UnsupportedError: In a child that was forked while another thread was in gRPC.
    """
    if _Child.broken:
        raise UnsupportedError(
            f"{address} cannot be called from a process that was forked while another thread of it was in gRPC; "
            "start it with multiprocessing's spawn or forkserver"
        )


@contextlib.contextmanager
def in_grpc() -> Iterator[None]:
    """Around every call."""
    call = object()
    _inside.add(call)
    try:
        yield
    finally:
        _inside.discard(call)


def note_server() -> None:
    """This process has gRPC servers, whose loop is inside gRPC all the time."""
    _inside.add(note_server)


def _after_fork_in_child() -> None:
    _Child.broken = _Child.broken or bool(_inside)
    _inside.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
