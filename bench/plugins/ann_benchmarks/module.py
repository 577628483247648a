"""TierVec in ann-benchmarks: copy this folder to ``ann_benchmarks/algorithms/tiervec`` there.

ann-benchmarks measures one query at a time on one CPU, or all at once with ``--batch``. The index is in this process's
memory unless ``tier`` names another one; what an ``emulated:`` tier gives is emulated.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from ann_benchmarks.algorithms.base.module import BaseANN

import tiervec

_METRICS = {"euclidean": "l2", "angular": "cosine"}


class TierVec(BaseANN):  # type: ignore[misc]
    """One design of an index; the query argument is the recall to aim at.

    Args:
        metric: ``euclidean`` or ``angular``.
        params: ``kind``, optionally ``tier`` and ``beam_width``; the rest are build parameters of that kind.
    """

    def __init__(self, metric: str, params: Mapping[str, Any]) -> None:
        if metric not in _METRICS:
            raise NotImplementedError(f"TierVec has no metric {metric!r}; it has {', '.join(_METRICS)}")
        self._metric = _METRICS[metric]
        self._build = dict(params)
        self._kind = self._build.pop("kind")
        self._tier = self._build.pop("tier", "dram:")
        width = self._build.pop("beam_width", None)
        self._search = None if width is None else {"beam_width": width}
        self._settings = dict(params)
        self._target_recall = 0.95
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._index: tiervec.Index | None = None
        self._receipt: Any = None
        self.res: Any = None
        self._name()

    def fit(self, X: Any) -> None:  # noqa: N803 - the interface's name
        """Builds the index and opens it."""
        self._folder = tempfile.TemporaryDirectory(prefix="tiervec-ann-benchmarks-")
        path = f"{self._folder.name}/index"
        data = np.ascontiguousarray(X, dtype=np.float32)
        tiervec.build(data, path, kind=self._kind, metric=self._metric, params=self._build)
        self._index = tiervec.open(path, tier=self._tier)

    def set_query_arguments(self, target_recall: float) -> None:
        """The recall to aim at."""
        self._target_recall = float(target_recall)
        self._name()

    def query(self, q: Any, n: int) -> Any:
        """Ids of the n nearest; fewer when there are fewer."""
        ids = self._answer(np.asarray(q, dtype=np.float32)[np.newaxis], n)[0]
        return ids[ids >= 0]

    def batch_query(self, X: Any, n: int) -> None:  # noqa: N803
        """All queries in one call, which overlaps them on all CPUs."""
        found = self._answer(np.ascontiguousarray(X, dtype=np.float32), n)
        self.res = [ids[ids >= 0] for ids in found]

    def get_batch_results(self) -> Any:
        """What `batch_query` found."""
        return self.res

    def get_memory_usage(self) -> float:
        """KiB that the index takes: in fast memory, and on a tier that is this machine's memory. 0 before `fit`."""
        if self._index is None:
            return 0.0
        info = self._index.info
        here = info.tier_bytes if self._tier.startswith(("dram:", "emulated:", "numa:")) else 0
        return (info.fast_bytes + here) / 1024

    def get_additional(self) -> dict[str, Any]:
        """What the last call read."""
        if self._receipt is None:
            return {}
        return {
            "reads_per_query": self._receipt.reads_per_query,
            "bytes_per_query": self._receipt.bytes_per_query,
            "rounds_per_query": self._receipt.rounds_per_query,
            "emulated": self._receipt.emulated,
        }

    def done(self) -> None:
        """Closes the index and removes it."""
        if self._index is not None:
            self._index.close()
            self._index = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _answer(self, queries: Any, n: int) -> Any:
        if self._index is None:
            raise RuntimeError("call fit before query")
        found = self._index.search(queries, n, target_recall=self._target_recall, params=self._search)
        self._receipt = found.receipt
        return found.ids

    def _name(self) -> None:
        settings = " ".join(f"{key}={value}" for key, value in self._settings.items())
        self.name = f"TierVec({settings} target_recall={self._target_recall:g})"
