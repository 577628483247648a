"""Filters of an open index: a text becomes the rows that the engine may return, once."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiervec import _core
from tiervec.attributes.filter_text import parse_filter
from tiervec.attributes.filter_tree import checked_tree
from tiervec.attributes.table import AttributeTable
from tiervec.errors import InvalidArgumentError
from tiervec.index_files.equal_rows import ListedCopies

__all__ = ["CompiledFilter", "RowFilters", "native_filter"]

_KEPT_BYTES: Final = 64 << 20  # of filters that are used again
_LONGEST_KEY: Final = 1 << 16


class CompiledFilter(NamedTuple):
    """What a filter means for an open index.

    Attributes:
        rows: What the engine may return.
        matching: Vectors that match, copies counted.
        copies: The listed copies that match, or None.
    """

    rows: _core.RowFilter
    matching: int
    copies: ListedCopies | None


class RowFilters:
    """The filters of one open index.

    Args:
        table: Its attributes, or None: then every filter is refused.
        vectors: Vectors that the index stores.
        order: (vectors,): the row of the data at each row of the engine; None: they are the same.
        copies: Its listed copies, or None.
        name: The index, for messages.
    """

    def __init__(
        self,
        table: AttributeTable | None,
        vectors: int,
        order: NDArray[np.uint32] | None,
        copies: ListedCopies | None,
        name: str,
    ) -> None:
        self._table, self._vectors, self._order, self._copies, self._name = table, vectors, order, copies, name
        self._kept: OrderedDict[str, CompiledFilter] = OrderedDict()

    def compiled(self, given: Any) -> CompiledFilter:
        """The rows that a filter admits; `given` is a text or a tree of dicts.

        Raises:
            InvalidArgumentError: It does not parse, or does not fit the attributes.
        """
        if self._table is None:
            raise InvalidArgumentError(
                f"{self._name} has no attributes to filter by; give them when it is built: build(..., attributes=...)"
            )
        if not isinstance(given, str | Mapping):
            raise InvalidArgumentError(f"filter is {type(given).__name__}; it must be a text or a tree of dicts")
        key = given if isinstance(given, str) else json.dumps(given, sort_keys=True, default=repr)
        found = self._kept.get(key)
        if found is None:
            tree = parse_filter(given) if isinstance(given, str) else given
            found = self._made(checked_tree(tree, self._table.types).admitted(self._table))
            if len(key) <= _LONGEST_KEY:
                self._keep(key, found)
        return found

    def _keep(self, key: str, compiled: CompiledFilter) -> None:
        self._kept[key] = compiled
        while len(self._kept) > max(1, _KEPT_BYTES // (self._vectors // 8 + 1)):
            self._kept.popitem(last=False)

    def _made(self, admitted: NDArray[np.bool_]) -> CompiledFilter:
        assert self._table is not None
        stored, listed = admitted[: self._vectors], admitted[self._vectors :]
        copies = None
        found = stored
        if self._copies is not None and len(listed):
            copies = self._copies.admitted(listed, stored[self._table.stand_ins])
            found = stored.copy()
            found[self._table.stand_ins[listed]] = True
        rows = native_filter(found if self._order is None else found[self._order])
        return CompiledFilter(rows=rows, matching=int(admitted.sum()), copies=copies)


def native_filter(admitted: NDArray[np.bool_]) -> _core.RowFilter:
    """The engine's filter of a mask of its rows.

    Example:
        >>> native_filter(np.array([True, False, True])).matching
        2
    """
    words = np.zeros(-(-len(admitted) // 64) * 8, np.uint8)
    packed = np.packbits(admitted, bitorder="little")
    words[: len(packed)] = packed
    return _core.RowFilter(len(admitted), words.view(np.uint64))
