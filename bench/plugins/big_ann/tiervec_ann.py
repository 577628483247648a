"""TierVec in big-ann-benchmarks: copy this folder to ``neurips23/ood/tiervec`` (or another track's folder) there.

Indexes are kept under ``data/indices/tiervec`` and opened again by `load_index`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from benchmark.algorithms.base import BaseANN
from benchmark.datasets import DATASETS

import tiervec
from tiervec.machine.durable_files import replaced_directory

_METRICS = {"euclidean": "l2", "ip": "ip", "angular": "cosine"}
_SUFFIXES = {"float32": ".fbin", "uint8": ".u8bin", "int8": ".i8bin"}
_INDEXES = Path("data") / "indices" / "tiervec"


class TierVec(BaseANN):  # type: ignore[misc]
    """One design of an index; query arguments are ``{"target_recall": 0.9}`` or search parameters.

    Args:
        metric: The framework's metric; the data set's own is used.
        index_params: ``kind``, optionally ``tier``, ``threads`` and ``memory_limit`` (bytes); the rest are build
            parameters of that kind.
    """

    def __init__(self, metric: str, index_params: Mapping[str, Any]) -> None:
        del metric
        self._build = dict(index_params)
        self._kind = self._build.pop("kind")
        self._tier = self._build.pop("tier", "dram:")
        self._threads = self._build.pop("threads", 0)
        self._memory_limit = self._build.pop("memory_limit", None)
        self._query_args: dict[str, Any] = {"target_recall": 0.9}
        self._index: tiervec.Index | None = None
        self._receipt: Any = None
        self.name = f"tiervec-{self._kind}-{self._key()}"
        self.res: Any = None

    def track(self) -> str:
        """The big part is not in DRAM that the search counts as its own."""
        return "T2"

    def fit(self, dataset: str) -> None:
        """Builds the index from the data set's file, in place of one that is there, and opens it."""
        self.done()
        known = DATASETS[dataset]()
        folder = self._folder(dataset)
        folder.parent.mkdir(parents=True, exist_ok=True)
        # The framework names the beginning of a file FILE.crop_nb_N; the reader goes by the suffix.
        link = folder.with_name(folder.name + _SUFFIXES[str(np.dtype(known.dtype))])
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.abspath(known.get_dataset_fn()))
        try:
            with replaced_directory(folder) if folder.exists() else contextlib.nullcontext(folder) as out:
                tiervec.build(
                    link,
                    out,
                    kind=self._kind,
                    metric=_METRICS[known.distance()],
                    params=self._build,
                    threads=self._threads,
                    memory_limit=self._memory_limit,
                )
        finally:
            link.unlink()
        self._open(folder)

    def load_index(self, dataset: str) -> bool:
        """Opens an index that `fit` left; False when there is none."""
        folder = self._folder(dataset)
        if not folder.is_dir():
            return False
        self._open(folder)
        return True

    def index_files_to_store(self, dataset: str) -> list[Any]:
        """Where its files are, their common prefix, and their names."""
        folder = self._folder(dataset)
        return [str(folder), "", sorted(path.name for path in folder.iterdir())]

    def set_query_arguments(self, query_args: Mapping[str, Any]) -> None:
        """``target_recall``, or search parameters."""
        self._query_args = dict(query_args)

    def query(self, X: Any, k: int) -> None:  # noqa: N803 - the interface's name
        """Answers all queries in one call; `get_results` has the ids."""
        if self._index is None:
            raise RuntimeError("call fit or load_index before query")
        params = dict(self._query_args)
        target_recall = params.pop("target_recall", None)
        found = self._index.search(np.ascontiguousarray(X), k, target_recall=target_recall, params=params or None)
        self.res, self._receipt = found.ids, found.receipt

    def range_query(self, X: Any, radius: float) -> None:  # noqa: N803
        """Not offered."""
        raise NotImplementedError("TierVec has no range search")

    def get_results(self) -> Any:
        """Ids (queries, k), -1 where fewer exist."""
        return self.res

    def get_additional(self) -> dict[str, Any]:
        """What the last call read."""
        if self._receipt is None:
            return {}
        return {"mean_ssd_ios": self._receipt.reads_per_query, "mean_latency": float(self._receipt.latency_us.mean())}

    def get_memory_usage(self) -> float:
        """KiB of fast memory, and of the tier when it is this machine's memory; 0 before an index is open."""
        if self._index is None:
            return 0.0
        info = self._index.info
        here = info.tier_bytes if self._tier.startswith(("dram:", "emulated:", "numa:")) else 0
        return (info.fast_bytes + here) / 1024

    def done(self) -> None:
        """Closes the index; its files stay."""
        if self._index is not None:
            self._index.close()
            self._index = None

    def _open(self, folder: Path) -> None:
        self.done()
        self._index = tiervec.open(folder, tier=self._tier, threads=self._threads)

    def _folder(self, dataset: str) -> Path:
        return _INDEXES / str(DATASETS[dataset]().short_name()) / f"{self._kind}-{self._key()}"

    def _key(self) -> str:
        text = json.dumps([self._kind, self._build], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]
