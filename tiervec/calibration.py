"""Calibration: which search parameters reach which recall, measured when the index is built and stored with it.

For each k a grid of (search_list, stop_margin) is run on queries whose exact neighbours are known. `choose` reads the
grid: for each list length it interpolates the margin that just reaches the target and takes the pair with the fewest
reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiervec import _core
from tiervec.errors import DataLossError, InvalidArgumentError
from tiervec.interruptible import BuildProgress

__all__ = ["CalibrationQueries", "ChosenSearch", "calibrate", "choose"]

_QUERIES = 500
_LEAST_BASE = 50  # fewer vectors are searched whole anyway
_KS = (1, 10, 100)
_LISTS = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
_MARGINS = (0.02, 0.05, 0.08, 0.11, 0.15, 0.2, 0.3, 0.5)  # and 0, the whole list, last in a table
_WHOLE_LIST = 0.99  # of its reads
_ROUNDING = 1e-6  # relative, of a float32 distance
_ENOUGH = 0.999

#: Runs the calibration queries: (k, search_list, stop_margin) to (distances found (nq, k), mean reads per query).
SearchAt = Callable[[int, int, float], tuple[NDArray[np.float32], float]]


@dataclass(frozen=True, kw_only=True, eq=False)
class CalibrationQueries:
    """Queries to measure recall with.

    Attributes:
        vectors: (nq, dim) of the index's query dtype.
        source: Where they are from: ``given`` or ``held-out base vectors``.
        rows: For queries that are base vectors: their rows, ascending; else None.
    """

    vectors: NDArray[Any]
    source: str
    rows: NDArray[np.int64] | None = None

    @classmethod
    def given(cls, vectors: NDArray[Any]) -> CalibrationQueries:
        """Queries that the user gave; at most the first 500 are used."""
        return cls(vectors=np.ascontiguousarray(vectors[:_QUERIES]), source="given")

    @classmethod
    def held_out(cls, base: NDArray[Any], seed: int) -> CalibrationQueries:
        """A sample of the base vectors; empty when there are too few."""
        count = min(_QUERIES, max(len(base) // 10, _LEAST_BASE // 2)) if len(base) >= _LEAST_BASE else 0
        rows = np.sort(np.random.default_rng(seed + 1).choice(len(base), count, replace=False, shuffle=False))
        vectors = base[rows]
        if vectors.dtype == np.float16:
            vectors = vectors.astype(np.float32)
        return cls(vectors=np.ascontiguousarray(vectors), source="held-out base vectors", rows=rows.astype(np.int64))

    def exact_distances(
        self, base: NDArray[Any], metric: str, threads: int, monitor: _core.WorkMonitor
    ) -> NDArray[np.float32]:
        """Distances of the exact nearest neighbours, none of them a query, nearest first, (nq, up to 100)."""
        if self.rows is None:
            _, distances = _core.exact_search(
                base, metric, self.vectors, min(max(_KS), len(base)), None, threads, monitor
            )
            return np.asarray(distances)
        # Some neighbours are queries themselves: look for more, and drop those.
        spare = 20 + 4 * max(_KS) * len(self.rows) // len(base)
        k = min(max(_KS) + spare, len(base) - 1)
        ids, distances = _core.exact_search(base, metric, self.vectors, k, self.rows, threads, monitor)
        indexed = ~np.isin(ids, self.rows)
        depth = min(max(_KS), int(indexed.sum(axis=1).min()))
        first = np.argsort(~indexed, axis=1, kind="stable")[:, :depth]
        return np.asarray(np.take_along_axis(distances, first, axis=1))


@dataclass(frozen=True, kw_only=True)
class ChosenSearch:
    """What `choose` found: parameters, the recall they reached in calibration, and a note when it is not enough."""

    search_list: int
    stop_margin: float
    recall: float
    note: str | None = None


def recall_by_distance(found: NDArray[np.float32], exact: NDArray[np.float32], k: int) -> float:
    """Mean share of the first k found that are no farther than the exact k-th neighbour.

    Unlike `tiervec.recall` it takes a vector for another one at the same distance: data with duplicates would else be
    calibrated as if they were errors.

    Example:
        >>> exact = np.array([[1, 2, 2]], np.float32)
        >>> recall_by_distance(np.array([[1, 3]], np.float32), exact, 2)
        0.5
    """
    kth = exact[:, k - 1 : k]
    return float((found[:, :k] <= kth + _ROUNDING * np.abs(kth)).mean())


def calibrate(
    search: SearchAt, expected: NDArray[np.float32], source: str, progress: BuildProgress | None
) -> dict[str, Any]:
    """Measures the grid.

    Args:
        search: Runs the queries.
        expected: Distances of the exact neighbours, nearest first, (nq, depth).
        source: What kind of queries these are; stored.
        progress: Progress callback or None.

    Returns:
        JSON values: ``{"source", "queries", "tables": {k: [{"search_list", "stop_margin", "recall", "reads"}]}}``.
    """
    depth = expected.shape[1]
    depths = [k for k in _KS if k <= depth] or [depth]
    tables: dict[str, list[dict[str, float]]] = {}
    for step, k in enumerate(depths):
        table: list[dict[str, float]] = []
        for search_list in (length for length in _LISTS if length >= k):
            if _measure_list(search, expected, k, search_list, table) >= _ENOUGH:
                break
        tables[str(k)] = table
        if progress is not None:
            progress("calibration", step + 1, len(depths), None)
    return {"source": source, "queries": len(expected), "tables": tables}


def _measure_list(
    search: SearchAt, expected: NDArray[np.float32], k: int, search_list: int, table: list[dict[str, float]]
) -> float:
    """Adds the rows of one list length; the recall of its last row, which is of the whole list."""
    whole, whole_reads = _measure(search, expected, k, search_list, 0.0)
    for margin in _MARGINS:
        found, reads = _measure(search, expected, k, search_list, margin)
        if reads >= whole_reads * _WHOLE_LIST:  # the list ends the search before the margin does
            break
        table.append(found)
    table.append(whole)
    return whole["recall"]


def _measure(
    search: SearchAt, expected: NDArray[np.float32], k: int, search_list: int, margin: float
) -> tuple[dict[str, float], float]:
    distances, reads = search(k, search_list, margin)
    reached = round(recall_by_distance(distances, expected, k), 5)
    row = {"search_list": search_list, "stop_margin": margin, "recall": reached, "reads": round(reads, 3)}
    return row, reads


def choose(calibration: Mapping[str, Any] | None, k: int, target_recall: float, vectors: int) -> ChosenSearch:
    """The parameters with the fewest reads that reached `target_recall` in calibration.

    A k between two calibrated ones takes the longer list and the wider margin of the two. Beyond the largest, or above
    what was reached, the most thorough parameters are taken and the note says so.

    Raises:
        InvalidArgumentError: A target outside (0, 1], or an index without calibration.
        DataLossError: The calibration is no table that `calibrate` makes.
    """
    if isinstance(target_recall, bool) or not isinstance(target_recall, (int, float)) or not 0 < target_recall <= 1:
        raise InvalidArgumentError(f"target_recall is {target_recall!r}; it must be above 0 and at most 1")
    if calibration is None:
        if vectors < _LEAST_BASE:
            return ChosenSearch(search_list=max(vectors, k), stop_margin=0.0, recall=1.0)
        raise InvalidArgumentError("target_recall needs a calibrated index, and this one has none; give search_list")
    try:
        return _choose(calibration["tables"], k, target_recall)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataLossError(f"the calibration of the index is not what was written: {error!r}") from error


def _choose(stored: Mapping[str, Any], k: int, target_recall: float) -> ChosenSearch:
    tables = {int(key): rows for key, rows in stored.items()}
    deepest = max(tables)
    around = {
        max((depth for depth in tables if depth <= k), default=min(tables)),
        min((depth for depth in tables if depth >= k), default=deepest),
    }
    found = [_cheapest(tables[depth], target_recall) for depth in sorted(around)]
    if len({chosen.stop_margin == 0 for chosen in found if chosen is not None}) == 2:
        # Expanding the whole of a short list is cheap, of the other one's long list it is not: compare by margins.
        by_margin = [_cheapest(tables[depth], target_recall, whole_lists=False) for depth in sorted(around)]
        found = found if None in by_margin else by_margin
    if k > deepest or None in found:
        best = max((row["recall"] for row in tables[max(around)]), default=0.0)
        search_list = max(int(max(row["search_list"] for row in tables[max(around)])), 4 * k)
        return ChosenSearch(
            search_list=search_list,
            stop_margin=0.0,
            recall=best,
            note=f"target_recall={target_recall} with k={k} is beyond the calibration, which reached {best:.3f} with "
            f"k={max(around)}; search_list={search_list} was used",
        )
    return _most_thorough([chosen for chosen in found if chosen is not None])


def _cheapest(table: Sequence[Mapping[str, float]], target: float, *, whole_lists: bool = True) -> ChosenSearch | None:
    """The parameters with the fewest reads that reach the target; None if none do."""
    table = [row for row in table if whole_lists or row["stop_margin"] > 0]
    reaching = [
        reached
        for search_list in sorted({row["search_list"] for row in table})
        if (reached := _reach([row for row in table if row["search_list"] == search_list], target)) is not None
    ]
    return min(reaching, key=lambda pair: pair[0])[1] if reaching else None


def _most_thorough(choices: Sequence[ChosenSearch]) -> ChosenSearch:
    """What is at least as thorough as each of the choices."""
    whole_list = any(chosen.stop_margin == 0 for chosen in choices)
    return ChosenSearch(
        search_list=max(chosen.search_list for chosen in choices),
        stop_margin=0.0 if whole_list else max(chosen.stop_margin for chosen in choices),
        recall=min(chosen.recall for chosen in choices),
    )


def _reach(rows: Sequence[Mapping[str, float]], target: float) -> tuple[float, ChosenSearch] | None:
    """For one list length: (reads, parameters) at the margin that just reaches the target; None if none does."""
    below: Mapping[str, float] | None = None
    for row in rows:  # by growing margin, the whole list last
        if row["recall"] < target:
            below = row
            continue
        share, margin, reads = 1.0, row["stop_margin"], row["reads"]
        if below is not None and margin > 0 and row["recall"] > below["recall"]:
            share = (target - below["recall"]) / (row["recall"] - below["recall"])
            margin = below["stop_margin"] + share * (margin - below["stop_margin"])
            reads = below["reads"] + share * (reads - below["reads"])
        reached = row["recall"] if below is None else target
        return reads, ChosenSearch(search_list=int(row["search_list"]), stop_margin=round(margin, 5), recall=reached)
    return None
