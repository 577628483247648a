"""The graph index: a Vamana graph whose records lie in second-tier memory, steered by codes in fast memory."""

from __future__ import annotations

from tiervec.graph_index.params import GraphBuildParams, GraphSearchParams

__all__ = ["GraphBuildParams", "GraphSearchParams"]
