"""What a query's parts cost on this machine, and what more they cost when the index no longer fits into the caches."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiervec.advisor.measurement import Run, Work
from tiervec.rdma.profile import profile

__all__ = ["TERMS", "CostModel", "MemoryGrowth", "fit"]

TERMS = ("us_per_query", "us_per_code", "us_per_read", "us_per_kib", "us_per_round")
_LEAST_REGION = 1 << 20
_LARGEST_REGION = 256 << 20  # far beyond the caches that a thread has for itself
_SEEN = 1 / 3  # of that time; during the rest a search computes (9 of 24 us on a million SIFT descriptors)
_LONGEST_READ = 1 << 16


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """Microseconds of one thread, by the parts of a query; keys as in `TERMS`."""

    us: tuple[float, ...]
    error: float
    """Mean of |model / measured - 1| over what it was fitted to."""

    def difference_us(self, more: Work, less: Work) -> float:
        """How much longer a query of `more` takes than one of `less`."""
        return float(np.dot(self.us, more.terms() - less.terms()))

    def as_dict(self) -> dict[str, float]:
        """JSON values."""
        return {**dict(zip(TERMS, self.us, strict=True)), "mean_error": self.error}


@dataclass(frozen=True)
class MemoryGrowth:
    """How much longer a search waits for an access in memory of the whole index's size than of a sample's.

    Attributes:
        sample_bytes: Bytes of the sample's index, fast and tier.
        whole_bytes: Bytes of the whole index.
        threads: Threads that access it at the same time.
    """

    sample_bytes: int
    whole_bytes: int
    threads: int

    def more_us(self, access_bytes: Sequence[int]) -> list[float]:
        """Microseconds of one thread per access of each of these sizes, never less than 0."""
        sizes = [min(max(size, 1), _LONGEST_READ) for size in access_bytes]
        small, large = (self._access_us(region, sizes) for region in (self.sample_bytes, self.whole_bytes))
        return [_SEEN * max(after - before, 0.0) for before, after in zip(small, large, strict=True)]

    def _access_us(self, region: int, sizes: Sequence[int]) -> list[float]:
        measured = profile(
            "dram:",
            region_bytes=min(max(region, _LEAST_REGION), _LARGEST_REGION),
            threads=self.threads,
            runs=5,
            read_sizes=sorted(set(sizes)),
        )
        us = {each.read_bytes: 1e6 * self.threads / each.reads_per_s.median for each in measured.sizes}
        return [us[size] for size in sizes]


def fit(runs: Sequence[Run]) -> CostModel:
    """The costs, none below 0, that explain the runs best, each run's error relative to its time.

    Example:
        A run whose time is all codes gives all cost to codes; see the tests.
    """
    terms = np.array([run.work.terms() for run in runs])
    times = np.array([run.busy_us for run in runs])
    us = _non_negative(terms / times[:, np.newaxis], np.ones(len(times)))
    return CostModel(us=tuple(us.tolist()), error=float(np.abs(terms @ us / times - 1).mean()))


def _non_negative(rows: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least squares with no coefficient below 0: of five terms every subset can be tried."""
    scale = np.maximum(np.abs(rows).max(axis=0), 1e-30)
    best, least = np.zeros(rows.shape[1]), np.inf
    for chosen in itertools.product((False, True), repeat=rows.shape[1]):
        columns = np.flatnonzero(chosen)
        if not 0 < len(columns) <= len(rows):
            continue
        found, *_ = np.linalg.lstsq(rows[:, columns] / scale[columns], wanted, rcond=None)
        residue = float(np.square(rows[:, columns] / scale[columns] @ found - wanted).sum())
        if found.min() >= 0 and residue < least:
            best = np.zeros(rows.shape[1])
            best[columns], least = found / scale[columns], residue
    return best
