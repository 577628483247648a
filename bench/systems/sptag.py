"""SPTAG's SPANN: postings on an SSD, their heads in memory. Needs its Python module, built by hand; PyPI has none.

Follows the project's guide for Python; we have no module to try it with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tiervec.bench.systems.child import Job, Vectors

_TYPES = {"float32": "Float", "float16": "Float", "int8": "Int8", "uint8": "UInt8"}
_METRICS = {"l2": "L2", "ip": "InnerProduct", "cosine": "Cosine"}


class System:
    """See ``Measured`` in child.py."""

    def __init__(self, job: Job) -> None:
        import SPTAG

        self._sptag, self._job = SPTAG, job
        known = {"ratio": 0.16, "replicas": 8, "posting_pages": 12}
        self._params = job.parameters(job.build, known)
        self._dtype = np.dtype("float32" if job.dtype == "float16" else job.dtype)
        self._index: Any = None

    def version(self) -> str:
        """The module does not tell."""
        return "unknown"

    def build(self, vectors: Vectors) -> None:
        """Selects heads, builds their graph, writes the postings."""
        index = self._sptag.AnnIndex("SPANN", _TYPES[self._job.dtype], self._job.dim)
        params, threads = self._params, str(self._job.threads)
        sections: dict[str, dict[str, Any]] = {
            "Base": {
                "IndexAlgoType": "BKT",
                "IndexDirectory": str(self._job.folder),
                "DistCalcMethod": _METRICS[self._job.metric],
            },
            "SelectHead": {"isExecute": "true", "NumberOfThreads": threads, "Ratio": params["ratio"]},
            "BuildHead": {"isExecute": "true", "NumberOfThreads": threads},
            "BuildSSDIndex": {
                "isExecute": "true",
                "BuildSsdIndex": "true",
                "NumberOfThreads": threads,
                "ReplicaCount": params["replicas"],
                "PostingPageLimit": params["posting_pages"],
            },
        }
        for section, values in sections.items():
            for key, value in values.items():
                index.SetBuildParam(key, str(value), section)
        rows = np.ascontiguousarray(vectors.all(), self._dtype)
        if not index.Build(rows, rows.shape[0], False) or not index.Save(str(self._job.folder)):
            raise RuntimeError("SPTAG did not build the index; its log says why")

    def open(self) -> Mapping[str, Any]:
        """Loads the heads."""
        self._index = self._sptag.AnnIndex.Load(str(self._job.folder))
        postings = [path.stat().st_size for path in self._job.folder.rglob("*") if "SPTAGFullList" in path.name]
        return {"tier_bytes": sum(postings)}

    def configure(self, k: int, params: Mapping[str, Any]) -> None:
        """``heads``: postings searched."""
        chosen = self._job.parameters(params, {"heads": 64, "max_check": 4096})
        self._index.SetSearchParam("SearchInternalResultNum", str(max(k, chosen["heads"])), "BuildSSDIndex")
        self._index.SetSearchParam("MaxCheck", str(chosen["max_check"]), "BuildSSDIndex")

    def prepare_queries(self, queries: NDArray[Any]) -> NDArray[Any]:
        """Of the index's type."""
        return np.ascontiguousarray(queries, self._dtype)

    def search(self, queries: NDArray[Any], k: int, threads: int) -> tuple[Any, None]:
        """Its batch call gives one flat list."""
        del threads
        if len(queries) == 1:
            return np.asarray(self._index.Search(queries[0].tobytes(), k)[0], np.int64)[None, :], None
        found = self._index.BatchSearch(queries.tobytes(), len(queries), k, False)
        return np.asarray(found[0], np.int64).reshape(len(queries), k), None
