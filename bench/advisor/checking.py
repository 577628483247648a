"""Compares what the advisor predicts for an index with what that index does."""

from __future__ import annotations

import os
import statistics
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tiervec
from tiervec.api import IndexInfo
from tiervec.bench.advisor.advice import Prediction
from tiervec.bench.advisor.advising import Request
from tiervec.bench.advisor.design import Design
from tiervec.bench.advisor.measurement import Run, measure
from tiervec.errors import InvalidArgumentError
from tiervec.index_directory import IndexDirectory

__all__ = ["Check", "check", "design_of"]

_GRAPH_KEYS = ("graph_degree", "code_bits")
_CLUSTER_KEYS = {"coded": ("layout", "code_bits"), "grouped": ("layout",), "replicated": ("layout", "replicas")}


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


def design_of(path: str | os.PathLike[str]) -> Design:
    """The design of a saved index, in the keys that the advisor varies."""
    info = IndexInfo.from_manifest(path, IndexDirectory.open(path).manifest)
    if info.kind == "graph":
        keys: tuple[str, ...] = _GRAPH_KEYS
    else:
        keys = _CLUSTER_KEYS.get(str(info.params["layout"]), tuple(info.params))
    params = {key: info.params[key] for key in keys}
    if info.kind == "graph" and info.params["layout"] != "packed":
        params["layout"] = info.params["layout"]
    return Design(
        kind=info.kind, params={key: float(each) if key == "code_bits" else each for key, each in params.items()}
    )


def check(
    path: str | os.PathLike[str],
    predictions: tuple[Prediction, ...],
    request: Request,
    queries: NDArray[Any],
    truth: NDArray[np.int64] | None,
) -> Check:
    """Searches the index and compares.

    Args:
        path: The index.
        predictions: Of an advice of the same request; one must be of the index's design.
        request: As it was advised on; the index is opened on its device's tier.
        queries: To search for.
        truth: Their true neighbours, or None.

    Raises:
        InvalidArgumentError: No prediction is of the index's design.
    """
    design = design_of(path)
    of_it = [each for each in predictions if each.design == design and each.beam_width in (None, 1)]
    if not of_it:
        raise InvalidArgumentError(f"{os.fspath(path)} is {design.name}, which was not predicted")
    predicted = of_it[0]
    folder = IndexDirectory.open(path).path
    run = Run(design=design, size=0, path=folder, width=predicted.beam_width, target_recall=request.target_recall)
    measure([run], queries, tier=request.device.url, k=request.k, threads=request.threads, alone=True, rounds=9)
    assert run.info is not None
    assert run.alone_us is not None
    figures = {
        "QPS": (predicted.qps, statistics.median(each.qps for each in run.receipts)),
        "QPS, best round": (predicted.qps, max(each.qps for each in run.receipts)),
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
    if truth is not None:
        with tiervec.open(path, tier=request.device.url, threads=request.threads) as index:
            ids = index.search(queries, request.k, target_recall=request.target_recall).ids
        recall = tiervec.recall(ids, truth, request.k)
    return Check(design=design, figures=figures, recall=recall, target_recall=request.target_recall)
