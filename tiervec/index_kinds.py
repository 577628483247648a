"""The kinds of index that this version has."""

from __future__ import annotations

from typing import Any

from tiervec.cluster_index.kind import ClusterKind
from tiervec.errors import UnsupportedError
from tiervec.graph_index.kind import GraphKind
from tiervec.index_kind import IndexKind
from tiervec.parameter_checks import shown

__all__ = ["INDEX_KINDS", "index_kind"]

INDEX_KINDS: dict[str, IndexKind[Any, Any]] = {kind.name: kind for kind in (GraphKind(), ClusterKind())}


def index_kind(name: object) -> IndexKind[Any, Any]:
    """The kind with this name.

    Raises:
        UnsupportedError: This version has no such kind.

    Example:
        >>> index_kind("graph").build_params.__name__
        'GraphBuildParams'
    """
    found = INDEX_KINDS.get(name) if isinstance(name, str) else None
    if found is None:
        raise UnsupportedError(f"index kind {shown(name)} is not part of this version; known: {', '.join(INDEX_KINDS)}")
    return found
