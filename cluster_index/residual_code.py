"""Training of codes for the differences between vectors and their clusters' centroids."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiervec.codes import TrainedCode, train_code, training_bytes
from tiervec.codes.centering import robust_center, squared_norms

__all__ = ["residual_training_bytes", "train_residual_code"]


def residual_training_bytes(rows: int, dim: int) -> int:
    """Peak memory of `train_residual_code` in bytes: that of `train_code`, and the origins."""
    return training_bytes(rows, dim) + rows * dim * 4


def train_residual_code(
    name: str,
    sample: NDArray[Any],
    origins: NDArray[np.float32],
    *,
    metric: str,
    code_bits: float,
    seed: int = 0,
    threads: int = 0,
) -> TrainedCode:
    """Trains a code for what `_core.encode_clusters` encodes.

    Axes and bits are chosen for the residuals, whose variance is a fraction of the vectors'. The center stays that of
    the origins: it is what a query is centred by before it is rounded.

    Args:
        name: ``rabitq``, ``sq`` or ``pq``. ``pq`` has no origins: it codes the vectors themselves.
        sample: (rows, dim), any of the four dtypes.
        origins: (rows, dim), what the centroid code of each sampled vector's cluster stands for.
        metric: ``l2``, ``ip`` or ``cosine``.
        code_bits: Bits per dimension.
        seed: Seed for all randomness.
        threads: For training; 0 means all allowed CPUs.
    """
    if name == "pq":
        return train_code(name, sample, metric=metric, code_bits=code_bits, seed=seed, threads=threads)
    residuals: NDArray[np.float32] = np.array(sample, dtype=np.float32)
    if metric == "cosine":
        norms = np.sqrt(squared_norms(residuals))[:, None]
        residuals /= np.where(norms > 0, norms, 1)
    residuals -= origins
    trained = train_code(
        name, residuals, metric="l2", code_bits=code_bits, seed=seed, threads=threads, overwrite_sample=True
    )
    arrays = dict(trained.arrays)
    arrays["center"] = robust_center(origins)
    return TrainedCode(name=name, metric=metric, dim=trained.dim, arrays=arrays, scalars=trained.scalars)
