"""Calibration: which search parameters reach which recall, measured when the index is built and stored with it.

For each k a grid of one or two search parameters is run on queries whose exact neighbours are known. `choose` reads the
grid: for each value of the coarse parameter it interpolates the fine one that just reaches the target, and takes the
cheapest pair.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiervec import _core
from tiervec.arguments.parameter_checks import check_fraction
from tiervec.errors import DataLossError, InvalidArgumentError
from tiervec.machine.interruptible import BuildProgress

__all__ = [
    "DEFAULT_TARGET_RECALL",
    "CalibrationGrid",
    "CalibrationQueries",
    "ChosenSearch",
    "Measured",
    "Params",
    "calibrate",
    "calibrated_depths",
    "choose",
    "is_searched_whole",
    "most_thorough",
    "reached",
]

_logger = logging.getLogger(__name__)

DEFAULT_TARGET_RECALL = 0.95  # of a search without parameters, unless the build sets another

_QUERIES = 500
_LEAST_BASE = 100  # fewer vectors are searched whole: the queries held out of them are too few to measure recall with
_LEAST_HIDDEN = 25
_KS = (1, 10, 100)
_SELF_QUERIES = 100
_INDEPENDENT = 10  # neighbours of one query that count as so many samples
_UNLIMITED = 0.99  # of the reads without a limit
_ROUNDING = 1e-6  # relative, of a float32 distance
_ENOUGH = 0.999
_OUT_OF_REACH = 0.995  # below it the grid grows
_GROWTH = 1.5
_COARSER_GROWTH = 4  # a coarser grid ends at so many times its largest values
_BEYOND_K = 4  # what grows with k is at least so many times k beyond the calibration

Row = Mapping[str, float]
Params = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class CalibrationGrid:
    """The search parameters of a kind of index that are calibrated, and the values that are tried.

    Attributes:
        fine: The parameter that is interpolated; larger is more thorough.
        fine_values: Ascending.
        coarse: Another parameter, larger is more thorough; None: there is only one.
        coarse_values: Ascending.
        unlimited: The value of `fine` that is more thorough than all others, or None when it has none.
        at_least_k: The parameter that must not be smaller than k, or None.
        most: The largest value of `at_least_k`.
        limits: Largest values that the grid grows to where its own do not reach a high recall; empty: it does not grow.
        whole_numbers: True when `fine` is an integer.
        code_weight: What a distance by code costs, in reads.
    """

    fine: str
    fine_values: tuple[float, ...]
    coarse: str | None = None
    coarse_values: tuple[float, ...] = ()
    unlimited: float | None = None
    at_least_k: str | None = None
    most: float = math.inf
    limits: Mapping[str, float] = field(default_factory=dict)
    whole_numbers: bool = False
    code_weight: float = 0.0

    @property
    def depends_on_k(self) -> bool:
        """False when a search finds the same vectors for every k, and returns the first k of them."""
        return self.at_least_k is not None

    @property
    def names(self) -> tuple[str, ...]:
        """The calibrated parameters."""
        return (self.fine,) if self.coarse is None else (self.coarse, self.fine)

    def values(self, name: str, k: int) -> list[float]:
        """The values of a parameter that are tried for `k`."""
        values = self.fine_values if name == self.fine else self.coarse_values
        if name != self.at_least_k:
            return list(values)
        return [value for value in values if value >= k] or [float(k) if isinstance(values[-1], float) else k]

    def coarser(self) -> CalibrationGrid:
        """The grid with fewer values, for queries that are few; it does not grow as far."""
        limits = {name: min(limit, _COARSER_GROWTH * self.values(name, 1)[-1]) for name, limit in self.limits.items()}
        if self.coarse is None:
            return replace(self, limits=limits)
        return replace(
            self,
            coarse_values=self.coarse_values[1::2] or self.coarse_values,
            fine_values=self.fine_values if self.unlimited is None else (),
            limits=limits,
        )

    def cost(self, row: Row) -> float:
        """What a query costs, in reads."""
        return row["reads"] + self.code_weight * row.get("code_distances", 0.0)

    def group(self, row: Row) -> float:
        """Rows of one group differ in `fine` only."""
        return 0.0 if self.coarse is None else row[self.coarse]

    def is_unlimited(self, row: Row) -> bool:
        """True when `fine` does not limit the search."""
        return self.unlimited is not None and row[self.fine] == self.unlimited


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """One run of the calibration queries: distances found (nq, k), and means per query.

    Attributes:
        distances: float32 (nq, k), nearest first.
        reads: Reads on the tier.
        code_distances: Distances calculated by code.
        compared: Vectors that were read and compared; a read may hold many.
    """

    distances: NDArray[np.float32]
    reads: float
    code_distances: float = 0.0
    compared: float = 0.0


#: Runs the calibration queries with k and these parameters.
SearchAt = Callable[[int, Params], Measured]
#: A row of the table for k and these parameters, and the reads of a query, not rounded; None: the budget is spent.
_MeasureAt = Callable[[int, Params], tuple[dict[str, float], float] | None]


@dataclass(frozen=True, kw_only=True, eq=False)
class CalibrationQueries:
    """Queries to measure recall with.

    Attributes:
        vectors: (nq, dim) of the index's query dtype.
        source: Where they are from: ``given`` or ``held-out base vectors``.
        rows: For queries that are base vectors, else None: the row that is hidden from the query's own search,
            ascending; then -1 for queries that find themselves.
        unlinked: Rows that no search can find yet, where these are others than `rows`.
    """

    vectors: NDArray[Any]
    source: str
    rows: NDArray[np.int64] | None = None
    unlinked: NDArray[np.int64] | None = None

    @classmethod
    def given(cls, vectors: NDArray[Any]) -> CalibrationQueries:
        """Queries that the user gave; at most the first 500 are used."""
        return cls(vectors=np.ascontiguousarray(vectors[:_QUERIES]), source="given")

    @classmethod
    def held_out(cls, base: NDArray[Any], seed: int) -> CalibrationQueries:
        """A sample of the base vectors, most of them hidden from their own search; empty when there are too few.

        A hidden one stands for a new query. The others must find themselves: on data where all neighbours of a hidden
        one are equally far, every answer to it is right, and only they can tell.
        """
        if len(base) < _LEAST_BASE:
            return cls(vectors=base[:0], source="held-out base vectors", rows=np.empty(0, np.int64))
        hidden = min(_QUERIES, max(len(base) // 10, _LEAST_HIDDEN))
        found = min(_SELF_QUERIES, len(base) - hidden)
        random = np.random.default_rng(seed + 1)
        rows = np.sort(random.choice(len(base), hidden, replace=False, shuffle=False))
        others = np.delete(np.arange(len(base)), rows)
        others = np.sort(random.choice(others, found, replace=False, shuffle=False))
        vectors = np.concatenate([base[rows], base[others]])
        if vectors.dtype == np.float16:
            vectors = vectors.astype(np.float32)
        return cls(
            vectors=np.ascontiguousarray(vectors),
            source="held-out base vectors",
            rows=np.concatenate([rows, np.full(found, -1)]).astype(np.int64),
        )

    @property
    def hidden_rows(self) -> NDArray[np.int64]:
        """Rows of the base vectors that are hidden from their own search, ascending."""
        return np.empty(0, np.int64) if self.rows is None else self.rows[self.rows >= 0]

    @property
    def groups(self) -> list[slice]:
        """Queries whose recall must reach the target, each group by itself."""
        hidden = len(self.vectors) if self.rows is None else len(self.hidden_rows)
        return [group for group in (slice(0, hidden), slice(hidden, None)) if len(self.vectors[group])]

    def exact_distances(
        self, base: NDArray[Any], metric: str, threads: int, monitor: _core.WorkMonitor, *, indexed: bool = True
    ) -> NDArray[np.float32]:
        """Distances of the exact nearest neighbours, nearest first, (nq, up to 100).

        A base vector that is hidden from its own search is not its own neighbour. `indexed`: it is one of the other
        queries; else the index is without all that are hidden.
        """
        hidden = self.hidden_rows if self.unlinked is None else self.unlinked
        others = len(base) if len(self.hidden_rows) == 0 else len(base) - 1
        k = min(max(_KS), others)
        if len(hidden) == 0 or indexed:
            _, distances = _core.exact_search(base, metric, self.vectors, k, self.rows, threads, monitor)
            return np.asarray(distances)
        # Some neighbours are queries themselves: look for more, and drop those.
        k = min(k + 20 + 4 * max(_KS) * len(hidden) // len(base), others)
        ids, distances = _core.exact_search(base, metric, self.vectors, k, self.rows, threads, monitor)
        there = ~np.isin(ids, hidden)
        depth = min(max(_KS), int(there.sum(axis=1).min()))
        first = np.argsort(~there, axis=1, kind="stable")[:, :depth]
        return np.asarray(np.take_along_axis(distances, first, axis=1))


@dataclass(frozen=True, kw_only=True)
class ChosenSearch:
    """What `choose` found: parameters, the recall they reached in calibration, and a note when it is not enough."""

    params: Params
    recall: float
    note: str | None = None


def recall_by_distance(found: NDArray[np.float32], exact: NDArray[np.float32], k: int) -> float:
    """Mean share of the first k neighbours that were found, by their distances.

    Unlike `tiervec.recall` it takes a vector for another one at the same distance: data with duplicates would else be
    calibrated as if they were errors. But those at the distance of the k-th neighbour do not make up for nearer ones.

    Example:
        >>> exact = np.array([[1, 2, 2]], np.float32)
        >>> recall_by_distance(np.array([[1, 3]], np.float32), exact, 2)
        0.5
        >>> recall_by_distance(np.array([[2, 2]], np.float32), exact, 2)
        0.5
    """
    kth = exact[:, k - 1 : k]
    rounding = _ROUNDING * np.abs(kth)

    def nearer(distances: NDArray[np.float32]) -> NDArray[np.int64]:
        return np.asarray((distances[:, :k] < kth - rounding).sum(axis=1))

    ties = (found[:, :k] <= kth + rounding).sum(axis=1) - nearer(found)
    expected = nearer(exact)
    hits = np.minimum(nearer(found), expected) + np.minimum(ties, k - expected)
    return float(hits.mean() / k)


def calibrate(
    grid: CalibrationGrid,
    search: SearchAt,
    expected: NDArray[np.float32],
    queries: CalibrationQueries,
    progress: BuildProgress | None,
    *,
    stage: str = "calibration",
    usual: Mapping[int, NDArray[np.bool_]] | None = None,
    budget: float = math.inf,
) -> dict[str, Any]:
    """Measures the grid.

    Args:
        grid: The parameters and their values.
        search: Runs the queries.
        expected: Distances of the exact neighbours, nearest first, (nq, depth).
        queries: The queries; of their groups the one with the lowest recall counts.
        progress: Progress callback or None.
        stage: How progress calls it.
        usual: By k, which queries of the first group count, (its size,); None: all. Others are searched again.
        budget: Vectors that may be compared. When they have been, tables end early, and the log says so. One row of
            each table is measured in any case, and one may exceed the budget.

    Returns:
        JSON values: ``{"source", "queries", "tables": {k: [{<parameters of the grid>, "recall", "reads"}]}}``.
    """
    first, *others = queries.groups

    def counted(k: int) -> list[Any]:
        return [first if usual is None else np.arange(len(queries.vectors))[first][usual[k]], *others]

    depths = calibrated_depths(expected.shape[1])
    runs = _Runs(grid, search, len(expected), depths, budget, stage)

    def measure(k: int, params: Params) -> tuple[dict[str, float], float] | None:
        found = runs.run(k, params)
        if found is None:
            return None
        recalls = [recall_by_distance(found.distances[group], expected[group], k) for group in counted(k)]
        row = {**params, "recall": round(min(recalls), 5), "reads": round(found.reads, 3)}
        if grid.code_weight:
            row["code_distances"] = round(found.code_distances, 1)
        return row, found.reads

    tables: dict[str, list[dict[str, float]]] = {}
    for step, k in enumerate(depths):
        table: list[dict[str, float]] = []
        for coarse in [None] if grid.coarse is None else grid.values(grid.coarse, k):
            if _measure_group(grid, measure, k, coarse, table) >= _ENOUGH:
                break
        _grow(grid, measure, k, table)
        tables[str(k)] = table
        if progress is not None:
            progress(stage, step + 1, len(depths), None)
    return {"source": queries.source, "queries": len(expected), "tables": tables}


class _Runs:
    """Runs the queries until a budget of compared vectors is spent, of which each k has an equal part."""

    def __init__(
        self, grid: CalibrationGrid, search: SearchAt, queries: int, depths: Sequence[int], budget: float, stage: str
    ) -> None:
        self._grid, self._search, self._queries, self._depths = grid, search, queries, depths
        self._budget, self._stage = budget, stage
        self._spent = 0.0
        self._ended: set[int] = set()
        self._begun: set[int] = set()
        self._kept: dict[tuple[float, ...], Measured] = {}  # of a grid that does not depend on k

    def run(self, k: int, params: Params) -> Measured | None:
        """What the queries found; None when the budget is spent, unless it is the first run for this k."""
        key = tuple(params.values())
        if (kept := self._kept.get(key)) is not None:
            return kept
        share = (self._depths.index(k) + 1) / len(self._depths) if self._grid.depends_on_k else 1.0
        if k in self._begun and self._spent >= share * self._budget:
            self._log_end(k, params)
            return None
        found = self._search(k if self._grid.depends_on_k else self._depths[-1], params)
        self._spent += self._queries * (found.compared + self._grid.code_weight * found.code_distances)
        self._begun.add(k)
        if not self._grid.depends_on_k:
            self._begun.update(self._depths)
            self._kept[key] = found
        return found

    def _log_end(self, k: int, params: Params) -> None:
        if k in self._ended:
            return
        self._ended.add(k)
        _logger.info(
            "%s: k=%d ends before %s, because %s vectors were compared, of %s that may be",
            self._stage,
            k,
            ", ".join(f"{name}={value:g}" for name, value in params.items()),
            f"{self._spent:,.0f}",
            f"{self._budget:,.0f}",
        )


def calibrated_depths(depth: int) -> list[int]:
    """The k that are calibrated where `depth` neighbours are known.

    Example:
        >>> calibrated_depths(100), calibrated_depths(30)
        ([1, 10, 100], [1, 10])
    """
    return [k for k in _KS if k <= depth] or [depth]


def _grow(grid: CalibrationGrid, measure: _MeasureAt, k: int, table: list[dict[str, float]]) -> None:
    """Adds rows beyond the grid's own, each more thorough in all that may grow, until one reaches a high recall."""
    while table[-1]["recall"] < _OUT_OF_REACH:
        last = table[-1]
        params = {
            name: last[name]
            if name not in grid.limits
            else max(last[name], min(math.ceil(last[name] * _GROWTH), grid.limits[name]))
            for name in grid.names
        }
        if all(params[name] == last[name] for name in grid.names):
            return
        found = measure(k, params)
        if found is None:
            return
        table.append(found[0])


