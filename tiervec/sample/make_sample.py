"""Makes the sample's data from the full set of PEP passages: ``python -m tiervec.sample.make_sample --source DIR``.

DIR holds ``passages.jsonl`` and ``vectors.f16.npy`` (each plain or with ``.zst``), ``peps.queries.jsonl`` and
``peps.queries.f16.npy``. The same source gives the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import io
import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np

__all__ = ["main", "select_peps"]

# PEPs that a reader of a demo is likely to know; the others follow in an even spread over the numbers.
WELL_KNOWN: Final = (
    604,
    612,
    617,
    618,
    621,
    634,
    635,
    636,
    646,
    649,
    654,
    659,
    668,
    669,
    673,
    680,
    684,
    695,
    701,
    703,
    709,
)
# PEP 1 asks every new PEP to be in the public domain and under CC0-1.0. Older ones may carry other terms, and PEP 600
# states none, so the sample takes only later ones.
FIRST_PEP, LAST_PEP = 601, 999
OTHER_TERMS: Final = ("open publication license", "all rights reserved", "copyright (c)")
PASSAGES: Final = 5000


def select_peps(passages: dict[int, list[dict[str, Any]]]) -> list[int]:
    """Chooses whole PEPs with at most `PASSAGES` passages in all, so that the answer to every title is inside."""
    free = [pep for pep in sorted(passages) if FIRST_PEP <= pep <= LAST_PEP and _is_free(passages[pep])]
    known = [pep for pep in WELL_KNOWN if pep in free]
    others = [pep for pep in free if pep not in known]
    spread = [others[index] for start in range(3) for index in range(start, len(others), 3)]
    chosen: list[int] = []
    left = PASSAGES
    for pep in known + spread:
        if len(passages[pep]) <= left:
            chosen.append(pep)
            left -= len(passages[pep])
    return sorted(chosen)


def main(arguments: list[str] | None = None) -> None:
    """Reads the source and writes the four files of the sample."""
    parser = argparse.ArgumentParser(description="Make the PEP sample from the full set of passages.")
    parser.add_argument("--source", type=Path, required=True, help="folder of the full set")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data", help="folder to write to")
    options = parser.parse_args(arguments)
    source, out = options.source, options.out

    lines = [json.loads(line) for line in _read(source / "passages.jsonl").decode("utf-8").splitlines()]
    by_pep: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        by_pep[line["pep"]].append(line)
    chosen = select_peps(by_pep)
    passages = [passage for pep in chosen for passage in by_pep[pep]]
    vectors = np.load(io.BytesIO(_read(source / "vectors.f16.npy")))
    rows = [passage["id"] for passage in passages]
    queries = [json.loads(line) for line in _read(source / "peps.queries.jsonl").decode("utf-8").splitlines()]
    asked = [row for row, query in enumerate(queries) if query["pep"] in set(chosen)]
    query_vectors = np.load(io.BytesIO(_read(source / "peps.queries.f16.npy")))

    out.mkdir(parents=True, exist_ok=True)
    np.save(out / "vectors.npy", vectors[rows])
    np.save(out / "queries.npy", query_vectors[asked])
    _write_lines(out / "passages.jsonl.gz", ({**passage, "id": row} for row, passage in enumerate(passages)))
    _write_lines(
        out / "queries.jsonl.gz", ({"pep": queries[row]["pep"], "text": queries[row]["text"]} for row in asked)
    )


def _is_free(passages: list[dict[str, Any]]) -> bool:
    return not any(term in passage["text"].lower() for passage in passages for term in OTHER_TERMS)


def _read(path: Path) -> bytes:
    if path.exists():
        return path.read_bytes()
    zstandard = importlib.import_module("zstandard")
    with open(path.with_name(path.name + ".zst"), "rb") as file:
        content: bytes = zstandard.ZstdDecompressor().stream_reader(file).read()
    return content


def _write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    # No file name and no time in the header: the same lines give the same bytes.
    with open(path, "wb") as file, gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
        packed.write(text.encode("utf-8"))


if __name__ == "__main__":
    main()
