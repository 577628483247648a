"""Filters, from the attributes of a build to the answer: both kinds, every layout, listed copies, the command line."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import tiervec
from tiervec.cli.main import main
from tiervec.errors import DataLossError, InvalidArgumentError
from tiervec.index_files.directory import IndexDirectory

ROWS, DIM, K = 4000, 16, 10
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("graph", {"graph_degree": 16, "build_list": 32}),
    ("graph", {"graph_degree": 16, "build_list": 32, "layout": "sectors"}),
    ("cluster", {}),
    ("cluster", {"spill": True}),
    ("cluster", {"layout": "grouped"}),
    ("cluster", {"layout": "decoupled"}),
    ("cluster", {"layout": "replicated"}),
]


class Data:
    """Vectors around some centres; the attribute `near` goes along with the place, the others do not."""

    def __init__(self, ids: NDArray[np.int64] | None, copies: int) -> None:
        random = np.random.default_rng(3)
        centers = random.normal(size=(40, DIM)) * 3
        which = random.integers(0, 40, ROWS)
        self.vectors = (centers[which] + random.normal(size=(ROWS, DIM))).astype(np.float32)
        self.vectors[ROWS - copies :] = self.vectors[7]
        self.given_ids = ids
        self.ids = np.arange(ROWS) if ids is None else ids
        self.year = random.integers(2000, 2025, ROWS)
        self.lang = random.choice(["en", "de", "fr"], ROWS, p=[0.85, 0.14, 0.01])
        self.near = (centers @ random.normal(size=DIM))[which]
        self.queries = (centers[random.integers(0, 40, 50)] + random.normal(size=(50, DIM))).astype(np.float32)
        self.queries[:3] = self.vectors[7]
        years = [None if year < 2002 else int(year) for year in self.year]
        self.attributes = {"year": years, "lang": self.lang.tolist(), "near": self.near}

    def cases(self) -> list[tuple[str, NDArray[np.bool_]]]:
        some = self.ids[100:120]
        return [
            ("year >= 2002 or year is null", np.ones(ROWS, bool)),
            ("year >= 2010", self.year >= 2010),
            ('lang == "de" and year < 2012', (self.lang == "de") & (self.year >= 2002) & (self.year < 2012)),
            ('lang == "fr"', self.lang == "fr"),
            (
                f"near > {np.quantile(self.near, 0.9)!r}".replace("np.float64(", "").replace(")", ""),
                self.near > np.quantile(self.near, 0.9),
            ),
            (f"id in [{', '.join(map(str, some))}]", np.isin(self.ids, some)),
            ("year > 3000", np.zeros(ROWS, bool)),
        ]


def check(index: tiervec.Index, data: Data) -> None:
    distances = ((data.queries[:, None].astype(np.float64) - data.vectors[None]) ** 2).sum(axis=2)
    row_of = {int(identity): row for row, identity in enumerate(data.ids)}
    for text, matches in data.cases():
        found = index.search(data.queries, K, target_recall=0.95, filter=text)
        expected = min(K, int(matches.sum()))
        assert (found.receipt.matching, (found.ids >= 0).sum(axis=1).tolist()) == (matches.sum(), [expected] * 50), text
        recalls = []
        for query in range(50):
            rows = [row_of[int(identity)] for identity in found.ids[query, :expected]]
            assert len(set(rows)) == expected
            assert matches[rows].all(), text
            nearest = np.sort(distances[query][matches])[:expected]
            recalls.append((distances[query][rows] <= nearest[-1:] * (1 + 1e-5)).mean() if expected else 1.0)
        assert np.mean(recalls) >= 0.94, (text, found.receipt.plan)  # of 50 queries, at a target of 0.95


@pytest.mark.parametrize(
    ("ids", "copies"), [(False, 0), (True, 60), (False, 60)], ids=["plain", "ids-copies", "copies"]
)
@pytest.mark.parametrize(
    ("kind", "params"),
    KINDS,
    ids=lambda value: "-".join(map(str, value.values())) or "default" if isinstance(value, dict) else value,
)
def test_the_nearest_that_match_are_found(
    kind: str, params: dict[str, Any], ids: bool, copies: int, tmp_path: Path
) -> None:
    given = np.random.default_rng(5).permutation(10**7)[:ROWS] if ids else None
    data = Data(given, copies)
    tiervec.build(
        data.vectors, tmp_path / "index", kind=kind, params=params, ids=given, attributes=data.attributes, threads=2
    )
    with tiervec.open(tmp_path / "index", threads=2) as index:
        check(index, data)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Data]:
    data = Data(None, 0)
    path = tmp_path_factory.mktemp("filters") / "index"
    tiervec.build(data.vectors, path, kind="cluster", attributes=data.attributes, threads=1)
    return path, data


def test_another_layout_keeps_the_attributes(built: tuple[Path, Data], tmp_path: Path) -> None:
    path, data = built
    tiervec.relayout(path, tmp_path / "grouped", params={"layout": "grouped"})
    with tiervec.open(tmp_path / "grouped") as index:
        check(index, data)


@pytest.mark.parametrize("tier", ["mmap:", "emulated:rdma-200g", "ssd:"])
def test_on_other_tiers(built: tuple[Path, Data], tier: str) -> None:
    with tiervec.open(built[0], tier=tier) as index:
        check(index, built[1])


def test_the_receipt_names_the_plan(built: tuple[Path, Data]) -> None:
    path, data = built
    with tiervec.open(path) as index:
        plain = index.search(data.queries[:2], K)
        assert (plain.receipt.matching, plain.receipt.plan) == (None, None)
        assert "plan" not in plain.receipt.as_dict()
        few = index.search(data.queries[:2], K, filter={"in": ["id", [3, 5]]})
        assert (few.receipt.matching, few.receipt.plan) == (2, "rows")
        assert few.receipt.as_dict()["plan"] == "rows"
        assert "2 vectors match; plan rows" in str(few.receipt)
        none = index.search(data.queries[:2], K, filter="year > 3000")
        assert (none.receipt.plan, none.receipt.reads) == ("empty", 0)


def test_coroutines_find_the_same(built: tuple[Path, Data]) -> None:
    path, data = built
    with tiervec.open(path) as index:
        for text, _ in data.cases():
            plain = index.search(data.queries, K, filter=text)
            found = asyncio.run(index.search_async(data.queries, K, filter=text))
            assert (found.ids == plain.ids).all()
            assert (found.receipt.matching, found.receipt.plan) == (plain.receipt.matching, plain.receipt.plan)


def test_bad_filters_are_refused(built: tuple[Path, Data], tmp_path: Path) -> None:
    path, data = built
    with tiervec.open(path) as index:
        for bad, says in (("colour == 1", "asks for 'colour'"), (7, "filter is int"), ("year ==", "does not parse")):
            with pytest.raises(InvalidArgumentError, match=says):
                index.search(data.queries[:1], filter=bad)
    tiervec.build(data.vectors[:200], tmp_path / "plain", params={"graph_degree": 8, "build_list": 16})
    with tiervec.open(tmp_path / "plain") as index, pytest.raises(InvalidArgumentError, match="has no attributes"):
        index.search(data.queries[:1], filter="year > 3")
    with pytest.raises(InvalidArgumentError, match="attribute year has 1 values; there are 200 vectors"):
        tiervec.build(data.vectors[:200], tmp_path / "never", attributes={"year": [1]})
    assert not (tmp_path / "never").exists()


def test_attributes_of_other_vectors_are_data_loss(built: tuple[Path, Data], tmp_path: Path) -> None:
    from tiervec.attributes.section import read_attributes

    directory = IndexDirectory.open(built[0])
    table = read_attributes(directory)
    assert table is not None
    object.__setattr__(directory.manifest, "vectors", ROWS - 1)
    with pytest.raises(DataLossError, match="has attributes of 4,000 vectors, not of 3,999"):
        read_attributes(directory)


def test_the_command_line(built: tuple[Path, Data], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = built[1]
    np.save(tmp_path / "base.npy", data.vectors)
    np.save(tmp_path / "queries.npy", data.queries)
    lines = [
        json.dumps({"year": year, "lang": lang})
        for year, lang in zip(data.attributes["year"], data.attributes["lang"], strict=True)
    ]
    (tmp_path / "attributes.jsonl").write_text("\n".join(lines))
    files = ["--data", str(tmp_path / "base.npy"), "--attributes", str(tmp_path / "attributes.jsonl")]
    assert main(["build", *files, "--out", str(tmp_path / "index"), "--kind", "cluster", "--json"]) == 0
    capsys.readouterr()
    search = ["search", str(tmp_path / "index"), "--queries", str(tmp_path / "queries.npy"), "--filter"]
    assert main([*search, 'lang == "fr"', "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["matching"], document["plan"]) == ((data.lang == "fr").sum(), "rows")
    assert main([*search, "lang == 1"]) == 1
    assert capsys.readouterr().err == (
        "tiervec: error: lang is str, and the filter compares it with 1; it must be a text\n"
    )