def _measure_group(
    grid: CalibrationGrid, measure: _MeasureAt, k: int, coarse: float | None, table: list[dict[str, float]]
) -> float:
    """Adds the rows of one value of the coarse parameter; the recall of its last and most thorough row."""
    fixed = {} if grid.coarse is None or coarse is None else {grid.coarse: coarse}
    last = None if grid.unlimited is None else measure(k, {**fixed, grid.fine: grid.unlimited})
    for value in grid.values(grid.fine, k):
        measured = measure(k, {**fixed, grid.fine: value})
        if measured is None:
            break
        found, reads = measured
        if last is not None and reads >= last[1] * _UNLIMITED:  # something else ends the search before this limit does
            break
        table.append(found)
        if last is None and found["recall"] >= _ENOUGH:
            break
    if last is not None:
        table.append(last[0])
    return table[-1]["recall"]


def reached(calibration: Mapping[str, Any]) -> dict[int, float]:
    """The best recall that the calibration measured, by k.

    Example:
        >>> reached({"tables": {"10": [{"search_list": 16, "recall": 0.9}, {"search_list": 32, "recall": 0.97}]}})
        {10: 0.97}

    Raises:
        DataLossError: The calibration is no table that `calibrate` makes.
    """
    try:
        return {int(k): max(row["recall"] for row in rows) for k, rows in calibration["tables"].items()}
    except (KeyError, TypeError, ValueError, ZeroDivisionError, AttributeError) as error:
        raise DataLossError(f"the calibration of the index is not what was written: {error!r}") from error


