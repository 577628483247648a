"""The kinds of index that this version has; the only place that names them all.

A kind lives above this room, so it stands here as text and is imported when somebody asks for it.
"""

from __future__ import annotations

import functools
from importlib import import_module
from typing import Any, Final

from tiervec.arguments.parameter_checks import shown
from tiervec.errors import UnsupportedError
from tiervec.kinds.index_kind import IndexKind

__all__ = ["DEFAULT_KIND", "KIND_NAMES", "index_kind"]

#: Name, as in ``kind=`` and the manifest -> the module whose ``KIND`` is the kind.
_MODULES: Final = {"graph": "tiervec.graph_index.kind", "cluster": "tiervec.cluster_index.kind"}

KIND_NAMES: Final = tuple(_MODULES)
DEFAULT_KIND: Final = KIND_NAMES[0]


def index_kind(name: object) -> IndexKind[Any, Any]:
    """The kind with this name.

    Raises:
        UnsupportedError: This version has no such kind.

    Example:
        >>> index_kind("graph").build_params.__name__
        'GraphBuildParams'
    """
    if not isinstance(name, str) or name not in _MODULES:
        raise UnsupportedError(f"index kind {shown(name)} is not part of this version; known: {', '.join(KIND_NAMES)}")
    return _load(name)


@functools.cache
def _load(name: str) -> IndexKind[Any, Any]:
    kind = import_module(_MODULES[name]).KIND
    assert isinstance(kind, IndexKind)
    return kind
