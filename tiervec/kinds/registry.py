"""The kinds of index that this version has; `tiervec.kinds.names` lists them.

A kind lives above this room, so it stands here as text and is imported when somebody asks for it.
"""

from __future__ import annotations

import functools
from importlib import import_module
from typing import Any

from tiervec.arguments.parameter_checks import shown
from tiervec.errors import UnsupportedError
from tiervec.kinds.index_kind import IndexKind
from tiervec.kinds.names import KIND_MODULES, KIND_NAMES

__all__ = ["index_kind"]


def index_kind(name: object) -> IndexKind[Any, Any]:
    """The kind with this name.

    Raises:
        UnsupportedError: This version has no such kind.

    Example:
        >>> index_kind("graph").build_params.__name__
        'GraphBuildParams'
    """
    if not isinstance(name, str) or name not in KIND_MODULES:
        raise UnsupportedError(f"index kind {shown(name)} is not part of this version; known: {', '.join(KIND_NAMES)}")
    return _load(name)


@functools.cache
def _load(name: str) -> IndexKind[Any, Any]:
    kind = import_module(KIND_MODULES[name]).KIND
    assert isinstance(kind, IndexKind)
    return kind
