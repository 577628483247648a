"""A graph in another layout answers as before, and a conversion believes nothing that does not fit."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

import tiervec
from tiervec.errors import DataLossError, InvalidArgumentError, ResourceExhaustedError
from tiervec.graph_index.params import LAYOUTS
from tiervec.graph_index.relayout import estimate_conversion_bytes
from tiervec.index_files.directory import IndexDirectory
from tiervec.index_files.manifest import serialize_manifest

BASE = np.random.default_rng(1).normal(size=(400, 6)).astype(np.float32)
LABELS = np.random.default_rng(2).permutation(10_000)[: len(BASE)].astype(np.int64)


def built(out: Path, layout: str = "packed", metric: str = "l2") -> Path:
    params = {"graph_degree": 12, "build_list": 24, "layout": layout}
    tiervec.build(BASE, out, metric=metric, ids=LABELS, params=params, calibration_queries=BASE[:20], threads=1)
    return out


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir() if file.name != "manifest.json"}


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_there_and_back(tmp_path: Path, metric: str) -> None:
    packed = built(tmp_path / "packed", metric=metric)
    sectors = tiervec.relayout(packed, tmp_path / "sectors", params={"layout": "sectors"})
    assert sectors.params["layout"] == "sectors"
    tiervec.relayout(tmp_path / "sectors", tmp_path / "back", params={"layout": "packed"})
    assert contents(tmp_path / "back") == contents(packed)
    assert IndexDirectory.open(tmp_path / "back").manifest == replace(
        IndexDirectory.open(packed).manifest, sections=IndexDirectory.open(tmp_path / "back").manifest.sections
    )
    answers = []
    for path in (packed, tmp_path / "sectors"):
        with tiervec.open(path) as index:
            answers.append(index.search(BASE[:30], 5, params={"search_list": 20}))
    assert answers[0].ids.tolist() == answers[1].ids.tolist()
    assert answers[0].distances.tolist() == answers[1].distances.tolist()
    assert set(answers[0].ids.ravel().tolist()) <= set(LABELS.tolist())


def test_between_any_two_layouts(tmp_path: Path) -> None:
    made = {layout: built(tmp_path / layout, layout) for layout in LAYOUTS}
    for one, other in itertools.permutations(LAYOUTS, 2):
        tiervec.relayout(made[one], tmp_path / f"{one}-{other}", params={"layout": other})
        assert contents(tmp_path / f"{one}-{other}") == contents(made[other])
    answers = []
    for path in made.values():
        with tiervec.open(path) as index:
            answers.append((index.search(BASE[:30], 5, params={"search_list": 20}), index.info))
    assert [found.ids.tolist() for found, _ in answers] == [answers[0][0].ids.tolist()] * 3
    (packed, packed_info), (plain, plain_info), (_, sectors_info) = answers
    assert plain.receipt.reads == packed.receipt.reads
    assert packed_info.tier_bytes < plain_info.tier_bytes < sectors_info.tier_bytes
    assert plain_info.fast_bytes == packed_info.fast_bytes > sectors_info.fast_bytes


def test_to_the_layout_that_it_has(tmp_path: Path) -> None:
    packed = built(tmp_path / "packed")
    tiervec.relayout(packed, tmp_path / "again", params={"layout": "packed"})
    assert contents(tmp_path / "again") == contents(packed)


def test_a_limit_of_memory(tmp_path: Path) -> None:
    packed = built(tmp_path / "packed")
    needed = estimate_conversion_bytes(IndexDirectory.open(packed))
    with pytest.raises(ResourceExhaustedError, match=r"memory_limit is .* converting 400 vectors of dimension 6"):
        tiervec.relayout(packed, tmp_path / "out", params={"layout": "sectors"}, memory_limit=needed - 1)
    assert not (tmp_path / "out").exists()
    tiervec.relayout(packed, tmp_path / "out", params={"layout": "sectors"}, memory_limit=needed)


@pytest.mark.parametrize(("key", "value"), [("graph_degree", 16), ("alpha", 1.5), ("code_bits", 2)])
def test_what_needs_a_new_build(tmp_path: Path, key: str, value: float) -> None:
    packed = built(tmp_path / "packed")
    with pytest.raises(InvalidArgumentError, match=f"{key} cannot change without a new build; of a graph index layout"):
        tiervec.relayout(packed, tmp_path / "out", params={key: value})
    assert not (tmp_path / "out").exists()


def test_damage_is_not_passed_on(tmp_path: Path) -> None:
    packed = built(tmp_path / "packed")
    records = IndexDirectory.open(packed).section_path("records")
    damaged = bytearray(records.read_bytes())
    damaged[1000] ^= 1
    records.write_bytes(damaged)
    with pytest.raises(DataLossError, match="records"):
        tiervec.relayout(packed, tmp_path / "out", params={"layout": "sectors"})
    assert not (tmp_path / "out").exists()


def test_parameters_that_no_build_has(tmp_path: Path) -> None:
    packed = built(tmp_path / "packed")
    manifest = IndexDirectory.open(packed).manifest
    values = {entry.name: getattr(manifest, entry.name) for entry in fields(manifest)}
    forged = type(manifest)(**{**values, "params": {**manifest.params, "speed": "high"}})
    (packed / "manifest.json").write_bytes(serialize_manifest(forged))
    with pytest.raises(DataLossError, match="does not hold parameters of a build"):
        tiervec.relayout(packed, tmp_path / "out", params={"layout": "sectors"})
    assert not (tmp_path / "out").exists()
