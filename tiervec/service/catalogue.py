"""The indexes a server has open, by name, and which of them can answer now."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from tiervec.errors import NotFoundError

if TYPE_CHECKING:
    from tiervec.api import Index

__all__ = ["IndexCatalogue"]

_log = logging.getLogger(__name__)


class IndexCatalogue:
    """Owns open indexes; names are fixed for its life, availability changes.

    Args:
        indexes: Open indexes by name; closed by ``close``.
    """

    def __init__(self, indexes: Mapping[str, Index]) -> None:
        self._indexes = dict(sorted(indexes.items()))
        self._unavailable: set[str] = set()
        self._lock = threading.Lock()
        self._listener: Callable[[str, bool], None] = lambda _name, _available: None

    def __iter__(self) -> Iterator[tuple[str, Index]]:
        return iter(self._indexes.items())

    def get(self, name: str) -> Index:
        """The open index of that name.

        Raises:
            NotFoundError: There is none; the message lists what there is.
        """
        try:
            return self._indexes[name]
        except KeyError:
            known = ", ".join(self._indexes) or "none"
            raise NotFoundError(f"index {name!r} is not served here; served: {known}") from None

    def on_change(self, listener: Callable[[str, bool], None]) -> None:
        """Calls ``listener(name, available)`` now for every index, and from then on at each change."""
        with self._lock:
            self._listener = listener
            for name in self._indexes:
                listener(name, name not in self._unavailable)

    def set_available(self, name: str, available: bool) -> None:
        """Notes whether the tier of an index answers; tells the listener when that is news."""
        with self._lock:
            if available == (name not in self._unavailable):
                return
            state = "available again" if available else "unavailable: its tier does not answer"
            _log.warning("index %r is %s", name, state)
            (self._unavailable.discard if available else self._unavailable.add)(name)
            self._listener(name, available)

    def unavailable(self) -> list[str]:
        """Names of the indexes whose tier did not answer last time."""
        with self._lock:
            return sorted(self._unavailable)

    def close(self) -> None:
        """Closes every index."""
        for index in self._indexes.values():
            index.close()
