"""Build time of the graph index against hnswlib on the first rows of a file, in turn.

    python -m tiervec.bench.build_figures --base base.u8bin --rows 100000 --repeats 3

hnswlib with M=16 efConstruction=200 takes float32. The graph index's time is all of `tiervec.build`: code, graph,
records, calibration, checksums, files.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tiervec
from tiervec.bench.figure_program import finish, program
from tiervec.bench.interleaved import Spread, ratio
from tiervec.vectors.vector_files import open_vectors


def hnswlib_seconds(vectors: NDArray[Any], threads: int) -> float:
    """Time to add all vectors to a new hnswlib index."""
    import hnswlib

    floats = vectors.astype(np.float32)
    index = hnswlib.Index("l2", vectors.shape[1])
    index.init_index(len(vectors), M=16, ef_construction=200, random_seed=1)
    began = time.perf_counter()
    index.add_items(floats, num_threads=threads)
    return time.perf_counter() - began


def graph_seconds(vectors: NDArray[Any], threads: int, folder: Path) -> float:
    """Time to build and save a graph index with default parameters."""
    out = folder / "index"
    began = time.perf_counter()
    tiervec.build(vectors, out, threads=threads)
    elapsed = time.perf_counter() - began
    shutil.rmtree(out)
    return elapsed


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Builds in turn; seconds of each round."""
    file = open_vectors(arguments.base)
    vectors = file.rows(0, min(arguments.rows, file.shape[0]))
    graph, hnsw = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.repeats):
            hnsw.append(hnswlib_seconds(vectors, arguments.threads))
            graph.append(graph_seconds(vectors, arguments.threads, Path(folder)))
    return {
        "vectors": len(vectors),
        "threads": arguments.threads,
        "hnswlib_s": Spread.of(hnsw),
        "graph_s": Spread.of(graph),
        "graph_over_hnswlib": ratio(graph, hnsw),
    }


def print_figures(result: dict[str, Any]) -> None:
    """The figures for people."""
    print(f"{result['vectors']:,} vectors, {result['threads']} threads, seconds:")
    print(f"  hnswlib      {result['hnswlib_s']:.1f}")
    print(f"  graph index  {result['graph_s']:.1f}")
    print(f"  graph index / hnswlib  {result['graph_over_hnswlib']:.2f}")


def main() -> int:
    """Command line."""
    parser = program("build_figures", __doc__, needed=("base",))
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    return finish(parser, run, print_figures)


if __name__ == "__main__":
    raise SystemExit(main())
