"""True neighbours by looking at every vector, in blocks of bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tiervec.vectors.vector_files import VectorFile

__all__ = ["MOST_NEIGHBOURS", "distances_of", "exact_neighbours"]

MOST_NEIGHBOURS: Final = 100
# float32 sums put vectors that are nearly as far into a wrong order: more are kept, and sorted by float64 distances.
_SPARE: Final = 28
# So few are compared in float64: of close vectors far from the origin, float32 loses more than the spare ones.
_FEW_VECTORS: Final = 20_000
_QUERIES_AT_ONCE: Final = 128
_BLOCK_BYTES: Final = 64 * 1024 * 1024


def exact_neighbours(
    vectors: VectorFile,
    queries: NDArray[Any],
    metric: str,
    k: int = MOST_NEIGHBOURS,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The `k` nearest vectors of each query, nearest first; of equally near ones that with the lower id.

    Args:
        vectors: The vectors.
        queries: Shape (queries, dim).
        metric: ``l2``, ``ip`` or ``cosine``.
        k: Neighbours; fewer when there are fewer vectors.
        progress: Called with (vectors looked at, vectors in all).

    Returns:
        ids (queries, k) and distances as `tiervec.Index.search` gives them.
    """
    k = min(k, vectors.shape[0])
    wanted = min(k + _SPARE, vectors.shape[0])
    if vectors.shape[0] <= _FEW_VECTORS:
        ids = _nearest_of_few(vectors, queries, metric, wanted)
        if progress is not None:
            progress(vectors.shape[0], vectors.shape[0])
    else:
        ids = _nearest_of_many(vectors, queries, metric, wanted, progress)
    return _sorted_exactly(vectors, queries, metric, ids, k)


def _nearest_of_few(vectors: VectorFile, queries: NDArray[Any], metric: str, wanted: int) -> NDArray[np.int64]:
    """Ids of the nearest, in no order."""
    base = vectors.rows(0, vectors.shape[0]).astype(np.float64)
    asked = queries.astype(np.float64)
    if metric == "l2":
        base, asked = base - base.mean(axis=0), asked - base.mean(axis=0)
    squares = np.einsum("nd,nd->n", base, base)
    if metric == "cosine":
        base /= np.sqrt(np.where(squares > 0, squares, 1))[:, None]
    ids = np.empty((len(queries), wanted), np.int64)
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        dots = asked[start : start + _QUERIES_AT_ONCE] @ base.T
        far = squares - 2 * dots if metric == "l2" else -dots
        ids[start : start + len(dots)] = np.argpartition(far, wanted - 1, axis=1)[:, :wanted]
    return ids


def _nearest_of_many(
    vectors: VectorFile,
    queries: NDArray[Any],
    metric: str,
    wanted: int,
    progress: Callable[[int, int], None] | None,
) -> NDArray[np.int64]:
    """Ids of the nearest by float32 distances."""
    import faiss

    kind = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    asked = _prepared(queries, metric)
    best = np.full((len(queries), wanted), np.inf, np.float32)
    ids = np.full((len(queries), wanted), -1, np.int64)
    for first, block in vectors.chunks(max(vectors.row_bytes, _BLOCK_BYTES * vectors.dtype.itemsize // 4)):
        found, near = faiss.knn(asked, _prepared(block, metric), min(wanted, len(block)), metric=kind)
        both = np.concatenate([best, found if metric == "l2" else -found], axis=1)
        both_ids = np.concatenate([ids, near + first], axis=1)
        order = np.argpartition(both, wanted - 1, axis=1)[:, :wanted] if both.shape[1] > wanted else ...
        best, ids = (_pick(both, order), _pick(both_ids, order)) if order is not ... else (both, both_ids)
        if progress is not None:
            progress(first + len(block), vectors.shape[0])
    return ids


def distances_of(
    vectors: VectorFile, queries: NDArray[Any], metric: str, ids: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Distances in float64 of each query to the vectors `ids` of its row."""
    rows = _gathered(vectors, ids)
    asked, rows = queries.astype(np.float64)[:, None, :], rows.astype(np.float64)
    if metric == "l2":
        difference = rows - asked
        return np.asarray(np.einsum("qkd,qkd->qk", difference, difference))
    dots = np.einsum("qkd,qkd->qk", rows, np.broadcast_to(asked, rows.shape))
    if metric == "ip":
        return np.asarray(-dots)
    norms = np.linalg.norm(rows, axis=2) * np.linalg.norm(asked, axis=2)
    return np.asarray(1 - dots / np.where(norms > 0, norms, 1))


def _prepared(matrix: NDArray[Any], metric: str) -> NDArray[np.float32]:
    rows = np.ascontiguousarray(matrix, dtype=np.float32)
    if metric == "cosine":
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        rows = rows / np.where(norms > 0, norms, np.float32(1))
    return rows


def _sorted_exactly(
    vectors: VectorFile, queries: NDArray[Any], metric: str, ids: NDArray[np.int64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    found_ids = np.empty((len(queries), k), np.int64)
    distances = np.empty((len(queries), k), np.float32)
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        part = slice(start, start + _QUERIES_AT_ONCE)
        exact = distances_of(vectors, queries[part], metric, ids[part])
        order = np.lexsort((ids[part], exact), axis=1)[:, :k]
        found_ids[part], distances[part] = _pick(ids[part], order), _pick(exact, order)
    return found_ids, distances


def _gathered(vectors: VectorFile, ids: NDArray[np.int64]) -> NDArray[Any]:
    """The rows `ids`, shape (*ids.shape, dim)."""
    mapped = vectors.mapped
    if mapped is not None:
        return np.asarray(mapped[ids])
    unique, where = np.unique(ids, return_inverse=True)
    rows = np.stack([vectors.rows(int(row), int(row) + 1)[0] for row in unique])
    return np.asarray(rows[where.reshape(ids.shape)])


def _pick(values: NDArray[Any], order: NDArray[np.int64]) -> NDArray[Any]:
    return np.take_along_axis(values, order, axis=1)
