from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tiervec.cluster_index.arrangement import Arrangement
from tiervec.cluster_index.closure import NONE, Memberships
from tiervec.cluster_index.clustering import Clustering, cluster_vectors
from tiervec.cluster_index.params import ClusterBuildParams
from tiervec.kinds.index_kind import IndexBuild

pytest.importorskip("faiss", reason="clusters are built with faiss, which is not installed")

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="session")
def cluster() -> Callable[..., Clustering]:
    """``cluster(vectors, "l2", clusters=8)``: the clusters of vectors, with one thread."""

    def make(vectors: Array, metric: str = "l2", *, seed: int = 0, threads: int = 1, **params: Any) -> Clustering:
        build = IndexBuild(
            vectors=vectors, metric=metric, params=ClusterBuildParams(**params), threads=threads, seed=seed
        )
        return cluster_vectors(build)

    return make


@pytest.fixture(scope="session")
def random_memberships() -> Callable[..., Memberships]:
    """``random_memberships(random, vectors, clusters, replicas)``: any lists that closure could make."""

    def make(random: np.random.Generator, vectors: int, clusters: int, replicas: int) -> Memberships:
        replicas = min(replicas, clusters)
        lists = np.argsort(random.random((vectors, clusters)), axis=1)[:, :replicas].astype(np.uint32)
        kept = random.integers(1, replicas + 1, vectors)
        lists[np.arange(replicas) >= kept[:, None]] = NONE
        return Memberships(lists=lists, clusters=clusters)

    return make


def members_of(arrangement: Arrangement, cluster: int) -> list[int]:
    """Rows that a search of one cluster compares with, by the definition of the layouts: the slow reference."""
    if arrangement.places is not None:
        cluster = int(arrangement.places[cluster])
    own = range(int(arrangement.cluster_offsets[cluster]), int(arrangement.cluster_offsets[cluster + 1]))
    positions = list(own)
    if arrangement.posting_offsets is not None and arrangement.postings is not None:
        first, end = arrangement.posting_offsets[cluster : cluster + 2]
        positions += arrangement.postings[first:end].tolist()
    return sorted(arrangement.order[positions].tolist())


@pytest.fixture(scope="session")
def reference_members() -> Callable[[Arrangement, int], list[int]]:
    return members_of
