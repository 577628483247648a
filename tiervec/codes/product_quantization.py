"""Training of the ``pq`` code with faiss (Jegou et al., TPAMI 2011): 256 centroids for each part of the vector."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiervec.errors import InvalidArgumentError, UnsupportedError
from tiervec.machine.openmp import openmp_threads

__all__ = ["train"]

_CENTROIDS = 256
_BITS = 8


def train(
    vectors: NDArray[np.float32], parts: int, *, seed: int, threads: int
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Trains on float32 vectors (rows, dim), unit length for cosine; returns (arrays, scalars) of a pq code."""
    try:
        import faiss
    except ImportError:
        raise UnsupportedError("code pq is trained with faiss, which is not installed: pip install faiss-cpu") from None
    if len(vectors) < _CENTROIDS:
        raise InvalidArgumentError(
            f"code pq needs at least {_CENTROIDS} vectors to train on and there are {len(vectors)}; use code rabitq"
        )
    faiss.omp_set_num_threads(openmp_threads(threads))  # it would else keep what an earlier build asked for
    quantizer = faiss.ProductQuantizer(vectors.shape[1], parts, _BITS)
    quantizer.cp.seed = seed % 2**31
    quantizer.cp.min_points_per_centroid = 1
    quantizer.train(np.ascontiguousarray(vectors))
    centroids = faiss.vector_to_array(quantizer.centroids).astype(np.float32)
    return {"centroids": centroids}, {"parts": parts}
