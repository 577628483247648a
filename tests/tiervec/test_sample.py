from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tiervec import sample as sample_package
from tiervec.sample import QUERIES_PATH, VECTORS_PATH, Sample, load_sample
from tiervec.sample.make_sample import OTHER_TERMS, main
from tiervec.vectors.vector_files import open_vectors


@pytest.fixture(scope="module")
def sample() -> Sample:
    return load_sample()


def test_the_parts_belong_together(sample: Sample) -> None:
    assert sample.vectors.shape == (len(sample.passages), 384)
    assert sample.query_vectors.shape == (len(sample.query_texts), 384)
    assert len(sample.query_peps) == len(sample.query_texts) == len(set(sample.query_peps))
    assert [passage.id for passage in sample.passages] == list(range(len(sample.passages)))
    assert {passage.pep for passage in sample.passages} == set(sample.query_peps)
    titles = {passage.pep: passage.title for passage in sample.passages}
    assert [titles[pep] for pep in sample.query_peps] == list(sample.query_texts)


def test_vectors_have_unit_length(sample: Sample) -> None:
    for vectors in (sample.vectors, sample.query_vectors):
        assert vectors.dtype == np.float16
        np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float32), axis=1), 1, atol=1e-3)


def test_a_title_mostly_finds_its_own_pep(sample: Sample) -> None:
    scores = sample.query_vectors.astype(np.float32) @ sample.vectors.astype(np.float32).T
    best = [sample.passages[row].pep for row in scores.argmax(axis=1)]
    assert np.mean([found == asked for found, asked in zip(best, sample.query_peps, strict=True)]) > 0.8


def test_the_files_open_like_any_vector_file(sample: Sample) -> None:
    assert open_vectors(VECTORS_PATH).shape == sample.vectors.shape
    assert open_vectors(QUERIES_PATH).shape == sample.query_vectors.shape


def test_every_text_is_free_and_the_files_are_small(sample: Sample) -> None:
    assert min(sample.query_peps) > 600
    assert not [passage.id for passage in sample.passages if any(term in passage.text.lower() for term in OTHER_TERMS)]
    data = Path(sample_package.__file__).parent / "data"
    assert sum(file.stat().st_size for file in data.iterdir()) <= 5_500_000


@pytest.mark.data
def test_the_script_makes_the_same_sample(sample: Sample, data_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("zstandard")
    main(["--source", str(data_dir / "peps"), "--out", str(tmp_path)])
    data = Path(sample_package.__file__).parent / "data"
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(file.name for file in data.iterdir())
    for name in ("vectors.npy", "queries.npy"):
        assert (tmp_path / name).read_bytes() == (data / name).read_bytes()
