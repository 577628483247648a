from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import tiervec
from tiervec.errors import DataLossError
from tiervec.index_files.directory import IndexDirectory
from tiervec.index_files.equal_rows import ListedCopies, find_equal_rows, read_copies

RANDOM = np.random.default_rng(3)
KINDS = [("graph", {}), *[("cluster", {"layout": layout}) for layout in ("coded", "grouped", "replicated")]]


def with_copies(count: int, copies: int, dim: int = 12, seed: int = 1) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    base = random.normal(size=(count, dim)).astype(np.float32)
    base[random.choice(count, copies, replace=False)] = base[0] * np.float32(0.3)
    return base


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8"])
@pytest.mark.parametrize("dim", [1, 3, 8, 17])
def test_rows_are_compared_byte_for_byte(dtype: str, dim: int) -> None:
    base = np.random.default_rng(dim).integers(0, 3, size=(400, dim)).astype(dtype)
    found = find_equal_rows(base)
    groups: dict[bytes, list[int]] = {}
    for row, vector in enumerate(base):
        groups.setdefault(vector.tobytes(), []).append(row)
    copies = {row: rows[0] for rows in groups.values() for row in rows[1:]}
    if len(copies) < 4:
        assert found is None or len(found.copies) == 0
        return
    assert found is not None
    assert dict(zip(found.copies.tolist(), found.stand_ins.tolist(), strict=True)) == copies


def test_few_equal_rows_stay() -> None:
    base = np.arange(4000, dtype=np.float32).reshape(2000, 2)
    base[100:108] = base[0]  # nine equal rows: more than a few
    base[200:203] = base[1]
    found = find_equal_rows(base)
    assert found is not None
    assert found.copies.tolist() == list(range(100, 108))
    base[107] = -1
    assert find_equal_rows(base) is None
    assert find_equal_rows(base[:50]) is None


def test_two_rows_always_stay() -> None:
    found = find_equal_rows(np.ones((50, 3), np.float32))
    assert found is not None
    assert len(found.kept) == 2


@given(data=st.data())
def test_an_answer_lists_what_a_search_of_all_rows_would(data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(0, 6), min_size=3, max_size=40))
    labelled = data.draw(st.booleans())
    k = data.draw(st.integers(1, 50))
    base = np.array(values, np.float32)[:, None]
    found = find_equal_rows(base)
    if found is None:
        return
    labels = np.random.default_rng(len(values)).permutation(1000)[: len(values)] if labelled else None
    stand_ins, ids, left_out = found.section(labels)
    listed = ListedCopies(stand_ins=stand_ins, ids=ids, left_out=left_out[left_out >= 0])
    kept = found.kept
    engine_ids = np.arange(len(kept)) if labels is None else labels[kept]
    order = np.lexsort((engine_ids, base[kept, 0]))[:k]
    answer = np.full((1, k), -1)
    distances = np.full((1, k), np.inf, np.float32)
    answer[0, : len(order)], distances[0, : len(order)] = engine_ids[order], base[kept[order], 0]
    all_ids = np.arange(len(base)) if labels is None else labels
    expected = np.lexsort((all_ids, base[:, 0]))[:k]
    got, got_distances = listed.expand(answer, distances)
    exists = len(expected)
    assert got[0, :exists].tolist() == all_ids[expected].tolist()
    assert got_distances[0, :exists].tolist() == base[expected, 0].tolist()
    assert np.all(got[0, exists:] == -1)
    assert np.all(np.isinf(got_distances[0, exists:]))


@pytest.mark.parametrize(("kind", "params"), KINDS)
@pytest.mark.parametrize("labelled", [False, True])
def test_an_index_finds_every_copy_and_what_lies_behind(
    kind: str, params: dict[str, Any], labelled: bool, tmp_path: Path
) -> None:
    base = with_copies(1500, 400)
    ids = RANDOM.permutation(10_000)[:1500] if labelled else np.arange(1500)
    info = tiervec.build(base, tmp_path / "index", kind=kind, params=params, ids=ids if labelled else None, threads=1)
    assert (info.vectors, info.dataset_bytes) == (1500, base.nbytes)
    queries = np.random.default_rng(7).normal(size=(40, 12)).astype(np.float32)
    distances = ((queries[:, None].astype(np.float64) - base[None]) ** 2).sum(axis=2)
    kth = np.sort(distances, axis=1)[:, 9:10]
    row_of = {int(label): row for row, label in enumerate(ids)}
    with tiervec.open(tmp_path / "index") as index:
        found = index.search(queries, 10, target_recall=0.99)
        rows = np.vectorize(row_of.__getitem__)(found.ids)
        np.testing.assert_allclose(np.take_along_axis(distances, rows, axis=1), found.distances, rtol=1e-4)
        assert (found.distances <= kth * (1 + 1e-5)).mean() >= 0.97
        everything = index.search(base[0] * np.float32(0.3), 400).ids.ravel()
    equal = np.flatnonzero((base == base[0] * np.float32(0.3)).all(axis=1))
    assert sorted(everything.tolist()) == sorted(ids[equal].tolist())


def test_a_new_layout_keeps_the_copies(tmp_path: Path) -> None:
    base = with_copies(600, 200)
    for kind, layout in (("graph", "plain"), ("cluster", "decoupled")):
        tiervec.build(base, tmp_path / kind, kind=kind, threads=1)
        info = tiervec.relayout(tmp_path / kind, tmp_path / layout, params={"layout": layout})
        assert info.vectors == 600
        with tiervec.open(tmp_path / layout) as index:
            assert len(set(index.search(base[0] * np.float32(0.3), 200).ids.ravel().tolist())) == 200


def test_a_section_that_lists_no_copies_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "index"
    tiervec.build(with_copies(300, 100), path, threads=1)
    copies = read_copies(IndexDirectory.open(path))
    assert copies is not None
    target = path / "copies.bin"
    for forged in (copies[:, ::-1], np.zeros_like(copies), copies[:2]):
        np.ascontiguousarray(forged).tofile(target)
        with pytest.raises(DataLossError):
            tiervec.open(path)


def test_a_mapped_build_leaves_copies_out_too(tmp_path: Path) -> None:
    base = with_copies(3000, 800, dim=64)
    np.save(tmp_path / "base.npy", base)
    info = tiervec.build(tmp_path / "base.npy", tmp_path / "index", kind="cluster", memory_limit=1 << 30)
    assert info.vectors == 3000
    assert sum(section["bytes"] for section in info.sections if section["placement"] == "tier") < 0.8 * base.nbytes
