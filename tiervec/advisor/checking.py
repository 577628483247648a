"""Compares what the advisor predicts for an index with what that index does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tiervec
from tiervec.advisor.advice import Advice
from tiervec.advisor.design import Design
from tiervec.errors import InvalidArgumentError

__all__ = ["Check", "check"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """Predicted and measured figures of one index.

    Attributes:
        design: The index.
        figures: Name to (predicted, measured).
        recall: What was reached, or None without ground truth.
        target_recall: What was asked for.
    """

    design: Design
    figures: dict[str, tuple[float, float]]
    recall: float | None
    target_recall: float

    def error(self, name: str) -> float:
        """How far the prediction is off: predicted / measured - 1."""
        predicted, measured = self.figures[name]
        return predicted / measured - 1 if measured else 0.0

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "kind": self.design.kind,
            "params": dict(self.design.params),
            "target_recall": self.target_recall,
            "recall": self.recall,
            "figures": {
                name: {"predicted": predicted, "measured": measured, "error": self.error(name)}
                for name, (predicted, measured) in self.figures.items()
            },
        }

    def __str__(self) -> str:
        """For people."""
        recall = "" if self.recall is None else f", which reached {self.recall:.3f}"
        lines = [
            f"check of {self.design.name} at target_recall={self.target_recall:g}{recall}",
            f"  {'':<20} {'predicted':>14} {'measured':>14} {'error':>7}",
        ]
        for name, (predicted, measured) in self.figures.items():
            lines.append(f"  {name:<20} {predicted:>14,.2f} {measured:>14,.2f} {self.error(name):>+7.0%}")
        return "\n".join(lines)


def check(advice: Advice, truth: NDArray[np.int64] | None) -> Check:
    """Compares what was predicted for the index of the request with what it did, in turn with the samples.

    Args:
        advice: Advice for a request with an index to check.
        truth: True neighbours of its queries, or None.

    Raises:
        InvalidArgumentError: The request named no index.
    """
    run = advice.checked
    if run is None:
        raise InvalidArgumentError("there is nothing to check: the request names no index")
    predicted = next(each for each in advice.predictions if (each.design, each.beam_width) == (run.design, run.width))
    assert run.info is not None
    assert run.alone_us is not None
    figures = {
        "QPS": (predicted.qps, run.qps),
        "CPU us per query": (predicted.busy_us, run.busy_us),
        "latency alone us": (predicted.latency_us, run.alone_us),
        "reads per query": (predicted.work.reads, run.work.reads),
        "bytes per query": (predicted.work.read_bytes, run.work.read_bytes),
        "rounds per query": (predicted.work.rounds, run.work.rounds),
        "codes per query": (predicted.work.codes, run.work.codes),
        "amplification": (predicted.amplification, run.info.amplification),
        "fast MiB": (predicted.fast_bytes / 2**20, run.info.fast_bytes / 2**20),
    }
    recall = None
    if truth is not None and run.queries is not None:
        with tiervec.open(run.path, threads=advice.threads) as index:
            ids = index.search(run.queries, advice.k, target_recall=run.target_recall).ids
        recall = tiervec.recall(ids, truth, advice.k)
    return Check(design=run.design, figures=figures, recall=recall, target_recall=run.target_recall)
