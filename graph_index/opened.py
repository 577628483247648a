"""A graph index opened on a tier: the native searcher and what it was made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiervec import _core
from tiervec.codes import CODE_NAMES, TrainedCode
from tiervec.engine.calibration import CalibrationGrid
from tiervec.errors import DataLossError
from tiervec.graph_index.params import LARGEST_DIM, MOST_VECTORS, GraphSearchParams
from tiervec.index_files.directory import IndexDirectory
from tiervec.kinds.index_kind import OpenedIndex
from tiervec.machine.interruptible import run_interruptibly
from tiervec.placement.section_tier import open_section

__all__ = ["CALIBRATION_GRID", "GraphParts", "OpenedGraph", "make_searcher", "open_graph", "record_sizes"]

CALIBRATION_GRID = CalibrationGrid(
    coarse="search_list",
    coarse_values=(10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384),
    fine="stop_margin",
    fine_values=(0.02, 0.05, 0.08, 0.11, 0.15, 0.2, 0.3, 0.5),
    unlimited=0.0,
    at_least_k="search_list",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class GraphParts:
    """The fast part of a graph index, as arrays."""

    vectors: int
    dim: int
    dtype: str
    metric: str
    layout: Mapping[str, int]
    code: TrainedCode
    rows: NDArray[np.uint8]
    locator: NDArray[np.uint8]
    navigation_ids: NDArray[np.uint8]
    navigation_edges: NDArray[np.uint8]


def make_searcher(tier: _core.Tier, parts: GraphParts) -> _core.GraphSearcher:
    """Connects the parts with the records on `tier`. The rows are not copied: they stay alive with the searcher."""
    return _core.GraphSearcher(
        tier,
        parts.vectors,
        parts.dim,
        parts.dtype,
        parts.metric,
        dict(parts.layout),
        parts.locator,
        parts.navigation_ids,
        parts.navigation_edges,
        parts.code.native(),
        parts.rows.reshape(-1),
    )


class OpenedGraph(OpenedIndex[GraphSearchParams]):
    """A graph index on a tier."""

    grid = CALIBRATION_GRID
    searcher: _core.GraphSearcher

    def __init__(self, searcher: _core.GraphSearcher, tier: _core.Tier, vectors: int) -> None:
        self.tier, self.searcher = tier, searcher
        self._vectors = vectors

    def fitted(self, params: GraphSearchParams, k: int) -> GraphSearchParams:
        """The list cannot hold more than there is, and must hold k."""
        length = max(min(params.search_list, self._vectors), min(k, self._vectors))
        return replace(params, search_list=length, beam_width=params.beam_width if params.pipeline else 1)

    def filter_plan(self, rows: _core.RowFilter, params: GraphSearchParams, k: int) -> str:
        """``empty``, ``rows`` or ``search``."""
        return self.searcher.plan(rows, k, params.search_list)

    def fill_fast_memory(self, spare_bytes: int, threads: int) -> int:
        """Fills it with the records that searches read most."""
        before, token = self.searcher.fast_bytes, _core.CancelToken()
        run_interruptibly(lambda: self.searcher.fill_hot_set(spare_bytes, threads, token), token.cancel)
        return self.searcher.fast_bytes - before


def open_graph(directory: IndexDirectory, tier_url: str) -> OpenedGraph:
    """Opens a saved graph index: verifies and loads the fast sections, opens the records on the tier.

    The records are verified while they are loaded; a tier that maps them instead has every record checked as it is
    read.
    """
    manifest = directory.manifest
    tier = open_section(directory, "records", tier_url)
    details = manifest.details
    if details.get("code") not in CODE_NAMES:
        raise DataLossError(f"{directory.path}: the manifest does not describe a graph index's records and code")
    if manifest.vectors > MOST_VECTORS or manifest.dim > LARGEST_DIM:
        raise DataLossError(
            f"{directory.path}: the manifest has {manifest.vectors:,} vectors of dimension {manifest.dim:,}, "
            f"more than a graph index holds"
        )
    sizes = record_sizes(directory)
    parts = GraphParts(
        vectors=manifest.vectors,
        dim=manifest.dim,
        dtype=manifest.dtype,
        metric=manifest.metric,
        layout=sizes,
        code=TrainedCode.from_bytes(
            directory.read_section("code").tobytes(), name=details["code"], metric=manifest.metric, dim=manifest.dim
        ),
        rows=directory.read_section("code_rows", _core.huge_bytes(directory.section("code_rows").bytes)),
        locator=np.empty(0, np.uint8) if sizes["sector_degree"] else directory.read_section("locator"),
        navigation_ids=directory.read_section("navigation_ids"),
        navigation_edges=directory.read_section("navigation_edges"),
    )
    return OpenedGraph(make_searcher(tier, parts), tier, manifest.vectors)


def record_sizes(directory: IndexDirectory) -> dict[str, int]:
    """The sizes that describe the records and the salt of their checks, as the native layout takes them."""
    layout = directory.manifest.details.get("layout")
    if not isinstance(layout, Mapping):
        raise DataLossError(f"{directory.path}: the manifest does not describe a graph index's records and code")
    sizes = {key: _whole(layout.get(key), key, directory) for key in ("id_bits", "label_bytes", "unit")}
    sizes["sector_degree"] = _whole(layout.get("sector_degree", 0), "sector_degree", directory)
    return sizes | {"salt": int(directory.manifest.salt, 16)}


def _whole(value: Any, key: str, directory: IndexDirectory) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise DataLossError(f"{directory.path}: the manifest has {key} {value!r}; it must be a small integer")
    return value
