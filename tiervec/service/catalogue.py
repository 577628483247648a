"""The indexes a server has open, by name, and which of them can answer now."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from numpy.typing import NDArray

from tiervec.arguments.parameter_checks import shown
from tiervec.errors import DataLossError, NotFoundError, TiervecError, UnavailableError

if TYPE_CHECKING:
    from tiervec.api import Index

__all__ = ["IndexCatalogue"]

_log = logging.getLogger(__name__)
_MAX_NAMES: Final = 20  # in a message
_MAX_LOSSES: Final = 3


@dataclass(kw_only=True)
class _State:
    """What the searches of an index have shown.

    Attributes:
        available: It answers.
        answered: A search succeeded since the last look.
        losses: Searches in a row that ended with DataLossError.
        lost_query: A query of the last of them, shape (1, dim), or None.
    """

    available: bool = True
    answered: bool = False
    losses: int = 0
    lost_query: NDArray[Any] | None = None


class IndexCatalogue:
    """Owns open indexes; names are fixed for its life, availability changes.

    An index is unavailable after one search that its tier did not answer, after three searches in a row that met
    damaged data, or when a look at it fails (`tiervec.service.health`); it is available again after one that succeeds.

    Args:
        indexes: Open indexes by name; closed by ``close``.
    """

    def __init__(self, indexes: Mapping[str, Index]) -> None:
        self._indexes = dict(sorted(indexes.items()))
        self._states = {name: _State() for name in self._indexes}
        self._lock = threading.Lock()
        self._listener: Callable[[str, bool], None] = lambda _name, _available: None
        self._on_doubt: Callable[[], None] = lambda: None

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
            known = ", ".join(shown(known)[1:-1] for known in list(self._indexes)[:_MAX_NAMES]) or "none"
            more = len(self._indexes) - _MAX_NAMES
            known += f" and {more} more" if more > 0 else ""
            raise NotFoundError(f"index {shown(name)} is not served here; served: {known}") from None

    def on_change(self, listener: Callable[[str, bool], None], on_doubt: Callable[[], None] = lambda: None) -> None:
        """Calls ``listener(name, available)`` now for every index, and from then on at each change.

        Args:
            listener: As above.
            on_doubt: Called when a search meets damaged data; `doubtful` says of which indexes.
        """
        with self._lock:
            self._listener = listener
            self._on_doubt = on_doubt
            for name, state in self._states.items():
                listener(name, state.available)

    def answered(self, name: str) -> None:
        """A search of the index succeeded."""
        with self._lock:
            state = self._states[name]
            state.answered = True
            state.losses, state.lost_query = 0, None
            self._set(name, True, "")

    def failed(self, name: str, error: TiervecError, query: NDArray[Any] | None = None) -> None:
        """A search of the index failed with `error`; `query`, shape (1, dim), was one of its queries."""
        if isinstance(error, UnavailableError):
            with self._lock:
                self._set(name, False, str(error))
        elif isinstance(error, DataLossError):
            with self._lock:
                state = self._states[name]
                state.losses += 1
                state.lost_query = None if query is None else query.copy()
                if state.losses >= _MAX_LOSSES:
                    self._set(name, False, str(error))
            self._on_doubt()

    def set_available(self, name: str, available: bool, why: str = "its tier does not answer") -> None:
        """Notes what a look at an index found; tells the listener when that is news."""
        with self._lock:
            if available:
                self._states[name].losses, self._states[name].lost_query = 0, None
            self._set(name, available, why)

    def doubtful(self) -> dict[str, NDArray[Any] | None]:
        """Indexes that do not answer or whose last search met damaged data, with a query that met it."""
        with self._lock:
            return {
                name: state.lost_query for name, state in self._states.items() if state.losses or not state.available
            }

    def silent(self) -> list[str]:
        """Indexes without a search that succeeded since the last call of this method."""
        with self._lock:
            names = [name for name, state in self._states.items() if not state.answered]
            for state in self._states.values():
                state.answered = False
            return names

    def close(self) -> None:
        """Closes every index."""
        for index in self._indexes.values():
            index.close()

    def _set(self, name: str, available: bool, why: str) -> None:
        state = self._states[name]
        if state.available == available:
            return
        state.available = available
        _log.warning("index %r is %s", name, "available again" if available else f"unavailable: {why}")
        self._listener(name, available)
