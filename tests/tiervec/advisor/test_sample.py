"""Samples of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec.advisor.design import Design
from tiervec.advisor.sample import draw
from tiervec.errors import InvalidArgumentError


def test_queries_are_in_no_sample(data: Path, tmp_path: Path) -> None:
    samples = draw(data, most=1000, seed=1, folder=tmp_path)
    assert samples.sizes() == (250, 1000)
    calibration, queries, large = (
        {row.tobytes() for row in rows} for rows in (samples.calibration, samples.queries, samples.large)
    )
    assert (len(calibration), len(queries)) == (150, 150)
    assert not calibration & queries
    assert not (calibration | queries) & large
    again = draw(data, most=1000, seed=1, folder=tmp_path)
    assert np.array_equal(samples.large, again.large)
    assert samples.folder == again.folder
    others = [{"seed": 2}, {"metric": "cosine"}, {"most": 1001}, {"queries": samples.queries}]
    folders = {draw(data, **{"most": 1000, "seed": 1, "folder": tmp_path, **other}).folder for other in others}
    assert len(folders | {samples.folder}) == 5  # indexes of one are not taken for another


def test_given_queries_are_calibrated_for_or_searched_for(data: Path, tmp_path: Path) -> None:
    given = np.random.default_rng(1).normal(size=(801, 16)).astype(np.float32)
    for count, calibrating in ((1, 0), (3, 1), (801, 400)):
        samples = draw(data, most=1000, seed=1, folder=tmp_path, queries=given[:count])
        assert len(samples.calibration) == calibrating
        assert np.array_equal(np.concatenate([samples.calibration, samples.queries]), given[:count])


def test_a_small_file_is_its_own_sample(data: Path, tmp_path: Path) -> None:
    samples = draw(data, most=64_000, seed=1, folder=tmp_path)
    assert samples.sizes() == (2700,)
    assert not samples.growth.is_needed


def test_files_that_cannot_be_mapped_are_sampled_too(data: Path, tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    arrow = pytest.importorskip("pyarrow", reason="needs pyarrow")
    base = np.load(data)
    column = arrow.FixedSizeListArray.from_arrays(arrow.array(base.ravel()), base.shape[1])
    pq.write_table(arrow.table({"vector": column}), tmp_path / "base.parquet")
    samples = draw(tmp_path / "base.parquet", most=1000, seed=1, folder=tmp_path)
    assert np.array_equal(samples.large, draw(data, most=1000, seed=1, folder=tmp_path).large)


def test_too_few_vectors_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "few.npy", np.zeros((10, 4), np.float32))
    with pytest.raises(InvalidArgumentError, match="has 10 vectors; the advisor needs 1,000"):
        draw(tmp_path / "few.npy", most=1000, seed=0, folder=tmp_path)
    with pytest.raises(InvalidArgumentError, match="sample is 5"):
        draw(tmp_path / "few.npy", most=5, seed=0, folder=tmp_path)


def test_clusters_are_shared_by_layouts(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = draw(data, most=1000, seed=1, folder=tmp_path)
    built: list[str] = []
    build = tiervec.build

    def counted(*args: Any, **kwargs: Any) -> Any:
        built.append(kwargs["kind"])
        return build(*args, **kwargs)

    monkeypatch.setattr(tiervec, "build", counted)
    for params in (
        {"layout": "coded", "code_bits": 2.0},
        {"layout": "grouped"},
        {"layout": "replicated", "replicas": 8, "align": 4096},
        {"layout": "replicated", "replicas": 2},
    ):
        design = Design(kind="cluster", params=params)
        path = samples.index(design, 250, threads=1, step=lambda _: None)
        assert Design.of_index(path).params["layout"] == params["layout"]
        assert samples.index(design, 250, threads=1, step=pytest.fail) == path  # kept
    assert built == ["cluster"] * 2  # 2 replicas are other clusters
