"""What searches of the sample indexes cost: counters, which are free of noise, and CPU time, measured in turn."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tiervec
from tiervec.advisor.design import Design
from tiervec.api import Index, IndexInfo
from tiervec.engine.receipt import Receipt

__all__ = ["Run", "Work", "measure", "one_by_one_us"]

_ALONE = 100
_QUERIES = 1000  # of a call, at least
_MOST_QUERIES = 20_000
_CALL_S = 0.2  # workers start and end idle: of a short call that is a good part


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one query costs, in counts: means.

    Attributes:
        reads: Reads of the tier.
        read_bytes: Bytes of these.
        rounds: Dependent round trips.
        codes: Distances by code.
    """

    reads: float
    read_bytes: float
    rounds: float
    codes: float

    @classmethod
    def of(cls, receipt: Receipt) -> Work:
        """From a receipt."""
        return cls(
            reads=receipt.reads_per_query,
            read_bytes=receipt.bytes_per_query,
            rounds=receipt.rounds_per_query,
            codes=receipt.code_distances_per_query,
        )

    def terms(self) -> NDArray[np.float64]:
        """What CPU time is made of: the query itself, codes, reads, KiB, rounds."""
        return np.array([1.0, self.codes, self.reads, self.read_bytes / 1024, self.rounds])


@dataclass(kw_only=True)
class Run:
    """One setting of one sample index, and what its runs gave.

    Attributes:
        design: What was built.
        size: Vectors of the sample.
        path: The index.
        width: ``beam_width``, or None.
        target_recall: What was asked for.
        queries: To search for; None: those of the samples.
        info: The index's description.
        receipts: One per round.
        alone_us: Median latency of queries one at a time; None: not measured.
    """

    design: Design
    size: int
    path: Path
    width: int | None
    target_recall: float
    queries: NDArray[Any] | None = None
    info: IndexInfo | None = None
    receipts: list[Receipt] = field(default_factory=list)
    alone_us: float | None = None

    @property
    def work(self) -> Work:
        """Counts; the same in every round."""
        return Work.of(self.receipts[0])

    def reads_to_rank(self, k: int) -> float | None:
        """Reads that reach the recall when clusters are probed as widely as the calibration did.

        A search of codes trades reads for probes, and one of a small sample does it otherwise than one of a large one:
        this is what the codes alone ask for. None: the layout has none, or the recall was not reached.
        """
        return self._least(k, "reads", where_most="nprobe")

    def codes_to_probe(self, k: int) -> float | None:
        """Distances by code that reach the recall when as many vectors are re-ranked as the calibration did.

        The other side of that trade: what the clusters alone ask for. None as above.
        """
        return self._least(k, "code_distances", where_most="rerank")

    def _least(self, k: int, count: str, *, where_most: str) -> float | None:
        """The count at the recall, between the calibrated settings with the most of a parameter."""
        if self.info is None or self.info.params.get("layout") != "coded" or self.info.calibration is None:
            return None
        tables = {int(depth): rows for depth, rows in self.info.calibration["tables"].items()}
        table = tables[min((depth for depth in tables if depth >= k), default=max(tables))]
        most = max(row[where_most] for row in table)
        below = None
        for row in sorted((row for row in table if row[where_most] == most), key=lambda row: row[count]):
            if row["recall"] >= self.target_recall:
                if below is None:
                    return float(row[count])
                share = (self.target_recall - below["recall"]) / (row["recall"] - below["recall"])
                return float(below[count] + share * (row[count] - below[count]))
            below = row
        return None

    @property
    def qps(self) -> float:
        """Queries per second in the median round: what else runs on the machine is in it."""
        return statistics.median(each.qps for each in self.receipts)

    @property
    def busy_us(self) -> float:
        """CPU time of a query in the best round: what else runs on the machine can only add to it."""
        return min(each.cpu_us_per_query for each in self.receipts)


def measure(
    runs: Sequence[Run],
    queries: NDArray[Any],
    *,
    tier: str,
    k: int,
    threads: int,
    alone: bool,
    rounds: int,
    seconds: float = 0.0,
) -> None:
    """Runs all settings in turn, round by round, after one round that does not count.

    Queries are taken again and again where a call with each of them once would be too short to measure.

    Args:
        runs: What to run; results are added to them.
        queries: To search for, by runs that have none of their own.
        tier: Where the indexes are opened.
        k: Neighbours.
        threads: Worker threads.
        alone: Measure the latency of queries one at a time too.
        rounds: Rounds that count, at least.
        seconds: More rounds while these last: during some a shared machine may be somebody else's.
    """
    own = [queries if run.queries is None else run.queries for run in runs]
    with ExitStack() as stack:
        opened = {path: stack.enter_context(tiervec.open(path, tier=tier, threads=threads)) for path in _paths(runs)}
        began = time.monotonic()
        asked = []
        for run, given in zip(runs, own, strict=True):
            receipt = _search(opened[run.path], given[:_QUERIES], run, k)
            run.info = opened[run.path].info
            count = min(max(round(_CALL_S * receipt.qps), len(given[:_QUERIES])), _MOST_QUERIES)
            asked.append(given[np.arange(count) % len(given)])
        for number in itertools.count(1):
            for run, given in zip(runs, asked, strict=True):
                run.receipts.append(_search(opened[run.path], given, run, k))
            if number >= rounds and time.monotonic() - began >= seconds:
                break
        if alone:
            for run, given in zip(runs, own, strict=True):
                run.alone_us = one_by_one_us(opened[run.path], given, run, k)


def one_by_one_us(index: Index, queries: NDArray[Any], run: Run, k: int) -> float:
    """Median latency of queries that are alone in flight."""
    found = [_search(index, query[np.newaxis], run, k).latency_us_p50 for query in queries[:_ALONE]]
    return statistics.median(each for each in found if each is not None)


def _search(index: Index, queries: NDArray[Any], run: Run, k: int) -> Receipt:
    params = None if run.width is None else {"beam_width": run.width}
    return index.search(queries, k, target_recall=run.target_recall, params=params).receipt


def _paths(runs: Iterable[Run]) -> list[Path]:
    return list(dict.fromkeys(run.path for run in runs))
