"""Records of another build, place or version never pass: an error at open or at the read, never a wrong id."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec
from tiervec.errors import DataLossError
from tiervec.graph_index.build import LinkedGraph, write_graph_index
from tiervec.graph_index.params import GraphBuildParams
from tiervec.index_files.directory import IndexDirectory
from tiervec.kinds.index_kind import IndexBuild
from tiervec.placement import section_tier

pytest.importorskip("faiss", reason="clusters are built with faiss, which is not installed")

N, DIM = 900, 24
K = 10
BOTH = {"cluster": {"clusters": 20}, "graph": {"graph_degree": 12, "build_list": 24}}
LAYOUTS = {
    "packed": "graph",
    "plain": "graph",
    "sectors": "graph",
    "imported": "graph",
    "coded": "cluster",
    "grouped": "cluster",
    "decoupled": "cluster",
    "replicated": "cluster",
}
READING = ("mmap:", "ssd:", "dax:")  # records are checked when they are read
LOADING = ("dram:", "emulated:cxl-x8")
VARIANTS = ("data", "seed", "parameters")
Array = np.ndarray[Any, Any]

_random = np.random.default_rng(5)
DATA = _random.normal(size=(N, DIM)).astype(np.float32)
OTHER = DATA.copy()
_changed = _random.choice(N, 90, replace=False)
OTHER[_changed] = _random.normal(size=(90, DIM))
QUERIES = (DATA[_random.choice(N, 40)] + _random.normal(size=(40, DIM)) * 0.1).astype(np.float32)
LISTS = np.stack([(np.arange(N) + step) % N for step in (1, 2, 3, 5, 30, 100, 300)], axis=1).astype(np.uint32)
SEARCH = {"graph": {"search_list": 64}, "cluster": {"nprobe": 20}}

Made = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """``made("coded", "seed")``: an index of that layout, differing from ``made("coded", "")`` in its seed only."""
    folder = tmp_path_factory.mktemp("foreign")

    def make(layout: str, variant: str) -> Path:
        out = folder / f"{layout}-{variant}"
        if out.exists():
            return out
        kind, data, seed = LAYOUTS[layout], OTHER if variant == "data" else DATA, int(variant == "seed")
        changed = {"alpha": 1.3} if kind == "graph" else {"rng_factor": 1.1}
        more: dict[str, Any] = changed if variant == "parameters" else {}
        queries = QUERIES[:2]
        if layout == "imported":
            params = GraphBuildParams(**{**BOTH["graph"], **more})
            build = IndexBuild(
                vectors=data, metric="l2", params=params, threads=1, seed=seed, calibration_queries=queries
            )
            graph = LinkedGraph(neighbors=LISTS, degrees=np.full(N, LISTS.shape[1], np.uint32), origin="a test")
            write_graph_index(build, out, graph)
        else:
            params_ = {**BOTH[kind], "layout": layout, **more}
            tiervec.build(data, out, kind=kind, params=params_, threads=1, seed=seed, calibration_queries=queries)
        return out

    return make


def section_of(index: Path) -> Path:
    sections = json.loads((index / "manifest.json").read_bytes())["sections"]
    return index / next(section["file"] for section in sections if section["placement"] == "tier")


def fitted(content: bytes, size: int) -> bytes:
    """A section of another size, as a copy over the right file would leave it."""
    return content[:size].ljust(size, b"\0")


def record_bytes(layout: str) -> int | None:
    """Where all records have one size: that size."""
    if LAYOUTS[layout] == "graph":
        return None
    return DIM * 4 + 3 + (4 if layout == "replicated" else 0)


def harmed_sections(made: Made, layout: str) -> Iterator[tuple[str, bytes]]:
    """Sections of which no record, or hardly one, is where it belongs."""
    own = section_of(made(layout, "")).read_bytes()
    for variant in VARIANTS:
        foreign = fitted(section_of(made(layout, variant)).read_bytes(), len(own))
        assert foreign != own, variant
        yield f"a build of other {variant}", foreign
    if layout == "grouped":  # the same vectors in another order, in records of the same size
        yield "another layout", section_of(made("coded", "")).read_bytes()
    if (size := record_bytes(layout)) is not None:
        count = (len(own) - 64) // size
        yield "records that are swapped", own[size : size * count] + own[:size] + own[size * count :]
    flipped = bytearray(own)
    for at in range(0, len(own) - 64, 61):
        flipped[at] ^= 1 << at % 8
    yield "flipped bits", bytes(flipped)


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Harmed:
    """A copy of an index, opened on one tier, whose section can be replaced."""

    def __init__(self, index: Path, tier: str, folder: Path) -> None:
        self.index = Path(shutil.copytree(index, folder / "index"))
        self.own = section_of(index).read_bytes()
        self.file, self.at, self.tier = section_of(self.index), 0, tier
        if tier == "dax:":
            self.tier = f"dax:{folder / 'place'}"
            with tiervec.open(self.index, tier=self.tier, threads=1):
                pass
            self.file = folder / "place"
            self.at = self.file.read_bytes().index(self.own)

    def put(self, content: bytes) -> None:
        with open(self.file, "r+b") as file:
            os.pwrite(file.fileno(), content, self.at)

    def open(self) -> tiervec.Index:
        return tiervec.open(self.index, tier=self.tier, threads=1)


@pytest.mark.parametrize("tier", [*READING, *LOADING])
def test_opening_refuses_what_is_not_of_this_build(layout: str, tier: str, made: Made, tmp_path: Path) -> None:
    harmed = Harmed(made(layout, ""), tier, tmp_path)
    for what, content in harmed_sections(made, layout):
        harmed.put(content)
        with pytest.raises(DataLossError) as caught:
            harmed.open().close()
        assert str(harmed.index) in str(caught.value), what
    half = len(harmed.own) // 2
    foreign = fitted(section_of(made(layout, "data")).read_bytes(), len(harmed.own))
    for content in (harmed.own[:half] + foreign[half:], foreign[:half] + harmed.own[half:]):
        harmed.put(content)
        with pytest.raises(DataLossError):
            harmed.open().close()
    harmed.put(harmed.own)
    harmed.open().close()


@pytest.mark.parametrize("tier", READING)
def test_reading_refuses_what_is_not_of_this_build(
    layout: str, tier: str, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where a section changes after it was opened, or is damaged where no sample was taken.
    monkeypatch.setattr(section_tier, "compare_sample", lambda directory, name, tier: None)
    harmed = Harmed(made(layout, ""), tier, tmp_path)
    params = SEARCH[LAYOUTS[layout]]
    for what, content in harmed_sections(made, layout):
        harmed.put(content)
        with harmed.open() as index:
            for query in QUERIES[:10, None]:
                with pytest.raises(DataLossError):
                    pytest.fail(f"{what}: {index.search(query, k=K, params=params).ids}")


@pytest.mark.parametrize("tier", READING)
def test_a_section_that_is_partly_right_answers_rightly_or_not(
    layout: str, tier: str, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(section_tier, "compare_sample", lambda directory, name, tier: None)
    harmed = Harmed(made(layout, ""), tier, tmp_path)
    own, foreign = harmed.own, fitted(section_of(made(layout, "data")).read_bytes(), len(harmed.own))
    small: dict[str, Any] = {"search_list": K} if LAYOUTS[layout] == "graph" else {"nprobe": 2}
    with harmed.open() as index:
        right = index.search(QUERIES, k=K, params=small).ids
    half = len(own) // 2
    contents = [own[:half] + foreign[half:], foreign[:half] + own[half:]]
    random = np.random.default_rng(3)
    for _ in range(10):
        one = bytearray(own)
        one[random.integers(len(own) - 64)] ^= 1 << int(random.integers(8))
        contents.append(bytes(one))
    refused = 0
    for content in contents:
        harmed.put(content)
        with harmed.open() as index:
            for query, expected in zip(QUERIES, right, strict=True):
                try:
                    assert index.search(query[None], k=K, params=small).ids[0].tolist() == expected.tolist()
                except DataLossError:
                    refused += 1
    assert refused > 0


def test_a_section_of_another_size_is_refused(layout: str, made: Made, tmp_path: Path) -> None:
    harmed = Harmed(made(layout, ""), "mmap:", tmp_path)
    for content in (harmed.own[:-1], harmed.own + b"\0", b"", harmed.own[: len(harmed.own) // 2]):
        harmed.file.write_bytes(content)
        for tier in ("mmap:", "ssd:", "dram:"):
            with pytest.raises(DataLossError, match=harmed.file.name):
                tiervec.open(harmed.index, tier=tier)


def test_salts_are_those_of_content(layout: str, made: Made, tmp_path: Path) -> None:
    salts = {IndexDirectory.open(made(layout, variant)).manifest.salt for variant in ("", *VARIANTS)}
    assert len(salts) == 1 + len(VARIANTS)
    if layout == "imported":
        return
    again = tmp_path / "again"
    kind = LAYOUTS[layout]
    tiervec.build(
        DATA, again, kind=kind, params={**BOTH[kind], "layout": layout}, threads=1, calibration_queries=QUERIES[:2]
    )
    assert IndexDirectory.open(again).manifest.salt == IndexDirectory.open(made(layout, "")).manifest.salt
    assert section_of(again).read_bytes() == section_of(made(layout, "")).read_bytes()


@pytest.mark.parametrize(("source", "target"), [("packed", "sectors"), ("sectors", "plain"), ("coded", "grouped")])
def test_another_layout_is_another_build(source: str, target: str, made: Made, tmp_path: Path) -> None:
    tiervec.relayout(made(source, ""), tmp_path / "out", params={"layout": target}, threads=1)
    converted, built = (IndexDirectory.open(path).manifest for path in (tmp_path / "out", made(target, "")))
    assert converted.salt == built.salt
    assert converted.salt != IndexDirectory.open(made(source, "")).manifest.salt
    with tiervec.open(tmp_path / "out", tier="mmap:", threads=1) as index:
        assert index.search(QUERIES, k=K).ids.shape == (len(QUERIES), K)


def test_verify_names_the_damaged_extents(made: Made, tmp_path: Path) -> None:
    harmed = Harmed(made("coded", ""), "mmap:", tmp_path)
    harmed.put(bytes(100))
    with pytest.raises(DataLossError, match=r"of 1 extents of 1,048,576 bytes it is damaged in 0$"):
        IndexDirectory.open(harmed.index).verify()
