"""A data set that is ready to be measured on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiervec.bench.results import DatasetKey
from tiervec.vectors.vector_files import VectorFile, open_vectors

__all__ = ["Dataset"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Vectors in a file, queries and true neighbours in memory.

    Attributes:
        key: Name, slice, sizes and checksums.
        vectors_path: The vectors as .u8bin, .i8bin, .fbin or .f16bin.
        queries_path: The queries as .npy.
        queries: Shape (queries, dim), of the vectors' dtype.
        ground_truth: The nearest neighbours of each query, shape (queries, up to 100), int64, nearest first.
    """

    key: DatasetKey
    vectors_path: Path
    queries_path: Path
    queries: NDArray[Any]
    ground_truth: NDArray[np.int64]

    @property
    def vectors(self) -> VectorFile:
        """The vectors, to be read in blocks."""
        return open_vectors(self.vectors_path)

    @property
    def metric(self) -> str:
        """``l2``, ``ip`` or ``cosine``."""
        return self.key.metric
