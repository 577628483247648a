"""TierVec: vector search with the index in second-tier memory."""

from __future__ import annotations

__version__ = "0.1.0"

try:
    import tiervec._core  # noqa: F401
except ModuleNotFoundError as missing:
    if missing.name != "tiervec._core":
        raise
    raise ImportError(
        "tiervec's extension is not built: run `make install` in the source tree, or `pip install .`"
    ) from missing

from tiervec._core import CancelToken
from tiervec.api import Index, IndexInfo, SearchResult, build, import_diskann, open, relayout  # noqa: A004 - the contract's name
from tiervec.engine.receipt import Receipt
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
from tiervec.placement.publish import PublishReceipt, publish
from tiervec.vectors.ground_truth import recall

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
