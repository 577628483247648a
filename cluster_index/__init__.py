"""The cluster index: vectors in clusters on second-tier memory, found by centroids and codes in fast memory."""

from __future__ import annotations

from tiervec.cluster_index.params import ClusterBuildParams, ClusterSearchParams

__all__ = ["ClusterBuildParams", "ClusterSearchParams"]
