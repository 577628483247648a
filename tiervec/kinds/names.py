"""The names of the kinds of index; nothing else is imported, so that the command line can list them at once."""

from __future__ import annotations

from typing import Final

__all__ = ["DEFAULT_KIND", "KIND_MODULES", "KIND_NAMES"]

#: Name, as in ``kind=`` and the manifest -> the module whose ``KIND`` is the kind.
KIND_MODULES: Final = {"graph": "tiervec.graph_index.kind", "cluster": "tiervec.cluster_index.kind"}

KIND_NAMES: Final = tuple(KIND_MODULES)
DEFAULT_KIND: Final = KIND_NAMES[0]
