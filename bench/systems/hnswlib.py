"""hnswlib: a graph with float32 vectors, all in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tiervec.bench.systems.child import Job, Vectors


class System:
    """See ``Measured`` in child.py."""

    def __init__(self, job: Job) -> None:
        import hnswlib

        self._job = job
        self._params = job.parameters(job.build, {"M": 16, "ef_construction": 200})
        self._index = hnswlib.Index(job.metric, job.dim)
        self._index.set_num_threads(job.threads)
        self._file = str(job.folder / "hnsw.bin")

    def version(self) -> str:
        """The library's version."""
        import importlib.metadata

        return importlib.metadata.version("hnswlib")

    def build(self, vectors: Vectors) -> None:
        """Inserts the vectors block by block."""
        params, rows = self._params, vectors.shape[0]
        self._index.init_index(
            rows, M=params["M"], ef_construction=params["ef_construction"], random_seed=self._job.seed
        )
        for first, block in vectors.blocks():
            ids = np.arange(first, first + len(block))
            self._index.add_items(block.astype(np.float32), ids, num_threads=self._job.threads)
        self._index.save_index(self._file)

    def open(self) -> Mapping[str, Any]:
        """Loads it into memory."""
        self._index.load_index(self._file)
        return {}

    def configure(self, k: int, params: Mapping[str, Any]) -> None:
        """``ef``: candidates kept."""
        self._index.set_ef(max(k, self._job.parameters(params, {"ef": 64})["ef"]))

    def prepare_queries(self, queries: NDArray[Any]) -> NDArray[Any]:
        """float32."""
        return np.ascontiguousarray(queries, np.float32)

    def search(self, queries: NDArray[Any], k: int, threads: int) -> tuple[Any, None]:
        """Native threads."""
        return self._index.knn_query(queries, k=k, num_threads=threads)[0].astype(np.int64), None
