"""TierVec: vector search with the index in second-tier memory.

Names are imported when they are first used: `import tiervec.errors` loads neither numpy nor the engine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from tiervec.errors import (
    AlreadyExistsError,
    CancelledError,
    DataLossError,
    DeadlineExceededError,
    DiskFullError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    TiervecError,
    UnavailableError,
    UnsupportedError,
)

if TYPE_CHECKING:
    from tiervec._core import CancelToken
    from tiervec.api import Index, IndexInfo, SearchResult, build, import_diskann, open, relayout  # noqa: A004 - the contract's name
    from tiervec.engine.receipt import Receipt
    from tiervec.placement.publish import PublishReceipt, publish
    from tiervec.vectors.ground_truth import recall

__version__ = "0.1.0"
__all__ = [
    "AlreadyExistsError",
    "CancelToken",
    "CancelledError",
    "DataLossError",
    "DeadlineExceededError",
    "DiskFullError",
    "Index",
    "IndexInfo",
    "InvalidArgumentError",
    "NotFoundError",
    "PermissionDeniedError",
    "PublishReceipt",
    "Receipt",
    "ResourceExhaustedError",
    "SearchResult",
    "TiervecError",
    "UnavailableError",
    "UnsupportedError",
    "__version__",
    "build",
    "import_diskann",
    "open",
    "publish",
    "recall",
    "relayout",
]

#: Public name -> the module that defines it.
_LAZY: Final = {
    "CancelToken": "tiervec._core",
    "Index": "tiervec.api",
    "IndexInfo": "tiervec.api",
    "SearchResult": "tiervec.api",
    "build": "tiervec.api",
    "import_diskann": "tiervec.api",
    "open": "tiervec.api",
    "relayout": "tiervec.api",
    "Receipt": "tiervec.engine.receipt",
    "PublishReceipt": "tiervec.placement.publish",
    "publish": "tiervec.placement.publish",
    "recall": "tiervec.vectors.ground_truth",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        found = getattr(import_module(_LAZY[name]), name)
    except ModuleNotFoundError as missing:
        if missing.name != "tiervec._core":
            raise
        raise ImportError(
            "tiervec's extension is not built: run `make install` in the source tree, or `pip install .`"
        ) from missing
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