def choose(
    grid: CalibrationGrid, calibration: Mapping[str, Any] | None, k: int, target_recall: float, vectors: int
) -> ChosenSearch:
    """The cheapest parameters that reached `target_recall` in calibration.

    A k between two calibrated ones takes the more thorough value of each parameter, so there a higher target may come
    with fewer reads. Beyond the largest, or above what was reached, the most thorough ones are taken, and the note says
    so. Fewer than 100 vectors are searched whole, even when calibration queries were given.

    Raises:
        InvalidArgumentError: A target outside (0, 1], or an index without calibration.
        DataLossError: The calibration is no table that `calibrate` makes.
    """
    check_fraction("target_recall", target_recall)
    if is_searched_whole(vectors):
        return ChosenSearch(params=_everything(grid, max(vectors, k)), recall=1.0)
    if calibration is None:
        raise InvalidArgumentError(
            f"target_recall needs a calibrated index, and this one has none; give {' and '.join(grid.names)}"
        )
    try:
        surely = _surely(target_recall, k, calibration["queries"])
        chosen = _choose(grid, calibration["tables"], k, surely)
        return chosen if chosen.note is None else _choose(grid, calibration["tables"], k, target_recall)
    except (KeyError, TypeError, ValueError, ZeroDivisionError, AttributeError) as error:
        raise DataLossError(f"the calibration of the index is not what was written: {error!r}") from error


