"""What forks and the end of the interpreter mean for objects of Python; ``tiervec/core/process.h`` says it for C++.

A forked child has one thread: the one that forked. So in a child locks are new, nothing that ran in the parent runs,
and what cannot work there says so in one sentence.

At the end of the interpreter daemon threads may still be in native code. They must not come back from it: CPython ends
a thread that does, inside C++. So native work is counted, stopped and waited for before the interpreter ends.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, NoReturn, Protocol

from tiervec import _core
from tiervec.errors import ResourceExhaustedError, UnavailableError, UnsupportedError

__all__ = [
    "NativeWork",
    "NoThreadError",
    "is_forked",
    "native_work",
    "refuse_pickling",
    "renew_in_children",
    "starting_threads",
]

_REFUSED = "can't start new thread"  # CPython's words, in a bare RuntimeError


class NoThreadError(ResourceExhaustedError):
    """The system gives no more threads."""


class _Renewable(Protocol):
    def renew_after_fork(self) -> None: ...


class _Process:
    forked = False
    ending = False


_process = _Process()
_renewable: weakref.WeakSet[Any] = weakref.WeakSet()


class NativeWork:
    """Native code that runs, or is about to. A context manager around the work, too.

    Attributes:
        cancel: Makes it end soon; None: it ends by itself.
    """

    __slots__ = ("cancel",)

    def __init__(self, cancel: Callable[[], None] | None) -> None:
        self.cancel = cancel

    def begin(self) -> None:
        """Must come before the work, on any thread.

        Raises:
            UnavailableError: The interpreter is ending, and this is not its main thread.
        """
        _running.add(self)
        if _process.ending and threading.current_thread() is not threading.main_thread():
            self.end()
            raise UnavailableError("the interpreter is ending: threads that are left can do nothing more")

    def end(self) -> None:
        """Must come after it, once more is fine."""
        _running.discard(self)

    def __enter__(self) -> NativeWork:
        self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _running.discard(self)


_running: set[NativeWork] = set()


def native_work(cancel: Callable[[], None] | None = None) -> NativeWork:
    """For a ``with`` statement around native work on this thread; see `NativeWork`."""
    return NativeWork(cancel)


@contextlib.contextmanager
def starting_threads(what: str) -> Iterator[None]:
    """Around code that starts threads for `what`, and runs nothing else that could raise RuntimeError of theirs.

    Raises:
        NoThreadError: At once, when the system gives no more.
    """
    try:
        yield
    except RuntimeError as error:
        if str(error) != _REFUSED:
            raise
        raise NoThreadError(
            f"{what} needs a thread and the system gives no more; raise the limit of processes (ulimit -u, or the "
            "container's pids.max)"
        ) from None


def is_forked() -> bool:
    """Whether this process was forked from one that had imported tiervec."""
    return _process.forked


def renew_in_children(renewable: _Renewable) -> None:
    """Has ``renewable.renew_after_fork()`` called in every forked child, for as long as the object lives."""
    _renewable.add(renewable)


def refuse_pickling(what: str, instead: str) -> NoReturn:
    """For ``__reduce__`` of objects that belong to their process.

    Raises:
        UnsupportedError: Always.
    """
    raise UnsupportedError(f"{what} cannot be pickled or copied: it belongs to its process; {instead}")


def _after_fork_in_child() -> None:
    _process.forked = True
    _running.clear()
    for renewable in list(_renewable):
        renewable.renew_after_fork()


def _at_exit() -> None:
    _process.ending = True
    while running := list(_running):
        for work in running:
            if work.cancel is not None:
                work.cancel()
        time.sleep(0.001)
    if threading.active_count() > 1:
        # Their frames never end, and so hold what they use: no leak of ours.
        _core.set_leak_warnings(False)


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_at_exit)
