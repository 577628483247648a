"""A small real data set that comes with the package: passages of Python Enhancement Proposals and their embeddings."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tiervec.vectors.vector_files.npy import open_npy

__all__ = ["QUERIES_PATH", "VECTORS_PATH", "Passage", "Sample", "load_sample"]

_DATA: Final = Path(__file__).parent / "data"

VECTORS_PATH: Final = _DATA / "vectors.npy"
"""The vectors of the passages as a file: ``tiervec build --data``."""

QUERIES_PATH: Final = _DATA / "queries.npy"
"""The vectors of the queries as a file: ``tiervec search --queries``."""


@dataclass(frozen=True, kw_only=True)
class Passage:
    """One piece of a PEP.

    Attributes:
        id: Its row in `Sample.vectors`.
        pep: The number of the PEP.
        title: The PEP's title.
        section: The heading above the passage; empty before the first one.
        text: The passage.
    """

    id: int
    pep: int
    title: str
    section: str
    text: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Passages, their vectors, and the titles of the same PEPs as queries.

    Attributes:
        vectors: Shape (5000 or a little less, 384), float16, of unit length: compare with ``cosine`` or ``ip``.
        passages: One per row of `vectors`.
        query_texts: Titles of the PEPs that the passages are from.
        query_vectors: Shape (queries, 384), float16, of unit length.
        query_peps: The PEP of each title; a good answer is a passage of that PEP.
    """

    vectors: npt.NDArray[np.float16]
    passages: tuple[Passage, ...]
    query_texts: tuple[str, ...]
    query_vectors: npt.NDArray[np.float16]
    query_peps: tuple[int, ...]


def load_sample() -> Sample:
    """Loads the sample into memory: about 5 MB.

    Example:
        >>> sample = load_sample()
        >>> sample.vectors.shape[1], sample.vectors.dtype, len(sample.passages) == len(sample.vectors)
        (384, dtype('float16'), True)
        >>> sample.query_texts[sample.query_peps.index(703)]
        'Making the Global Interpreter Lock Optional in CPython'
    """
    queries = _lines("queries.jsonl.gz")
    return Sample(
        vectors=_matrix(VECTORS_PATH),
        passages=tuple(Passage(**line) for line in _lines("passages.jsonl.gz")),
        query_texts=tuple(query["text"] for query in queries),
        query_vectors=_matrix(QUERIES_PATH),
        query_peps=tuple(query["pep"] for query in queries),
    )


def _matrix(path: Path) -> npt.NDArray[np.float16]:
    vectors = open_npy(str(path))
    return vectors.rows(0, vectors.shape[0])


def _lines(name: str) -> list[dict[str, Any]]:
    with gzip.open(_DATA / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]