def _everything(grid: CalibrationGrid, most: int) -> Params:
    """Parameters that search an index of so many vectors whole."""
    params: Params = dict.fromkeys(grid.names, most)
    if grid.unlimited is not None:
        params[grid.fine] = grid.unlimited
    if grid.at_least_k is not None:
        params[grid.at_least_k] = min(params[grid.at_least_k], grid.most)
    return params


def _surely(target_recall: float, k: int, queries: int) -> float:
    """The recall to look for, so that the target is reached although it was measured on so many queries only.

    It is higher by a standard error, as if the neighbours of a query were found or missed independently.
    """
    samples = queries * min(k, _INDEPENDENT)
    return min(target_recall + math.sqrt(target_recall * (1 - target_recall) / samples), 1)


def is_searched_whole(vectors: int) -> bool:
    """True for so few vectors that a calibration has nothing to choose."""
    return vectors < _LEAST_BASE


def _choose(grid: CalibrationGrid, stored: Mapping[str, Any], k: int, target_recall: float) -> ChosenSearch:
    tables = {int(key): rows for key, rows in stored.items()}
    deepest = max(tables)
    around = {
        max((depth for depth in tables if depth <= k), default=min(tables)),
        min((depth for depth in tables if depth >= k), default=deepest),
    }
    found = [_cheapest(grid, tables[depth], target_recall) for depth in sorted(around)]
    if len({grid.is_unlimited(chosen.params) for chosen in found if chosen is not None}) == 2:
        # Without a limit a short list is cheap, the other one's long list is not: compare limits with limits.
        limited = [_cheapest(grid, tables[depth], target_recall, limited_only=True) for depth in sorted(around)]
        found = found if None in limited else limited
    if k > deepest or None in found:
        return _beyond(grid, tables[max(around)], max(around), k, target_recall)
    chosen = most_thorough(grid, [chosen for chosen in found if chosen is not None])
    if (
        len(found) == 2
        and grid.at_least_k is not None
        and all(c is not None and grid.is_unlimited(c.params) for c in found)
    ):
        # The whole list is expanded: one that is too long for k costs as much as it is long.
        lengths = [c.params[grid.at_least_k] for c in found if c is not None]
        chosen.params[grid.at_least_k] = math.ceil(np.interp(k, sorted(around), lengths))
    return chosen


