"""The cluster index as one of the kinds of index."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tiervec.cluster_index.build import check_buildable, estimate_memory_bytes, write_cluster_index
from tiervec.cluster_index.opened import OpenedCluster, open_cluster
from tiervec.cluster_index.params import ClusterBuildParams, ClusterSearchParams
from tiervec.cluster_index.relayout import read_ids, relayout_cluster_index
from tiervec.index_files.directory import IndexDirectory
from tiervec.kinds.index_kind import IndexBuild, IndexKind
from tiervec.machine.interruptible import BuildProgress

__all__ = ["KIND", "ClusterKind"]


class ClusterKind(IndexKind[ClusterBuildParams, ClusterSearchParams]):
    """See `tiervec.cluster_index`."""

    name: ClassVar[str] = "cluster"
    build_params = ClusterBuildParams
    search_params = ClusterSearchParams
    streams: ClassVar[bool] = True

    def check_buildable(self, vectors: int, dim: int, params: ClusterBuildParams) -> None:
        """See `IndexKind`."""
        check_buildable(vectors, dim, params)

    def least_vectors(self, params: ClusterBuildParams) -> int:
        """See `IndexKind`."""
        return max(2, params.clusters or 0)

    def estimate_memory_bytes(
        self, vectors: int, dim: int, itemsize: int, params: ClusterBuildParams, threads: int, *, streamed: bool = False
    ) -> int:
        """See `IndexKind`."""
        return estimate_memory_bytes(vectors, dim, itemsize, params, threads, streamed=streamed)

    def write(self, build: IndexBuild[ClusterBuildParams], out: Path) -> None:
        """See `IndexKind`."""
        write_cluster_index(build, out)

    def open(self, directory: IndexDirectory, tier_url: str) -> OpenedCluster:
        """See `IndexKind`."""
        return open_cluster(directory, tier_url)

    def row_order(self, directory: IndexDirectory) -> NDArray[np.uint32]:
        """See `IndexKind`: the engine counts positions."""
        return read_ids(directory)[0]

    def relayout(
        self,
        directory: IndexDirectory,
        out: Path,
        changes: Mapping[str, Any],
        *,
        memory_limit: int | None,
        threads: int,
        progress: BuildProgress | None,
    ) -> None:
        """See `IndexKind`."""
        relayout_cluster_index(directory, out, changes, memory_limit=memory_limit, threads=threads, progress=progress)

    def largest_settings(self, params: Mapping[str, Any]) -> str:
        """See `IndexKind`."""
        return f"layout={params['layout']}, replicas={params['replicas']} and code_bits={params['code_bits']}"

    def facts(self, details: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `IndexKind`."""
        own, listed = details["own_sizes"], details["posting_sizes"]
        return [
            (
                "clusters",
                f"{details['clusters']:,}, home to {own['least']} to {own['most']} vectors each, "
                f"median {own['median']:g}",
            ),
            (
                "postings",
                f"{listed['least']} to {listed['most']} members, median {listed['median']:g}; "
                f"a vector is in {details['replication']:.2f}",
            ),
        ]


KIND = ClusterKind()
