"""An open index: which parameters it takes, and what a manifest must say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec.cluster_index.kind import ClusterKind
from tiervec.cluster_index.opened import OpenedCluster, calibration_grid, open_cluster, tier_section
from tiervec.cluster_index.params import LAYOUTS, ClusterSearchParams
from tiervec.index_files.directory import IndexDirectory
from tiervec.kinds.index_kind import search_natively

BASE = np.random.default_rng(1).normal(size=(200, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], OpenedCluster]:
    """``opened("grouped")``: an index of 20 clusters."""
    folder = tmp_path_factory.mktemp("opened")

    def make(layout: str) -> OpenedCluster:
        path = folder / layout
        if not path.exists():
            params = {"layout": layout, "clusters": 20, "replicas": 3, "code_bits": 4}
            tiervec.build(BASE, path, kind="cluster", params=params, calibration_queries=BASE[:3], threads=1)
        return open_cluster(IndexDirectory.open(path), "dram:")

    return make


@pytest.mark.parametrize(
    ("given", "k", "nprobe", "rerank"),
    [
        ({}, 10, 20, 64),
        ({"nprobe": 3, "rerank": 5}, 10, 3, 10),
        ({"nprobe": 100_000, "rerank": 10_000}, 10, 20, 200),
        ({"rerank": 1}, 10_000, 20, 200),
    ],
    ids=str,
)
def test_parameters_are_fitted_to_what_there_is(
    given: dict[str, Any], k: int, nprobe: int, rerank: int, opened: Callable[[str], OpenedCluster]
) -> None:
    fitted = opened("coded").fitted(ClusterSearchParams(**given), k)
    assert (fitted.nprobe, fitted.rerank) == (nprobe, rerank)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_engine_takes_the_parameters_by_name(layout: str, opened: Callable[[str], OpenedCluster]) -> None:
    index = opened(layout)
    params = ClusterSearchParams(nprobe=20, rerank=100)
    found = search_natively(index.searcher, BASE[:9], 1, params, threads=1)
    assert found.ids.ravel().tolist() == list(range(9))
    hidden = search_natively(index.searcher, BASE[:9], 1, params, threads=1, exclude=np.full(9, -1))
    np.testing.assert_array_equal(hidden.ids, found.ids)


@pytest.mark.parametrize(("clusters", "largest"), [(1, 1), (2, 2), (300, 300), (512, 512), (600, 512), (10**6, 512)])
def test_the_grid_ends_at_the_number_of_clusters(clusters: int, largest: int) -> None:
    for layout in LAYOUTS:
        grid = calibration_grid(layout, clusters)
        assert grid.names == (("nprobe", "rerank") if layout == "coded" else ("nprobe",))
        values = grid.values("nprobe", 10)
        assert values[-1] == largest
        assert values == sorted(set(values))


def test_the_section_on_the_tier(opened: Callable[[str], OpenedCluster], tmp_path: Path) -> None:
    assert [tier_section(layout) for layout in LAYOUTS] == ["vectors", "vectors", "vectors", "postings"]
    for layout in LAYOUTS:
        assert opened(layout).tier.size_bytes >= BASE.nbytes


def test_the_facts_are_those_of_the_manifest() -> None:
    sizes = {"least": 1, "p1": 1.0, "median": 4.5, "mean": 4.0, "p99": 7.0, "most": 9}
    details = {"clusters": 12_345, "replication": 1.5, "own_sizes": sizes, "posting_sizes": {**sizes, "most": 11}}
    assert ClusterKind().facts(details) == [
        ("clusters", "12,345, home to 1 to 9 vectors each, median 4.5"),
        ("postings", "1 to 11 members, median 4.5; a vector is in 1.50"),
    ]