def _beyond(grid: CalibrationGrid, table: Sequence[Row], depth: int, k: int, target_recall: float) -> ChosenSearch:
    """The most thorough parameters of the table, and more of what must hold k."""
    reached = max((row["recall"] for row in table), default=0.0)
    params = {name: max(row[name] for row in table) for name in grid.names}
    if grid.unlimited is not None:
        params[grid.fine] = grid.unlimited
    if grid.at_least_k is not None:
        params[grid.at_least_k] = min(max(params[grid.at_least_k], _BEYOND_K * k), grid.most)
    used = " and ".join(f"{name}={value:g}" for name, value in params.items() if value != grid.unlimited)
    return ChosenSearch(
        params=params,
        recall=reached,
        note=f"target_recall={target_recall} with k={k} is beyond the calibration, which reached {reached:.3f} with "
        f"k={depth}; {used} was used",
    )


def _cheapest(
    grid: CalibrationGrid, table: Sequence[Row], target: float, *, limited_only: bool = False
) -> ChosenSearch | None:
    """The cheapest parameters that reach the target; None if none do."""
    table = [row for row in table if not (limited_only and grid.is_unlimited(row))]
    reaching = [
        reached
        for value in sorted({grid.group(row) for row in table})
        if (reached := _reach(grid, [row for row in table if grid.group(row) == value], target)) is not None
    ]
    return min(reaching, key=lambda pair: pair[0])[1] if reaching else None


