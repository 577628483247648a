"""The graph index as one of the kinds of index."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from tiervec.graph_index.build import check_buildable, estimate_memory_bytes, write_graph_index
from tiervec.graph_index.opened import OpenedGraph, open_graph
from tiervec.graph_index.params import GraphBuildParams, GraphSearchParams
from tiervec.graph_index.relayout import relayout_graph_index
from tiervec.index_files.directory import IndexDirectory
from tiervec.kinds.index_kind import IndexBuild, IndexKind
from tiervec.machine.interruptible import BuildProgress

__all__ = ["KIND", "GraphKind"]


class GraphKind(IndexKind[GraphBuildParams, GraphSearchParams]):
    """See `tiervec.graph_index`."""

    name: ClassVar[str] = "graph"
    build_params = GraphBuildParams
    search_params = GraphSearchParams

    def check_buildable(self, vectors: int, dim: int, params: GraphBuildParams) -> None:
        """See `IndexKind`."""
        del params
        check_buildable(vectors, dim)

    def estimate_memory_bytes(
        self, vectors: int, dim: int, itemsize: int, params: GraphBuildParams, threads: int, *, streamed: bool = False
    ) -> int:
        """See `IndexKind`."""
        del streamed  # a graph is linked over vectors in memory
        return estimate_memory_bytes(vectors, dim, itemsize, params, threads)

    def write(self, build: IndexBuild[GraphBuildParams], out: Path) -> None:
        """See `IndexKind`."""
        write_graph_index(build, out)

    def open(self, directory: IndexDirectory, tier_url: str) -> OpenedGraph:
        """See `IndexKind`."""
        return open_graph(directory, tier_url)

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
        del threads  # records are written one by one
        relayout_graph_index(directory, out, changes, memory_limit=memory_limit, progress=progress)

    def largest_settings(self, params: Mapping[str, Any]) -> str:
        """See `IndexKind`."""
        return f"graph_degree={params['graph_degree']} and code_bits={params['code_bits']}"


KIND = GraphKind()
