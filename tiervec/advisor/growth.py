"""How what a query costs grows with the number of vectors, from two samples of the data.

Measured on 12 thousand to a million SIFT descriptors, reads and code distances of a search at one recall grow as a
power of the number of vectors: about 0.2 for a graph, about 0.5 for clusters of a fixed size.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Growth", "exponent", "line", "logarithm", "power"]

_MOST_EXPONENT = 1.0


@dataclass(frozen=True, kw_only=True)
class Growth:
    """Two measured points and where to extrapolate to: numbers of vectors, ascending."""

    small: int
    large: int
    wanted: int

    @property
    def is_needed(self) -> bool:
        """False: the larger sample is the data itself, but for the held-out queries."""
        return self.wanted > self.large and self.small < self.large


def exponent(growth: Growth, pairs: Iterable[tuple[float, float]]) -> float:
    """The b of ``n ** b``: the median over pairs of what was counted on the small and on the large sample.

    One pair would not do: a calibrated search of a small sample cannot be cheaper than the least thorough setting, and
    parameters jump from one grid point to the next.

    Example:
        >>> exponent(Growth(small=100, large=400, wanted=1600), [(10, 20), (10, 20), (10, 10)])
        0.5
    """
    if not growth.is_needed:
        return 0.0
    ratio = math.log(growth.large / growth.small)
    found = [math.log(large / small) / ratio for small, large in pairs if small > 0 and large > 0]
    return min(max(statistics.median(found), 0.0), _MOST_EXPONENT) if found else 0.0


def power(growth: Growth, large: float, b: float) -> float:
    """``large * (wanted / large sample) ** b``.

    Example:
        >>> power(Growth(small=100, large=400, wanted=1600), 20.0, 0.5)
        40.0
    """
    return large * (growth.wanted / growth.large) ** b if growth.is_needed else large


def logarithm(growth: Growth, small: float, large: float) -> float:
    """``a + b ln n``: bytes per vector, whose ids take one bit more each time n doubles.

    Example:
        >>> round(logarithm(Growth(small=100, large=200, wanted=800), 10.0, 11.0), 6)
        13.0
    """
    if not growth.is_needed:
        return large
    return large + (large - small) * math.log(growth.wanted / growth.large) / math.log(growth.large / growth.small)


def line(growth: Growth, small: float, large: float) -> float:
    """``a + b n``: bytes of which a part is the same for any n.

    Example:
        >>> line(Growth(small=100, large=200, wanted=1000), 1100.0, 1200.0)
        2000.0
    """
    if growth.small == growth.large:
        return large * growth.wanted / growth.large
    return large + (large - small) * (growth.wanted - growth.large) / (growth.large - growth.small)