def most_thorough(grid: CalibrationGrid, choices: Sequence[ChosenSearch]) -> ChosenSearch:
    """Parameters at least as thorough as those of each choice."""
    params = {name: max(chosen.params[name] for chosen in choices) for name in grid.names}
    if grid.unlimited is not None and any(grid.is_unlimited(chosen.params) for chosen in choices):
        params[grid.fine] = grid.unlimited
    return ChosenSearch(params=params, recall=min(chosen.recall for chosen in choices))


def _reach(grid: CalibrationGrid, rows: Sequence[Row], target: float) -> tuple[float, ChosenSearch] | None:
    """For one group: (cost, parameters) where `fine` just reaches the target; None if it never does."""
    below: Row | None = None
    for row in rows:  # by growing thoroughness
        if row["recall"] < target:
            below = row
            continue
        fine, cost = row[grid.fine], grid.cost(row)
        if below is not None and not grid.is_unlimited(row) and row["recall"] > below["recall"]:
            share = (target - below["recall"]) / (row["recall"] - below["recall"])
            fine = below[grid.fine] + share * (fine - below[grid.fine])
            cost = grid.cost(below) + share * (cost - grid.cost(below))
        params = {name: row[name] for name in grid.names}
        params[grid.fine] = math.ceil(fine) if grid.whole_numbers else round(fine, 5)
        return cost, ChosenSearch(params=params, recall=row["recall"] if below is None else target)
    return None
