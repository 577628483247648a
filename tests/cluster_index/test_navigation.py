from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiervec.cluster_index.navigation import Navigation
from tiervec.errors import DataLossError
from tiervec.index_files.directory import IndexDescription, IndexDirectory, IndexDirectoryWriter

Array = np.ndarray[Any, Any]


def vectors_of(dim: int = 12) -> Array:
    return np.random.default_rng(1).normal(size=(900, dim)).astype(np.float32) * 3 + 1


def saved(navigation: Navigation, out: Path, metric: str = "l2") -> IndexDirectory:
    with IndexDirectoryWriter(out) as writer:
        navigation.write(writer)
        writer.commit(
            IndexDescription(
                kind="cluster", metric=metric, dtype="float32", dim=12, vectors=900, dataset_bytes=43_200, params={}
            )
        )
    return IndexDirectory.open(out)


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_codes_stand_for_the_centroids(metric: str, cluster: Callable[..., Any]) -> None:
    clustering = cluster(vectors_of(), metric, clusters=60)
    navigation = Navigation.build(clustering, layout="coded", metric=metric, threads=1)
    assert navigation.centroid_rows.shape == (60, navigation.code.native().row_bytes)
    centroids = clustering.centroids
    if metric == "cosine":  # a code of directions
        centroids = centroids / np.linalg.norm(centroids, axis=1, keepdims=True)
    error = np.linalg.norm(navigation.origins() - centroids, axis=1)
    spread = np.linalg.norm(centroids - centroids.mean(axis=0), axis=1)
    assert np.median(error) <= 0.4 * np.median(spread)
    assert (navigation.group_offsets[0], navigation.group_offsets[-1]) == (0, 60)
    assert len(navigation.group_rows) == len(navigation.group_offsets) - 1


def test_layouts_that_read_whole_clusters_find_them_by_finer_codes(cluster: Callable[..., Any]) -> None:
    clustering = cluster(vectors_of(64), clusters=60)  # in few dimensions a code has its least size anyway

    def error(layout: str) -> float:
        origins = Navigation.build(clustering, layout=layout, metric="l2", threads=1).origins()
        return float(np.linalg.norm(origins - clustering.centroids, axis=1).mean())

    for layout in ("grouped", "decoupled", "replicated"):
        assert error(layout) < error("coded")


def test_what_is_written_is_read(cluster: Callable[..., Any], tmp_path: Path) -> None:
    navigation = Navigation.build(cluster(vectors_of(), clusters=40), layout="coded", metric="l2", threads=1)
    found = Navigation.read(saved(navigation, tmp_path / "index"), 40)
    assert found.code.to_bytes() == navigation.code.to_bytes()
    for name in ("centroid_rows", "group_rows", "group_offsets"):
        np.testing.assert_array_equal(getattr(found, name), getattr(navigation, name))


def test_another_number_of_clusters_is_refused(cluster: Callable[..., Any], tmp_path: Path) -> None:
    navigation = Navigation.build(cluster(vectors_of(), clusters=40), layout="coded", metric="l2", threads=1)
    directory = saved(navigation, tmp_path / "index")
    for clusters in (39, 41):
        with pytest.raises(DataLossError, match="centroid_rows"):
            Navigation.read(directory, clusters)
