"""Ratios from interleaved runs: on a shared machine speed drifts, so systems are measured in turn, round by round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Spread", "measure_interleaved", "ratio"]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Median, least and most of the repeats of one figure."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """The spread of at least one value."""
        return cls(median=statistics.median(values), low=min(values), high=max(values))

    def __format__(self, spec: str) -> str:
        spec = spec or ".3g"
        return f"{self.median:{spec}} ({self.low:{spec}} to {self.high:{spec}})"


def measure_interleaved(systems: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Runs every system once as a warm-up and then `repeats` rounds of all of them in turn.

    Args:
        systems: Name to a function that runs once and returns its figure, for example queries per second.
        repeats: Rounds that count.

    Returns:
        Name to one figure per round, in order, so that figures of one round can be divided.

    Example:
        >>> measure_interleaved({"a": lambda: 2.0, "b": lambda: 1.0}, 2)
        {'a': [2.0, 2.0], 'b': [1.0, 1.0]}
    """
    for run in systems.values():
        run()
    figures: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(repeats):
        for name, run in systems.items():
            figures[name].append(run())
    return figures


def ratio(over: list[float], under: list[float]) -> Spread:
    """The spread of the round-by-round ratios."""
    return Spread.of([a / b for a, b in zip(over, under, strict=True)])
