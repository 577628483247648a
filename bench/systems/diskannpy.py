"""DiskANN as Microsoft ships it for Python: Vamana in memory, or on an SSD with codes in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tiervec.bench.systems.child import Job, Vectors

_METRICS = {"l2": "l2", "ip": "mips", "cosine": "l2"}  # cosine: l2 of vectors of unit length has the same order


class System:
    """See ``Measured`` in child.py."""

    def __init__(self, job: Job) -> None:
        import diskannpy

        self._diskannpy, self._job, self._on_disk = diskannpy, job, job.variant["kind"] == "disk"
        known: dict[str, Any] = {"graph_degree": 32, "complexity": 75}
        if self._on_disk:
            known |= {"search_memory_gb": 1.0, "build_memory_gb": 8.0, "pq_disk_bytes": 0}
        else:
            known["alpha"] = 1.2
        self._params = job.parameters(job.build, known)
        # It takes inner products of float32 alone.
        is_native = job.metric != "cosine" and (
            job.dtype == "float32" or (job.dtype in ("uint8", "int8") and job.metric == "l2")
        )
        self._dtype = np.dtype(job.dtype if is_native else "float32")
        self._native = is_native
        self._index: Any = None
        self._search: dict[str, Any] = {}

    def version(self) -> str:
        """The library's version."""
        import importlib.metadata

        return importlib.metadata.version("diskannpy")

    def build(self, vectors: Vectors) -> None:
        """From the file where it can read it, from an array where the vectors must be converted."""
        params, job = self._params, self._job
        data: Any = vectors.path if self._native else self._converted(vectors.all())
        common = {
            "data": data,
            "distance_metric": _METRICS[job.metric],
            "index_directory": str(job.folder),
            "complexity": params["complexity"],
            "graph_degree": params["graph_degree"],
            "num_threads": job.threads,
            "vector_dtype": self._dtype.type,
        }
        if self._on_disk:
            self._diskannpy.build_disk_index(
                **common,
                search_memory_maximum=params["search_memory_gb"],
                build_memory_maximum=params["build_memory_gb"],
                pq_disk_bytes=params["pq_disk_bytes"],
            )
        else:
            self._diskannpy.build_memory_index(**common, alpha=params["alpha"])

    def open(self) -> Mapping[str, Any]:
        """Loads it, or opens the file on the SSD."""
        opening = self._job.parameters(self._job.opening, {"num_nodes_to_cache": 0} if self._on_disk else {})
        common = {
            "index_directory": str(self._job.folder),
            "num_threads": self._job.threads,
            "vector_dtype": self._dtype.type,
            "dimensions": self._job.dim,
            "distance_metric": _METRICS[self._job.metric],
        }
        if not self._on_disk:
            self._index = self._diskannpy.StaticMemoryIndex(**common, initial_search_complexity=512)
            return {}
        del common["dimensions"]
        self._index = self._diskannpy.StaticDiskIndex(**common, num_nodes_to_cache=opening["num_nodes_to_cache"])
        on_disk = [path.stat().st_size for path in self._job.folder.iterdir() if path.name.endswith("_disk.index")]
        return {"tier_bytes": sum(on_disk)}

    def configure(self, k: int, params: Mapping[str, Any]) -> None:
        """``complexity``: candidates kept; on disk ``beam_width`` reads at a time."""
        chosen = self._job.parameters(params, {"complexity": 64, **({"beam_width": 4} if self._on_disk else {})})
        chosen["complexity"] = max(k, chosen["complexity"])
        self._search = chosen

    def prepare_queries(self, queries: NDArray[Any]) -> NDArray[Any]:
        """Of the index's dtype; of unit length for cosine."""
        return self._converted(queries)

    def search(self, queries: NDArray[Any], k: int, threads: int) -> tuple[Any, None]:
        """The library's batch call, or its call for one query."""
        if len(queries) == 1:
            found = self._index.search(queries[0], k, **self._search)
            return np.asarray(found.identifiers, np.int64)[None, :], None
        found = self._index.batch_search(queries, k, num_threads=threads, **self._search)
        return found.identifiers.astype(np.int64), None

    def _converted(self, matrix: NDArray[Any]) -> NDArray[Any]:
        if self._native:
            return np.ascontiguousarray(matrix, self._dtype)
        rows = np.ascontiguousarray(matrix, np.float32)
        if self._job.metric == "cosine":
            rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-30))
        return rows
