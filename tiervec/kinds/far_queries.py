"""Queries farther from the data than those that calibrated the index: recognised, and searched again more thoroughly.

Base vectors stand for queries in a calibration, so it holds for queries like the data. A question that is no passage,
or an image that is asked for by a text, lies farther away: its neighbours are spread over more of the index, and codes
are less exact there. So the calibration goes on with queries between and beyond the vectors, on several distances, and
keeps how far the neighbours of each kind are. A search whose k-th neighbour is farther than usual is done once more,
with parameters that sufficed at that distance. Usual queries pay nothing for it, whatever the data is.

In the manifest, beside the tables of the calibration:

    "up_to": {k: farness},  "farther": [{"up_to": {k: farness}, "queries": n, "tables": {k: [...]}}, ...]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiervec.engine.calibration import (
    CalibrationGrid,
    CalibrationQueries,
    ChosenSearch,
    Measured,
    Params,
    calibrate,
    calibrated_depths,
    choose,
    most_thorough,
)
from tiervec.errors import DataLossError
from tiervec.kinds.index_kind import NativeResult
from tiervec.machine.interruptible import BuildProgress

__all__ = ["FarBatch", "FarSearches", "SearchDrift", "calibrate_near_and_far", "choose_far", "far_queries", "farness"]

#: Distances of drawn queries from the middle of the data, in its standard deviations; 0: between two vectors.
_SPREADS: Final = (0.0, 1.0, 3.0)
_QUERIES: Final = 128
_SAMPLE_ROWS: Final = 2048
_SAMPLE_VALUES: Final = 1 << 19  # rows of many dimensions are fewer
_TRIMMED: Final = 0.02  # of the sample: the farthest, which may be anything
_COMPARED: Final = 1 << 26  # vectors that the queries of one spread may compare, and more where exact searches do
_USUAL: Final = 99.5  # percentile

#: Runs these queries with k and these parameters.
SearchQueries = Callable[[CalibrationQueries, int, Params], Measured]


def far_queries(
    base: NDArray[Any], metric: str, seed: int, spread: float, unlinked: NDArray[np.int64] | None
) -> CalibrationQueries:
    """Queries that have no vector near them: halfway between two, or of the data's covariance but not of its shape.

    Args:
        base: (n, dim); may be a mapped file.
        metric: ``l2``, ``ip`` or ``cosine``.
        seed: Seed for all randomness.
        spread: How far from the middle of the data, in its standard deviations; 0: halfway between two vectors.
        unlinked: Rows that no search can find yet, or None.
    """
    random = np.random.default_rng([seed, round(1000 * spread)])
    most = min(len(base), max(_QUERIES, min(_SAMPLE_ROWS, _SAMPLE_VALUES // base.shape[1])))
    rows = np.sort(random.choice(len(base), most, replace=False, shuffle=False))
    sample = np.asarray(base[rows], np.float64)
    if metric == "cosine":
        norms = np.linalg.norm(sample, axis=1, keepdims=True)
        sample /= np.where(norms > 0, norms, 1)
    middle = np.median(sample, axis=0)
    offsets = sample - middle
    lengths = np.linalg.norm(offsets, axis=1)
    kept = lengths <= np.quantile(lengths, 1 - _TRIMMED)
    sample, offsets = sample[kept], offsets[kept]
    if spread:
        weights = random.standard_normal((_QUERIES, len(offsets))) / math.sqrt(len(offsets))
        vectors = middle + spread * (weights @ offsets)
    else:
        vectors = sample[random.integers(0, len(sample), (2, _QUERIES))].mean(axis=0)
    return CalibrationQueries(
        vectors=_as_queries(vectors, base.dtype), source="drawn from base vectors", unlinked=unlinked
    )


def _as_queries(vectors: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return np.ascontiguousarray(np.clip(np.rint(vectors), limits.min, limits.max).astype(dtype))
    most = float(np.finfo(np.float32).max) / 4
    return np.ascontiguousarray(np.clip(vectors, -most, most).astype(np.float32))


def farness(distances: NDArray[np.float32], queries: NDArray[Any], metric: str) -> NDArray[Any]:
    """How far a neighbour at these distances is, (nq,), whatever the length of the query."""
    if metric != "ip":
        return distances
    far = distances.astype(np.float64)
    norms = np.linalg.norm(queries.astype(np.float64), axis=1)
    return np.asarray(far / np.where(norms > 0, norms, 1))


def calibrate_near_and_far(
    grid: CalibrationGrid,
    search: SearchQueries,
    exact: Callable[[CalibrationQueries], NDArray[np.float32]],
    queries: CalibrationQueries,
    base: NDArray[Any],
    metric: str,
    seed: int,
    progress: BuildProgress | None,
) -> dict[str, Any]:
    """Measures the grid on the queries, and a coarser one on queries that lie farther away.

    Args:
        grid: The parameters and their values.
        search: Runs queries.
        exact: Distances of the exact neighbours of queries, nearest first.
        queries: Queries like those to come.
        base: (n, dim), what far queries are drawn from.
        metric: ``l2``, ``ip`` or ``cosine``.
        seed: Seed for all randomness.
        progress: Progress callback or None.

    Returns:
        JSON values: what `calibrate` returns, ``up_to`` and ``farther``.
    """

    def measure(asked: CalibrationQueries, values: CalibrationGrid, stage: str, *, is_far: bool) -> dict[str, Any]:
        expected = exact(asked)
        first = asked.groups[0]
        depths = calibrated_depths(expected.shape[1])
        far = {k: farness(expected[first, k - 1], asked.vectors[first], metric) for k in depths}
        up_to = {k: float(np.percentile(far[k], _USUAL)) for k in depths}
        found = calibrate(
            values,
            lambda k, params: search(asked, k, params),
            expected,
            asked,
            progress,
            stage=stage,
            usual=None if is_far else {k: far[k] <= up_to[k] for k in depths},
            budget=_budget(len(asked.vectors), len(base)) if is_far else math.inf,
        )
        return {**found, "up_to": {k: round(up_to[int(k)], 7) for k in found["tables"]}}

    calibration = measure(queries, grid, "calibration", is_far=False)
    unlinked = None if queries.rows is None else queries.hidden_rows
    calibration["farther"] = [
        measure(
            far_queries(base, metric, seed, spread, unlinked), grid.coarser(), "calibration: far queries", is_far=True
        )
        for spread in _SPREADS
    ]
    return calibration


def _budget(queries: int, vectors: int) -> int:
    """Vectors that far queries of one spread may compare: few large clusters would have all compared many times."""
    return max(_COMPARED, queries * vectors)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Level:
    up_to: float
    params: Any


class FarBatch(NamedTuple):
    """Queries of a search that are searched again together.

    Attributes:
        rows: Which ones of the search.
        queries: (rows, dim).
        params: As the engine takes them.
    """

    rows: NDArray[np.int64]
    queries: NDArray[Any]
    params: Any

    def put(self, found: NativeResult, again: NativeResult) -> NativeResult:
        """`again` is the answer of these rows; costs are those of both."""
        return _put(found, self.rows, again)


@dataclass(frozen=True, kw_only=True, eq=False)
class FarSearches:
    """How queries are searched whose neighbours are farther than usual.

    Attributes:
        depth: The neighbour that tells, from 1.
        usual_up_to: Farness of that neighbour beyond which a query is not usual.
        usual_share: Most of the queries that are beyond it although they are like those of the calibration.
        levels: By ascending farness; the last one is for everything beyond, too.
    """

    depth: int
    usual_up_to: float
    usual_share: float
    levels: tuple[_Level, ...]

    def has_far(self, found: NativeResult, queries: NDArray[Any], metric: str) -> bool:
        """Whether any query is farther than usual; what a call with usual queries only pays."""
        if len(queries) == 1 and metric != "ip":
            return bool(found.distances[0, self.depth - 1] > self.usual_up_to)
        return bool((farness(found.distances[:, self.depth - 1], queries, metric) > self.usual_up_to).any())

    def search_again(
        self,
        found: NativeResult,
        queries: NDArray[Any],
        metric: str,
        search: Callable[[NDArray[Any], Any], NativeResult],
    ) -> tuple[NativeResult, int]:
        """(the answer with far queries searched again and all that it cost, number of far queries)."""
        batches = self.far_batches(found, queries, metric)
        for batch in batches:
            found = batch.put(found, search(batch.queries, batch.params))
        return found, sum(len(batch.rows) for batch in batches)

    def far_batches(self, found: NativeResult, queries: NDArray[Any], metric: str) -> list[FarBatch]:
        """The far queries, by the parameters that they are searched again with."""
        far = farness(found.distances[:, self.depth - 1], queries, metric)
        limits = [self.usual_up_to, *(max(self.usual_up_to, level.up_to) for level in self.levels[:-1])]
        levels = np.searchsorted(limits, far)  # 0: usual
        batches = []
        for at, level in enumerate(self.levels, start=1):
            rows = np.flatnonzero(levels == at)
            if len(rows):
                batches.append(FarBatch(rows, np.ascontiguousarray(queries[rows]), level.params))
        return batches


def choose_far(
    grid: CalibrationGrid,
    calibration: Mapping[str, Any],
    k: int,
    target_recall: float,
    vectors: int,
    *,
    usual: ChosenSearch,
    resolve: Callable[[Params], Any],
) -> FarSearches | None:
    """The parameters for far queries; None when usual ones are as thorough, or none were calibrated.

    Args:
        grid: The calibrated parameters.
        calibration: That of the index.
        k: Neighbours asked for.
        target_recall: Recall to aim at.
        vectors: Vectors that are stored.
        usual: What `choose` found for usual queries.
        resolve: Makes the engine's parameters of chosen ones.

    Raises:
        DataLossError: The calibration is not what `calibrate_near_and_far` makes.
    """
    try:
        depth = max((int(each) for each in calibration.get("up_to", ()) if int(each) <= k), default=None)
        if depth is None or not calibration["farther"]:
            return None
        levels, thorough = [], usual
        for each in sorted(calibration["farther"], key=lambda each: float(each["up_to"][str(depth)])):
            thorough = most_thorough(grid, [thorough, choose(grid, each, k, target_recall, vectors)])
            levels.append(_Level(up_to=float(each["up_to"][str(depth)]), params=resolve(thorough.params)))
        if thorough.params == usual.params:
            return None
        return FarSearches(
            depth=depth,
            usual_up_to=float(calibration["up_to"][str(depth)]),
            # One more query is farther than all n of a sample with a chance of 1 / (n + 1), give or take as much.
            usual_share=1 - _USUAL / 100 + 3 / (int(calibration["queries"]) + 1),
            levels=tuple(levels),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataLossError(f"the calibration of the index is not what was written: {error!r}") from error


def _put(found: NativeResult, rows: NDArray[np.int64], again: NativeResult) -> NativeResult:
    """`again` is the answer of these rows; costs are those of both."""
    ids, distances, latency_us = found.ids.copy(), found.distances.copy(), found.latency_us.copy()
    ids[rows], distances[rows] = again.ids, again.distances
    latency_us[rows] += again.latency_us
    sums = (
        "cpu_us",
        "waiting_us",
        "reads",
        "rounds",
        "code_distances",
        "bytes_read",
        "hot_records",
        "rereads",
        "rescans",
    )
    return found._replace(
        ids=ids,
        distances=distances,
        latency_us=latency_us,
        threads=max(found.threads, again.threads),
        threads_refused=max(found.threads_refused, again.threads_refused),
        **{name: getattr(found, name) + getattr(again, name) for name in sums},
    )


class SearchDrift:
    """Compares the live queries of an open index with those of its calibration.

    Threads may count at the same time; a count that is lost so does not matter.
    """

    _REMEMBERED = 20_000
    _DEVIATIONS = 4.0

    def __init__(self) -> None:
        self._asked = self._far = 0

    def note(self, asked: int, far: int, usual_share: float) -> str | None:
        """Counts the queries of a call; a sentence when some are far, and more of the latest ones than chance explains.

        Args:
            asked: Queries of the call.
            far: Those of them that were farther than usual.
            usual_share: See `FarSearches`.
        """
        if self._asked + asked > self._REMEMBERED:
            self._asked, self._far = self._asked // 2, self._far // 2
        self._asked += asked
        if not far:
            return None
        self._far += far
        expected = usual_share * self._asked
        if self._far <= expected + self._DEVIATIONS * math.sqrt(expected) + 1:
            return None
        return (
            f"{self._far:,} of the latest {self._asked:,} queries are farther from the vectors than {_USUAL:g} % of "
            "those that calibrated the index; they are searched twice, and recall may be below expected_recall. "
            "calibration_queries like them make a better index"
        )
