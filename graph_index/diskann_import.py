"""An index that Microsoft's DiskANN built, as a graph index: the same graph and vectors, in records of our own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tiervec.errors import InvalidArgumentError
from tiervec.graph_index.build import LinkedGraph, write_graph_index
from tiervec.graph_index.diskann_files import DiskannIndex
from tiervec.graph_index.params import GraphBuildParams
from tiervec.kinds.index_kind import IndexBuild

__all__ = ["import_params", "write_imported"]

_OF_THE_GRAPH = ("graph_degree", "build_list", "alpha")


def import_params(source: DiskannIndex, given: Mapping[str, Any]) -> GraphBuildParams:
    """The build parameters of an imported index: the graph is as it is, layout and code can be chosen.

    Raises:
        InvalidArgumentError: A parameter of the graph, which is not linked again.
    """
    for key in _OF_THE_GRAPH:
        if key in given:
            raise InvalidArgumentError(f"{key} is the graph's, which was linked by DiskANN; leave it out")
    degree = max(source.room, 2)
    return dataclasses.replace(GraphBuildParams(graph_degree=degree, build_list=max(100, degree)), **given)


def write_imported(
    source: DiskannIndex,
    build: IndexBuild[GraphBuildParams],
    neighbors: NDArray[Any],
    degrees: NDArray[Any],
    out: Path,
) -> None:
    """Writes the index at `out`, whole or not at all. `build` holds the vectors of `source`."""
    graph = LinkedGraph(neighbors=neighbors, degrees=degrees, origin=f"DiskANN, {source.path.name}")
    write_graph_index(build, out, graph)
