"""Scalable Vector Search (scalable-vs): Vamana in memory."""

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
        import svs

        self._svs, self._job = svs, job
        self._params = job.parameters(job.build, {"graph_degree": 32, "window_size": 128, "alpha": None})
        kind = svs.DistanceType
        self._distance = {"l2": kind.L2, "ip": kind.MIP, "cosine": kind.Cosine}[job.metric]
        self._parts = [str(job.folder / part) for part in ("config", "graph", "data")]
        self._index: Any = None

    def version(self) -> str:
        """The library's version."""
        import importlib.metadata

        return importlib.metadata.version("scalable-vs")

    def build(self, vectors: Vectors) -> None:
        """float32."""
        params = self._params
        # The library wants alpha above 1 for distances and below 1 for similarities.
        alpha = params["alpha"] or (1.2 if self._job.metric == "l2" else 0.95)
        parameters = self._svs.VamanaBuildParameters(
            alpha=alpha, graph_max_degree=params["graph_degree"], window_size=params["window_size"]
        )
        rows = np.ascontiguousarray(vectors.all(), np.float32)
        index = self._svs.Vamana.build(parameters, rows, self._distance, num_threads=self._job.threads)
        index.save(*self._parts)

    def open(self) -> Mapping[str, Any]:
        """Loads it into memory."""
        config, graph, data = self._parts
        self._index = self._svs.Vamana(
            config,
            self._svs.GraphLoader(graph),
            self._svs.VectorDataLoader(data, self._svs.DataType.float32, dims=self._job.dim),
            self._distance,
            num_threads=self._job.threads,
        )
        return {}

    def configure(self, k: int, params: Mapping[str, Any]) -> None:
        """``search_window_size``: candidates kept."""
        chosen = self._job.parameters(params, {"search_window_size": 64})
        self._index.search_window_size = max(k, chosen["search_window_size"])

    def prepare_queries(self, queries: NDArray[Any]) -> NDArray[Any]:
        """float32."""
        return np.ascontiguousarray(queries, np.float32)

    def search(self, queries: NDArray[Any], k: int, threads: int) -> tuple[Any, None]:
        """Native threads."""
        if threads != self._index.num_threads and len(queries) > 1:
            self._index.num_threads = threads
        return self._index.search(queries, k)[0].astype(np.int64), None
