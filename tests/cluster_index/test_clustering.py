"""Clusters as they are stored: what is written is read, what does not fit together is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiervec.cluster_index.clustering import Clustering, cluster_vectors
from tiervec.cluster_index.navigation import Navigation
from tiervec.cluster_index.params import ClusterBuildParams
from tiervec.errors import DataLossError
from tiervec.index_files.directory import IndexDescription, IndexDirectory, IndexDirectoryWriter
from tiervec.kinds.index_kind import IndexBuild

Array = np.ndarray[Any, Any]
ROWS = 800


def vectors_of() -> Array:
    return np.random.default_rng(1).normal(size=(ROWS, 6)).astype(np.float32)


def saved(clustering: Clustering, out: Path) -> IndexDirectory:
    with IndexDirectoryWriter(out) as writer:
        Navigation.build(clustering, layout="coded", metric="l2", threads=1).write(writer)
        clustering.write(writer)
        writer.commit(
            IndexDescription(
                kind="cluster", metric="l2", dtype="float32", dim=6, vectors=ROWS, dataset_bytes=19_200, params={}
            )
        )
    return IndexDirectory.open(out)


@pytest.mark.parametrize("replicas", [1, 5])
def test_what_is_written_is_read(replicas: int, cluster: Callable[..., Clustering], tmp_path: Path) -> None:
    clustering = cluster(vectors_of(), clusters=40, replicas=replicas, closure=1.0)
    found = Clustering.read(saved(clustering, tmp_path / "index"), clustering.probes.shape[1], 40)
    for name in ("centroids", "groups", "probes"):
        np.testing.assert_array_equal(getattr(found, name), getattr(clustering, name))
    width = found.memberships.lists.shape[1]
    np.testing.assert_array_equal(found.memberships.lists, clustering.memberships.lists[:, :width])
    assert found.details() == clustering.details()


def test_the_sizes_are_said(cluster: Callable[..., Clustering]) -> None:
    clustering = cluster(vectors_of(), clusters=40, replicas=4, closure=1.0)
    details = clustering.details()
    home = np.bincount(clustering.memberships.home, minlength=40)
    listed = clustering.memberships.posting_sizes()
    assert details["clusters"] == 40
    assert details["replication"] == pytest.approx(listed.sum() / ROWS, abs=1e-4)
    for name, sizes in (("own_sizes", home), ("posting_sizes", listed)):
        assert (details[name]["least"], details[name]["most"]) == (sizes.min(), sizes.max())
        assert details[name]["median"] == np.median(sizes)


def test_sample_probes_are_of_the_given_queries(cluster: Callable[..., Clustering]) -> None:
    vectors = vectors_of()
    build = IndexBuild(
        vectors=vectors,
        metric="l2",
        params=ClusterBuildParams(clusters=100),
        threads=1,
        calibration_queries=vectors[:7] + np.float32(0.01),
    )
    clustering = cluster_vectors(build)
    assert clustering.probes.shape == (7, 96)
    squared = ((vectors[:7, None] + np.float32(0.01) - clustering.centroids[None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(clustering.probes[:, 0], squared.argmin(axis=1))
    # Without queries some of the vectors stand for them.
    assert cluster(vectors, clusters=100).probes.shape == (ROWS, 96)


def test_what_does_not_fit_together_is_refused(cluster: Callable[..., Clustering], tmp_path: Path) -> None:
    right = cluster(vectors_of(), clusters=40, replicas=3)
    lists = right.memberships.lists.copy()
    lists[5, 0] = 40
    for name, wrong in (
        ("memberships", replace(right, memberships=replace(right.memberships, lists=lists))),
        ("probes", replace(right, probes=right.probes + np.uint32(1))),
    ):
        directory = saved(wrong, tmp_path / name)
        with pytest.raises(DataLossError, match="stored clusters do not fit 800 vectors"):
            Clustering.read(directory, 40, 40)
    directory = saved(right, tmp_path / "right")
    with pytest.raises(DataLossError):
        Clustering.read(directory, 40, 39)
    with pytest.raises(DataLossError, match="stored clusters do not fit"):
        Clustering.read(directory, 37, 40)
