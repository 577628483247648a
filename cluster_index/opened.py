"""A cluster index opened on a tier: the native searcher and what it was made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiervec import _core
from tiervec.cluster_index.bit_packing import bits_for, packed_bytes, readable_bits
from tiervec.cluster_index.navigation import Navigation
from tiervec.cluster_index.params import LARGEST_DIM, LAYOUTS, MOST_RERANKED, MOST_VECTORS, ClusterSearchParams
from tiervec.codes import CODE_NAMES, TrainedCode
from tiervec.engine.calibration import CalibrationGrid
from tiervec.errors import DataLossError
from tiervec.index_files.directory import IndexDirectory
from tiervec.kinds.index_kind import OpenedIndex
from tiervec.placement.section_tier import open_section

__all__ = [
    "ClusterParts",
    "OpenedCluster",
    "calibration_grid",
    "described",
    "make_searcher",
    "open_cluster",
    "tier_section",
]


_NPROBES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_RERANKS = (10, 16, 24, 32, 48, 64, 96, 128)
# What the calibration grows to on data that need it.
_MOST_CALIBRATED = 8192
_MOST_CALIBRATED_RERANK = 2048
_READS_PER_CODE = 1 / 40  # a distance by code costs about so much of a read and its exact distance


@dataclass(frozen=True, kw_only=True, eq=False)
class ClusterParts:
    """The fast part of a cluster index, as arrays; see the README for which layout has which."""

    vectors: int
    dim: int
    dtype: str
    metric: str
    layout: str
    salt: int
    ids: NDArray[np.uint8]
    id_bits: int
    cluster_offsets: NDArray[np.uint32]
    navigation: Navigation
    cluster_places: NDArray[np.uint32] | None = None
    code: TrainedCode | None = None
    code_blocks: NDArray[np.uint8] | None = None
    spill_offsets: NDArray[np.uint32] | None = None
    spill_positions: NDArray[np.uint8] | None = None
    posting_offsets: NDArray[np.uint64] | None = None
    posting_addresses: NDArray[np.uint8] | None = None
    posting_counts: NDArray[np.uint32] | None = None

    def native(self) -> dict[str, Any]:
        """What `_core.ClusterSearcher` takes."""
        parts: dict[str, Any] = {
            "vectors": self.vectors,
            "dim": self.dim,
            "dtype": self.dtype,
            "metric": self.metric,
            "layout": self.layout,
            "salt": self.salt,
            "ids": self.ids,
            "id_bits": self.id_bits,
            "cluster_offsets": self.cluster_offsets,
            "centroid_code": self.navigation.code.native(),
            "centroid_rows": self.navigation.centroid_rows.reshape(-1),
            "group_rows": self.navigation.group_rows.reshape(-1),
            "group_offsets": self.navigation.group_offsets,
        }
        if self.code is not None:
            parts["code"] = self.code.native()
        if self.posting_addresses is not None or self.spill_positions is not None:
            parts["address_bits"] = bits_for(self.vectors - 1)
        for name in (
            "cluster_places",
            "code_blocks",
            "spill_offsets",
            "spill_positions",
            "posting_offsets",
            "posting_addresses",
            "posting_counts",
        ):
            if (array := getattr(self, name)) is not None:
                parts[name] = array
        return parts


class OpenedCluster(OpenedIndex[ClusterSearchParams]):
    """A cluster index on a tier."""

    def __init__(
        self, searcher: _core.ClusterSearcher, tier: _core.Tier, *, layout: str, vectors: int, clusters: int
    ) -> None:
        self.tier, self.searcher = tier, searcher
        self.grid = calibration_grid(layout, clusters)
        self._vectors, self._clusters = vectors, clusters

    def fitted(self, params: ClusterSearchParams, k: int) -> ClusterSearchParams:
        """No more clusters and vectors than there are, and no fewer than k vectors."""
        rerank = max(min(params.rerank, self._vectors), min(k, self._vectors, MOST_RERANKED))
        return replace(params, nprobe=min(params.nprobe, self._clusters), rerank=rerank)

    def filter_plan(self, rows: _core.RowFilter, params: ClusterSearchParams, k: int) -> str:
        """``empty``, ``rows`` or ``clusters``."""
        return self.searcher.plan(rows, k, params.nprobe, params.rerank)


def tier_section(layout: str) -> str:
    """The section on the tier."""
    return "postings" if layout == "replicated" else "vectors"


def calibration_grid(layout: str, clusters: int) -> CalibrationGrid:
    """The search parameters that decide about recall in a layout."""
    nprobes = tuple(value for value in _NPROBES if value < clusters) + ((clusters,) if clusters <= _NPROBES[-1] else ())
    if layout != "coded":
        return CalibrationGrid(
            fine="nprobe", fine_values=nprobes, whole_numbers=True, limits={"nprobe": min(clusters, _MOST_CALIBRATED)}
        )
    return CalibrationGrid(
        coarse="nprobe",
        coarse_values=nprobes,
        fine="rerank",
        fine_values=_RERANKS,
        at_least_k="rerank",
        most=MOST_RERANKED,
        limits={"nprobe": min(clusters, _MOST_CALIBRATED), "rerank": _MOST_CALIBRATED_RERANK},
        whole_numbers=True,
        code_weight=_READS_PER_CODE,
    )


def make_searcher(tier: _core.Tier, parts: ClusterParts) -> _core.ClusterSearcher:
    """Connects the parts with the big part on `tier`. Large arrays are not copied: they live with the searcher."""
    return _core.ClusterSearcher(tier, parts.native())


def open_cluster(directory: IndexDirectory, tier_url: str) -> OpenedCluster:
    """Opens a saved cluster index: verifies and loads the fast sections, opens the big part on the tier.

    The big part is verified while it is loaded; a tier that maps it instead has every vector checked as it is read.
    """
    manifest = directory.manifest
    layout, clusters = described(directory)
    section = tier_section(layout)
    tier = open_section(directory, section, tier_url)
    parts = ClusterParts(
        vectors=manifest.vectors,
        dim=manifest.dim,
        dtype=manifest.dtype,
        metric=manifest.metric,
        layout=layout,
        salt=int(manifest.salt, 16),
        ids=directory.read_array("ids", np.uint8, (packed_bytes(manifest.vectors, manifest.details["id_bits"]),)),
        id_bits=manifest.details["id_bits"],
        cluster_offsets=directory.read_array("cluster_offsets", np.uint32, (clusters + 1,)),
        navigation=Navigation.read(directory, clusters),
        **(_read_code(directory, clusters) if layout == "coded" else _read_postings(directory, layout, clusters)),
    )
    return OpenedCluster(make_searcher(tier, parts), tier, layout=layout, vectors=manifest.vectors, clusters=clusters)


def described(directory: IndexDirectory) -> tuple[str, int]:
    """Layout and number of clusters, after a check of what the manifest says."""
    manifest = directory.manifest
    details = manifest.details
    layout, clusters, id_bits = details.get("layout"), details.get("clusters"), details.get("id_bits")
    if layout not in LAYOUTS or (layout == "coded" and details.get("code") not in CODE_NAMES):
        raise DataLossError(f"{directory.path}: the manifest does not describe a cluster index's layout and code")
    if manifest.vectors > MOST_VECTORS or manifest.dim > LARGEST_DIM:
        raise DataLossError(
            f"{directory.path}: the manifest has {manifest.vectors:,} vectors of dimension {manifest.dim:,}, "
            f"more than a cluster index holds"
        )
    if type(clusters) is not int or not 1 <= clusters <= manifest.vectors:
        raise DataLossError(f"{directory.path}: the manifest has {clusters!r} clusters of {manifest.vectors:,} vectors")
    if not readable_bits(id_bits):
        raise DataLossError(f"{directory.path}: the manifest has id_bits {id_bits!r}, not 1 to 56 or 64")
    return layout, clusters


def _read_code(directory: IndexDirectory, clusters: int) -> dict[str, Any]:
    manifest = directory.manifest
    code = TrainedCode.from_bytes(
        directory.read_section("code").tobytes(),
        name=manifest.details["code"],
        metric=manifest.metric,
        dim=manifest.dim,
    )
    size = directory.section("code_blocks").bytes
    found = {"code": code, "code_blocks": directory.read_section("code_blocks", _core.huge_bytes(size))}
    if manifest.details.get("spill") is True:
        found["spill_offsets"] = directory.read_array("spill_offsets", np.uint32, (clusters + 1,))
        found["spill_positions"] = directory.read_section("spill_positions")
    return found


def _read_postings(directory: IndexDirectory, layout: str, clusters: int) -> dict[str, Any]:
    offsets = directory.read_array("posting_offsets", np.uint64, (clusters + 1,))
    if layout == "replicated":
        counts = directory.read_array("posting_counts", np.uint32, (clusters,))
        return {"posting_offsets": offsets, "posting_counts": counts}
    found: dict[str, Any] = {
        "posting_offsets": offsets,
        "posting_addresses": directory.read_section("posting_addresses"),
    }
    if layout == "grouped":
        found["cluster_places"] = directory.read_array("cluster_places", np.uint32, (clusters,))
    return found
