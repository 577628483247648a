"""What a search of an open index uses: chosen and checked once for each way of asking, not once a call."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from tiervec.arguments.parameter_checks import check_fraction, checked_params
from tiervec.engine.calibration import DEFAULT_TARGET_RECALL, choose, is_searched_whole
from tiervec.errors import DataLossError, InvalidArgumentError
from tiervec.index_files.info import IndexInfo
from tiervec.kinds.far_queries import FarSearches, choose_far
from tiervec.kinds.index_kind import IndexKind, OpenedIndex

__all__ = ["SearchPlan", "SearchPlanner"]

_MAX_KEPT = 64  # plans of an open index


class SearchPlan(NamedTuple):
    """How one way of asking is answered.

    Attributes:
        params: Search parameters of the kind, as the engine takes them.
        shown: The same for receipts; each gets a copy.
        expected_recall: What the calibration promises, or None.
        notes: Sentences for the receipt.
        far: How queries are searched again that are farther from the vectors than usual; None: they are not.
    """

    params: Any
    shown: dict[str, Any]
    expected_recall: float | None
    notes: tuple[str, ...]
    far: FarSearches | None = None


class SearchPlanner:
    """Plans the searches of one open index.

    Args:
        kind: The index's kind.
        info: What the index is.
        opened: The open index; it lives as long as the planner.
        stored_vectors: Vectors that are stored; equal ones are stored once.
    """

    def __init__(
        self, kind: IndexKind[Any, Any], info: IndexInfo, opened: OpenedIndex[Any], stored_vectors: int
    ) -> None:
        self._kind, self._info, self._opened = kind, info, opened
        self._stored_vectors = stored_vectors
        self._target_recall = info.params.get("target_recall", DEFAULT_TARGET_RECALL)
        self._is_calibrated = info.calibration is not None or is_searched_whole(stored_vectors)
        self._kept: dict[Any, SearchPlan] = {}

    def plan(self, k: int, target_recall: object, params: object) -> SearchPlan:
        """The plan for a call of ``Index.search`` with these arguments.

        Raises:
            InvalidArgumentError: An argument that the kind does not take.
            DataLossError: The calibration is not what was written.
        """
        try:
            key = _key(k, target_recall, params)
            found = self._kept.get(key)
        except TypeError:  # a value without a hash: it is refused, or is an array of one number
            return self._made(k, target_recall, params)
        if found is None:
            found = self._made(k, target_recall, params)
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            self._kept[key] = found
        return found

    def _made(self, k: int, target_recall: Any, params: Any) -> SearchPlan:
        given, target_recall, notes = self._checked(target_recall, params)
        if target_recall is None:
            used = self._opened.fitted(given, k)
            return SearchPlan(used, dataclasses.asdict(used), None, notes)
        grid, calibration = self._opened.grid, self._info.calibration
        chosen = choose(grid, calibration, k, target_recall, self._stored_vectors)

        def resolve(values: Mapping[str, float]) -> Any:
            return self._opened.fitted(dataclasses.replace(given, **_whole_numbers(values)), k)

        try:
            used = resolve(chosen.params)
            far = None
            if calibration is not None:
                far = choose_far(
                    grid, calibration, k, target_recall, self._stored_vectors, usual=chosen, resolve=resolve
                )
        except InvalidArgumentError as error:
            raise DataLossError(f"the calibration of the index is not what was written: {error}") from error
        notes = () if chosen.note is None else (chosen.note,)
        return SearchPlan(used, dataclasses.asdict(used), chosen.recall, notes, far)

    def _checked(self, target_recall: Any, params: Any) -> tuple[Any, float | None, tuple[str, ...]]:
        """(parameters, the recall to choose others by or None, notes)."""
        given = checked_params(params, self._kind.search_params, "search", self._info.kind)
        fixed = [key for key in self._opened.grid.names if isinstance(params, Mapping) and key in params]
        if target_recall is None:
            if fixed or isinstance(params, self._kind.search_params):
                return given, None, ()
            if not self._is_calibrated:
                return (
                    given,
                    None,
                    ("the index is not calibrated, so its recall is unknown; default parameters were used",),
                )
            target_recall = self._target_recall
        elif fixed:
            raise InvalidArgumentError(f"target_recall chooses {fixed[0]} itself; give one of the two")
        return given, check_fraction("target_recall", target_recall), ()


def _key(k: int, target_recall: object, params: object) -> Any:
    """Equal keys mean equal plans: 1, 1.0 and True are equal, but not equally right."""
    if params is None:
        return k, type(target_recall), target_recall
    if isinstance(params, Mapping):
        return k, type(target_recall), target_recall, *((name, type(params[name]), params[name]) for name in params)
    return k, type(target_recall), target_recall, type(params), params


def _whole_numbers(params: Mapping[str, float]) -> dict[str, float]:
    """JSON does not keep 64 and 64.0 apart."""
    return {key: int(value) if float(value).is_integer() else value for key, value in params.items()}
