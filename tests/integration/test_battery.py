"""A default build and search of both kinds on shapes of the battery that once returned wrong neighbours."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiervec
from tiervec.bench.datasets import open_dataset
from tiervec.bench.datasets.ties import recall_with_ties

K = 10
#: Share of the true neighbours that a default search must find. One thread and one seed: the figures do not vary.
FLOORS = {
    "norms-0.5-ip": 0.93,
    "norms-1.0-ip": 0.93,
    "equal-rows": 0.93,
    "one-hot-64": 0.99,
    "shift-1e6": 0.93,
    "few-values": 0.93,
    "few-vectors": 1.0,
    "queries-3x": 0.9,
    "queries-1.5x": 0.9,
    "queries-between": 0.93,
}


@pytest.mark.parametrize("kind", ["graph", "cluster"])
@pytest.mark.parametrize("shape", FLOORS)
def test_a_default_search_finds_the_neighbours(shape: str, kind: str, tmp_path: Path) -> None:
    dataset = open_dataset(f"battery:{shape}", cache=tmp_path / "cache")
    tiervec.build(dataset.vectors_path, tmp_path / "index", kind=kind, metric=dataset.metric, threads=1)
    with tiervec.open(tmp_path / "index") as index:
        found = index.search(dataset.queries, K)
    assert recall_with_ties(dataset, found.ids, dataset.ground_truth, K) >= FLOORS[shape]
