"""faiss: inverted files with exact, 8-bit, 4-bit (fast scan) and 1-bit vectors, and HNSW; all in memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tiervec.bench.systems.child import Job, Vectors

_TRAINING_ROWS_PER_LIST = 64
_INVERTED = {"ivfflat": "Flat", "ivfsq8": "SQ8", "ivfpqfs": "PQ{m}x4fs,RFlat", "ivfrabitq": "RaBitQ,RFlat"}


class System:
    """See ``Measured`` in child.py."""

    def __init__(self, job: Job) -> None:
        import faiss

        self._job, self._faiss, self._kind = job, faiss, job.variant["kind"]
        known: dict[str, Any] = {"M": 16, "ef_construction": 200} if self._kind == "hnsw" else {"nlist": None}
        if self._kind == "ivfpqfs":
            known["m"] = None
        self._params = job.parameters(job.build, known)
        self._file = str(job.folder / "faiss.index")
        self._index: Any = None
        faiss.omp_set_num_threads(job.threads)

    def version(self) -> str:
        """The library's version."""
        return str(self._faiss.__version__)

    def build(self, vectors: Vectors) -> None:
        """Trains on a sample, then adds block by block."""
        faiss, params = self._faiss, self._params
        metric = faiss.METRIC_L2 if self._job.metric == "l2" else faiss.METRIC_INNER_PRODUCT
        nlist = 0
        if self._kind == "hnsw":
            description = f"HNSW{params['M']},Flat"
        else:
            nlist = params["nlist"] or max(1, min(round(4 * math.sqrt(vectors.shape[0])), vectors.shape[0] // 39))
            rotation = f"RR{self._job.dim}," if self._kind == "ivfrabitq" else ""
            codes = _INVERTED[self._kind].format(m=params.get("m") or max(1, self._job.dim // 2))
            description = f"{rotation}IVF{nlist},{codes}"
        try:
            index = faiss.index_factory(self._job.dim, description, metric)
        except RuntimeError as error:
            if self._kind == "ivfrabitq":
                raise ImportError(f"faiss {self.version()} has no {description}: 1.11 or newer does") from error
            raise
        if self._kind == "hnsw":
            index.hnsw.efConstruction = params["ef_construction"]
        else:
            index.train(self._converted(vectors.sample(nlist * _TRAINING_ROWS_PER_LIST, self._job.seed)))
        for _, block in vectors.blocks():
            index.add(self._converted(block))
        faiss.write_index(index, self._file)

    def open(self) -> Mapping[str, Any]:
        """Reads it into memory."""
        self._index = self._faiss.read_index(self._file)
        return {}

    def configure(self, k: int, params: Mapping[str, Any]) -> None:
        """``nprobe`` lists, ``k_factor`` x k vectors re-ranked; ``ef`` of HNSW."""
        if self._kind == "hnsw":
            self._index.hnsw.efSearch = max(k, self._job.parameters(params, {"ef": 64})["ef"])
            return
        refined = {"k_factor": 4.0} if "RFlat" in _INVERTED[self._kind] else {}
        chosen = self._job.parameters(params, {"nprobe": 16, **refined})
        self._faiss.extract_index_ivf(self._index).nprobe = chosen["nprobe"]
        if refined:
            self._refining().k_factor = chosen["k_factor"]

    def prepare_queries(self, queries: NDArray[Any]) -> NDArray[Any]:
        """float32; of unit length for cosine."""
        return self._converted(queries)

    def search(self, queries: NDArray[Any], k: int, threads: int) -> tuple[Any, None]:
        """OpenMP threads, a setting of the calling thread."""
        self._faiss.omp_set_num_threads(threads)
        return self._index.search(queries, k)[1], None

    def _refining(self) -> Any:
        index: Any = self._faiss.downcast_index(self._index)
        return index if hasattr(index, "k_factor") else self._faiss.downcast_index(index.index)

    def _converted(self, matrix: NDArray[Any]) -> NDArray[Any]:
        rows = np.ascontiguousarray(matrix, np.float32)
        if self._job.metric == "cosine":
            rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-30))
        return rows
