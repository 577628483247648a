"""Codes in a second cluster: which one, and that a search finds each vector once however often it meets its code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import tiervec
from tiervec.building import METRICS
from tiervec.cluster_index.cluster_space import ClusterSpace
from tiervec.cluster_index.clustering import Clustering
from tiervec.cluster_index.spill import spill_clusters
from tiervec.errors import InvalidArgumentError
from tiervec.index_files.directory import IndexDirectory

RANDOM = np.random.default_rng(7)
CENTERS = RANDOM.normal(size=(30, 12))
BASE = (CENTERS[RANDOM.integers(30, size=3000)] + RANDOM.normal(size=(3000, 12)) * 0.6).astype(np.float32)
QUERIES = (CENTERS[RANDOM.integers(30, size=100)] + RANDOM.normal(size=(100, 12)) * 0.6).astype(np.float32)
CLUSTERS = 60


def built(out: Path, base: NDArray[Any] = BASE, metric: str = "l2", **params: Any) -> Path:
    params = {"clusters": CLUSTERS, "code_bits": 4, **params}
    queries = QUERIES[:, : base.shape[1]].astype(base.dtype)
    tiervec.build(base, out, kind="cluster", metric=metric, params=params, calibration_queries=queries, threads=1)
    return out


def clustering_of(path: Path) -> Clustering:
    directory = IndexDirectory.open(path)
    details = directory.manifest.details
    return Clustering.read(directory, details["probes_width"], details["clusters"])


@pytest.mark.parametrize("metric", METRICS)
def test_the_second_cluster_has_the_least_loss(metric: str, tmp_path: Path) -> None:
    clustering = clustering_of(built(tmp_path / "index", metric=metric))
    space = ClusterSpace(BASE, metric)
    found = spill_clusters(space, clustering, threads=1)
    centroids = space.converted_centroids(clustering.centroids)
    points = space.rows(slice(0, 200))[:, : BASE.shape[1]].astype(np.float64)
    for point, home, chosen in zip(points, clustering.memberships.home, found, strict=False):
        squared = ((point - centroids) ** 2).sum(axis=1)
        own = point - centroids[home]
        direction = own / np.linalg.norm(own)
        loss = squared + ((point - centroids) @ direction) ** 2
        near = [c for c in np.argsort(squared)[:8] if c != home]
        assert chosen != home
        assert loss[chosen] == pytest.approx(loss[near].min(), rel=1e-4)


def test_of_one_cluster_there_is_no_second(tmp_path: Path) -> None:
    path = built(tmp_path / "index", BASE[:50], clusters=1, spill=True)
    with tiervec.open(path) as index:
        found = index.search(BASE[:50], 5)
    assert (found.ids[:, 0] == np.arange(50)).all()


@pytest.mark.parametrize("code", ["rabitq", "sq", "pq"])
@pytest.mark.parametrize("metric", METRICS)
def test_every_vector_is_found_once_and_exactly(code: str, metric: str, tmp_path: Path) -> None:
    path = built(tmp_path / "index", BASE[:700], metric, code=code, spill=True)
    exact = built(tmp_path / "exact", BASE[:700], metric, layout="replicated")
    everything = {"nprobe": CLUSTERS, "rerank": 700}
    with tiervec.open(path) as index, tiervec.open(exact) as other:
        found = index.search(QUERIES, 700, params=everything)
        expected = other.search(QUERIES, 700, params={"nprobe": CLUSTERS})
    assert (np.sort(found.ids, axis=1) == np.arange(700)).all()
    assert (found.ids == expected.ids).all()
    assert (found.distances == expected.distances).all()
    assert found.receipt.reads_per_query <= 700


def test_the_same_clusters_find_more(tmp_path: Path) -> None:
    once, twice = built(tmp_path / "once"), built(tmp_path / "twice", spill=True)
    with tiervec.open(once) as index:
        everything = index.search(QUERIES, 10, params={"nprobe": CLUSTERS, "rerank": 3000})
        plain = index.search(QUERIES, 10, params={"nprobe": 3, "rerank": 100})
    with tiervec.open(twice) as index:
        spilled = index.search(QUERIES, 10, params={"nprobe": 3, "rerank": 100})
    assert tiervec.recall(spilled.ids, everything.ids, 10) > tiervec.recall(plain.ids, everything.ids, 10) + 0.02
    assert spilled.receipt.rounds_per_query == 1
    assert spilled.receipt.reads_per_query <= 100
    assert all(len(set(row)) == 10 for row in spilled.ids.tolist())


@pytest.mark.parametrize("split", [False, True])
def test_two_threads_drop_duplicates_too(split: bool, tmp_path: Path) -> None:
    path = built(tmp_path / "index", spill=True)
    with tiervec.open(path, threads=2) as index:
        params = {"nprobe": CLUSTERS, "rerank": 3000, "split": split}
        found = np.concatenate([index.search(query, 10, params=params).ids for query in QUERIES[:20]])
        expected = index.search(QUERIES[:20], 10, params={"nprobe": CLUSTERS, "rerank": 3000}).ids
    assert (found == expected).all()


def test_it_costs_fast_memory_and_none_on_the_tier(tmp_path: Path) -> None:
    once, twice = (tiervec.open(built(tmp_path / name, spill=name == "b")).info for name in "ab")
    assert once.tier_bytes == twice.tier_bytes
    assert 1.5 < twice.fast_bytes / once.fast_bytes < 2.2


def test_a_conversion_gives_what_a_build_gives(tmp_path: Path) -> None:
    plain, spilled = built(tmp_path / "plain"), built(tmp_path / "spilled", spill=True)
    tiervec.relayout(plain, tmp_path / "there", params={"spill": True}, threads=1)
    tiervec.relayout(tmp_path / "there", tmp_path / "back", params={"spill": False}, threads=1)
    for expected, found in ((spilled, "there"), (plain, "back")):
        names = sorted(path.name for path in expected.iterdir() if path.suffix == ".bin")
        assert names == sorted(path.name for path in (tmp_path / found).iterdir() if path.suffix == ".bin")
        for name in names:
            assert (expected / name).read_bytes() == (tmp_path / found / name).read_bytes(), name


def test_it_is_on_or_off(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="spill is 2; it must be on or off"):
        built(tmp_path / "index", spill=2)
