"""Random damage to index directories: opening and searching answer rightly or raise a TiervecError, and never crash.

``TIERVEC_FUZZ_ROUNDS=100000`` runs for hours; a failure names the round, which ``TIERVEC_FUZZ_FIRST`` begins with.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash

import tiervec
from tiervec.errors import TiervecError

pytest.importorskip("faiss", reason="clusters are built with faiss, which is not installed")

ROUNDS = int(os.environ.get("TIERVEC_FUZZ_ROUNDS", "40"))
FIRST = int(os.environ.get("TIERVEC_FUZZ_FIRST", "0"))
LAYOUTS = {
    "packed": "graph",
    "plain": "graph",
    "sectors": "graph",
    "coded": "cluster",
    "grouped": "cluster",
    "decoupled": "cluster",
    "replicated": "cluster",
}
TIERS = ("dram:", "mmap:", "ssd:", "emulated:cxl-x8")
Array = np.ndarray[Any, Any]

_random = np.random.default_rng(11)
DATA = _random.normal(size=(300, 10)).astype(np.float32)
QUERIES = _random.normal(size=(4, 10)).astype(np.float32)


@pytest.fixture(scope="module", params=LAYOUTS)
def index(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    kind = LAYOUTS[request.param]
    sizes = {"graph_degree": 8, "build_list": 16} if kind == "graph" else {"clusters": 9}
    out = tmp_path_factory.mktemp("fuzz") / "index"
    params = {**sizes, "layout": request.param}
    ids = np.arange(300) * 7 if request.param in ("plain", "grouped") else None
    tiervec.build(DATA, out, kind=kind, params=params, ids=ids, threads=1, calibration_queries=QUERIES[:1])
    return out


def searched(path: Path, tier: str) -> list[Any]:
    with tiervec.open(path, tier=tier, threads=1) as index:
        return [index.search(QUERIES, k=5).ids.tolist(), index.search(QUERIES[:1], k=400).ids.tolist()]


def changed(content: bytes, random: np.random.Generator) -> bytes:
    """Other bytes, of the same length or not."""
    data = bytearray(content)
    at = int(random.integers(len(data))) if data else 0
    what = random.integers(7)
    if what == 0 and data:
        data[at] ^= 1 << int(random.integers(8))
    elif what == 1:
        end = min(len(data), at + int(random.integers(1, 64)))
        data[at:end] = random.bytes(end - at)
    elif what == 2:
        del data[at:]
    elif what == 3:
        data += random.bytes(int(random.integers(1, 9000)))
    elif what == 4:
        extremes = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)
        data[at : at + 8] = extremes[int(random.integers(len(extremes)))].to_bytes(8, "little")[: len(data) - at]
    elif what == 5:
        data[:] = random.permutation(np.frombuffer(content, np.uint8).copy()).tobytes()
    else:
        other = int(random.integers(len(data))) if data else 0
        length = int(random.integers(1, 200))
        data[at : at + length] = data[other : other + length]
    return bytes(data)


def odd_value(random: np.random.Generator, value: Any) -> Any:
    odd: list[Any] = [
        None,
        True,
        0,
        -1,
        1,
        2,
        255,
        2**31,
        2**63 - 1,
        2**64,
        1e308,
        "",
        "x",
        "rabitq",
        [],
        {},
        [0],
        {"a": 1},
    ]
    if isinstance(value, int):
        odd += [value + 1, value - 1, value * 2, value // 2]
    return odd[int(random.integers(len(odd)))]


def change_a_field(document: dict[str, Any], random: np.random.Generator) -> None:
    """Some field, however deep, gets another value, goes away or comes twice as often."""
    at: Any = document
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            return
        key = keys[int(random.integers(len(keys)))]
        if isinstance(at[key], (dict, list)) and random.random() < 0.7:
            at = at[key]
            continue
        if random.random() < 0.15:
            del at[key]
        else:
            at[key] = odd_value(random, at[key])
        return


def sign(path: Path, document: dict[str, Any]) -> None:
    """Writes a manifest with a right checksum, as a writer with a bug would."""
    document.pop("checksum", None)
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    document["checksum"] = xxhash.xxh3_64_hexdigest(canonical.encode())
    (path / "manifest.json").write_text(json.dumps(document))


def rounds(what: str, index: Path, folder: Path, harm: Callable[[Path, np.random.Generator], None], right: Any) -> None:
    """Harms copies of an index; `right` is what a search may answer, or None for anything."""
    for round_ in range(FIRST, FIRST + ROUNDS):
        random = np.random.default_rng([round_, len(what)])
        copy = folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(index, copy)
        harm(copy, random)
        tier = TIERS[int(random.integers(len(TIERS)))]
        said, found = "", None
        try:
            found = searched(copy, tier)
        except TiervecError as error:
            said = str(error)
        except Exception as error:
            pytest.fail(f"{what}, round {round_}, {tier}: {error!r}")
        assert len(said) < 2000, f"{what}, round {round_}"
        assert "a bug of tiervec" not in said, f"{what}, round {round_}: {said}"
        assert said or right is None or found == right, f"{what}, round {round_}, {tier}: wrong answers"


def test_damaged_files(index: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in index.iterdir())

    def harm(copy: Path, random: np.random.Generator) -> None:
        path = copy / names[int(random.integers(len(names)))]
        what = random.random()
        if what < 0.1:
            path.unlink()
        elif what < 0.2:
            shutil.copy(copy / names[int(random.integers(len(names)))], copy / "spare")
            os.replace(copy / "spare", path)
        else:
            path.write_bytes(changed(path.read_bytes(), random))

    rounds("a damaged file", index, tmp_path, harm, searched(index, "dram:"))


def test_sections_that_a_right_manifest_describes_wrongly(index: Path, tmp_path: Path) -> None:
    """The checksums are those of the harmed bytes: every parser sees them."""

    def harm(copy: Path, random: np.random.Generator) -> None:
        document = json.loads((copy / "manifest.json").read_bytes())
        section = document["sections"][int(random.integers(len(document["sections"])))]
        path = copy / section["file"]
        path.write_bytes(changed(path.read_bytes(), random))
        content = path.read_bytes()
        section["bytes"], section["checksum"] = len(content), xxhash.xxh3_64_hexdigest(content)
        sign(copy, document)

    rounds("a forged section", index, tmp_path, harm, None)


def test_manifests_with_other_fields(index: Path, tmp_path: Path) -> None:
    def harm(copy: Path, random: np.random.Generator) -> None:
        document = json.loads((copy / "manifest.json").read_bytes())
        for _ in range(int(random.integers(1, 3))):
            change_a_field(document, random)
        sign(copy, document)

    rounds("a forged manifest", index, tmp_path, harm, None)
