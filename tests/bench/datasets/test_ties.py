from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tiervec.bench.datasets import Dataset, LocalFiles, dataset_of_files
from tiervec.bench.datasets.ties import recall_with_ties


@pytest.fixture
def line(tmp_path: Path) -> Dataset:
    """Vectors at 0, 1, 1, 1, 2, 3; one query at 0."""
    np.save(tmp_path / "base.npy", np.array([[0], [1], [1], [1], [2], [3]], np.float32))
    np.save(tmp_path / "queries.npy", np.zeros((1, 1), np.float32))
    files = LocalFiles(base=str(tmp_path / "base.npy"), queries=str(tmp_path / "queries.npy"))
    return dataset_of_files(files, cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("found", "recall"),
    [
        ([0, 1, 2], 1),  # the very ids of the truth
        ([0, 3, 2], 1),  # another one as far as the last
        ([1, 2, 3], 2 / 3),  # they do not stand for a nearer one
        ([0, 3, 3], 2 / 3),  # one that is named twice counts once
        ([0, 4, 5], 1 / 3),
        ([0, -1, -1], 1 / 3),
        ([-1, -1, -1], 0),
    ],
)
def test_what_is_as_far_as_the_last_neighbour_stands_for_it(line: Dataset, found: list[int], recall: float) -> None:
    assert line.ground_truth[0, :3].tolist() == [0, 1, 2]
    assert recall_with_ties(line, np.array([found]), line.ground_truth, 3) == pytest.approx(recall)
    twice = np.array([found, [0, 1, 2]])  # a second round over the same query
    truth = np.repeat(line.ground_truth, 2, axis=0)
    assert recall_with_ties(line, twice, truth, 3) == pytest.approx((recall + 1) / 2)
