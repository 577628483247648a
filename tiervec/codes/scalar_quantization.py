"""Training of the ``sq`` code: each dimension on a uniform grid over its own range, 4 or 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiervec.codes.centering import BLOCK_VALUES

__all__ = ["train"]

_TAIL = 0.001  # of the sample's values on each side are clipped


def train(vectors: NDArray[np.float32], row_bytes: int, bits: int) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Trains on float32 vectors (rows, dim), unit length for cosine; returns (arrays, scalars) of a dot code."""
    columns = max(1, BLOCK_VALUES // len(vectors))
    starts = range(0, vectors.shape[1], columns)
    tails = [np.quantile(vectors[:, start : start + columns], [_TAIL, 1 - _TAIL], axis=0) for start in starts]
    low, high = np.concatenate(tails, axis=1)
    center = (low + high) / 2
    arrays = {
        "center": center.astype(np.float32),
        "widths": np.full(vectors.shape[1], bits, np.uint8),
        "steps": ((high - low) / 2**bits).astype(np.float32),
    }
    return arrays, {"row_bytes": row_bytes, "unbiased": False}
