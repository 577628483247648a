"""Builds the indexes that the tests in the guest search, where building is fast: outside of it.

Usage: make_indexes.py FOLDER. Makes FOLDER/sample, a graph of the package's own sample, FOLDER/clusters, coded clusters
of it, and FOLDER/sift, a graph of the first 100,000 vectors of sift1m where they are (TIERVEC_DATA, ../shared/data by
default), each with queries.npy and exact.npy beside its index. What is there already stays.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

import tiervec
from tiervec.errors import TiervecError
from tiervec.sample import load_sample

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("TIERVEC_DATA", REPOSITORY.parent / "shared" / "data"))
SIFT_VECTORS = 100_000
SAMPLE_VECTORS = 2_000
QUERIES = 100
K = 10

GRAPH: dict[str, Any] = {"kind": "graph", "params": {"build_list": 50}}
CODED: dict[str, Any] = {"kind": "cluster", "params": {"clusters": 60, "code_bits": 4}}

Array = np.ndarray[Any, Any]


def exact_ids(vectors: Array, queries: Array) -> Array:
    """The K nearest by squared l2 distance, computed in float64."""
    x, q = vectors.astype(np.float64), queries.astype(np.float64)
    distances = (x**2).sum(axis=1) - 2 * q @ x.T
    return np.argsort(distances, axis=1, kind="stable")[:, :K]


def is_made(folder: Path) -> bool:
    """By an earlier run, and in a format that is still read."""
    try:
        tiervec.open(folder / "index", tier="mmap:").close()
    except TiervecError:
        return False
    return (folder / "exact.npy").is_file()


def make(folder: Path, vectors: Array, queries: Array, how: dict[str, Any]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print(f"guest: building {folder.name}, {len(vectors):,} vectors", flush=True)
    np.save(folder / "queries.npy", queries)
    np.save(folder / "exact.npy", exact_ids(vectors, queries))
    tiervec.build(vectors, folder / "index", metric="l2", **how)


def sample() -> tuple[Array, Array]:
    found = load_sample()
    return found.vectors[:SAMPLE_VECTORS].astype(np.float32), found.query_vectors[:QUERIES].astype(np.float32)


def sift() -> tuple[Array, Array]:
    with zstandard.open(DATA / "sift1m" / "base.u8bin.zst") as stream:
        _, dim = np.frombuffer(stream.read(8), np.uint32)
        vectors = np.frombuffer(stream.read(SIFT_VECTORS * int(dim)), np.uint8).reshape(-1, int(dim))
    content = io.BytesIO((DATA / "sift1m" / "query.u8bin").read_bytes())
    content.seek(8)
    return vectors, np.frombuffer(content.read(QUERIES * int(dim)), np.uint8).reshape(-1, int(dim))


def main(folder: Path) -> None:
    for name, how in (("sample", GRAPH), ("clusters", CODED)):
        if not is_made(folder / name):
            make(folder / name, *sample(), how)
    if (DATA / "sift1m").is_dir():
        if not is_made(folder / "sift"):
            make(folder / "sift", *sift(), GRAPH)
    else:
        print(f"guest: no sift1m at {DATA}; set TIERVEC_DATA")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
