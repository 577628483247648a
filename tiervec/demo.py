"""``python -m tiervec.demo``: from vectors to answers over gRPC in under a minute, on a model of remote memory.

Everything happens in a temporary folder and on a free port of this machine, and is gone afterwards.
"""

from __future__ import annotations

import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import tiervec
from tiervec.arguments.sizes import format_size
from tiervec.cli.progress import ProgressReport
from tiervec.client import Client
from tiervec.sample import VECTORS_PATH, load_sample
from tiervec.service.catalogue import IndexCatalogue
from tiervec.service.configuration import ServeConfig
from tiervec.service.server import Server

if TYPE_CHECKING:
    from tiervec.api import IndexInfo, SearchResult
    from tiervec.sample import Sample

__all__ = ["main"]

_TIER = "emulated:rdma-200g"
_QUESTIONS = 10
_K = 5  # asked for; the first two are printed
_SHOWN = 2
# Titles that many readers know, as far as the sample has them.
_PREFERRED_PEPS = (703, 654, 744, 750, 701, 684, 680, 617, 615, 657, 634, 668)


def main() -> int:
    """Runs the demo and prints what it does; returns the exit status."""
    began_s = time.monotonic()
    sample = load_sample()
    _say(f"TierVec {tiervec.__version__}: {len(sample.passages):,} passages of Python Enhancement Proposals")
    _say("as a graph index, and as a cluster index, whose big part is read from (emulated) remote memory.", after="\n")
    with tempfile.TemporaryDirectory(prefix="tiervec-demo-") as folder:
        directory = Path(folder) / "peps"
        _say("1. Build an index from the passages' embeddings")
        info = _build(directory)
        _say(f"2. Open it on {_TIER}")
        _describe_memory(info)
        _say("3. Serve it over gRPC and ask ten PEP titles")
        index = tiervec.open(directory, tier=_TIER)
        config = ServeConfig(listen="127.0.0.1:0", drain_s=5.0)
        with Server(IndexCatalogue({"peps": index}), config) as server, Client(server.address) as client:
            _say(f"   listening on {server.address}; nearest passages with their cosine distance:", after="\n")
            asked = _choose_questions(sample)
            # The other titles first: the figures shall not be those of cold caches.
            others = np.delete(sample.query_vectors, asked, axis=0)
            client.search("peps", others, _K, target_recall=0.95)
            result = client.search("peps", sample.query_vectors[asked], _K, target_recall=0.95)
        _show_answers(sample, asked, result)
        _show_cost(sample, asked, result, info)
        _say("\n5. The same passages as a cluster index: one dependent round instead of one read after the other")
        _compare_clusters(sample, asked, Path(folder) / "clusters")
    _say(f"\nDone in {time.monotonic() - began_s:.1f} s; the index and the server are gone again.")
    return 0


def _build(directory: Path) -> IndexInfo:
    began_s = time.monotonic()
    with ProgressReport() as progress:
        info = tiervec.build(VECTORS_PATH, directory, metric="cosine", progress=progress)
    _say(
        f"   {info.vectors:,} vectors of {info.dim} x {info.dtype} ({format_size(info.dataset_bytes)}) "
        f"in {time.monotonic() - began_s:.1f} s",
        after="\n",
    )
    return info


def _describe_memory(info: IndexInfo) -> None:
    raw_bytes = info.dataset_bytes / info.vectors
    _say("   a model of a 200 Gb/s RDMA card in front of this machine's DRAM: all times below are emulated")
    _say(f"   on the tier     {format_size(info.tier_bytes):>9}   amplification {info.amplification:.2f}")
    _say(
        f"   in fast memory  {format_size(info.fast_bytes):>9}   {info.fast_bytes_per_vector:.0f} bytes per vector "
        f"(a raw vector has {raw_bytes:.0f})",
        after="\n",
    )


def _choose_questions(sample: Sample) -> list[int]:
    """Rows of ten queries: preferred PEPs first, then the sample's own order."""
    first = [sample.query_peps.index(pep) for pep in _PREFERRED_PEPS if pep in sample.query_peps]
    others = [row for row in range(len(sample.query_peps)) if row not in first]
    return [*first, *others][:_QUESTIONS]


def _show_answers(sample: Sample, asked: list[int], result: SearchResult) -> None:
    for row, ids, distances in zip(asked, result.ids, result.distances, strict=True):
        _say(f'   "{sample.query_texts[row]}"')
        for id_, distance in zip(ids[:_SHOWN], distances[:_SHOWN], strict=True):
            passage = sample.passages[id_]
            section = f", {passage.section}" if passage.section else ""
            _say(f"     {distance:.3f}  PEP {passage.pep} {passage.title}{section}")
            _say(f"            {textwrap.shorten(passage.text, 100, placeholder=' ...')}")
        _say("")


def _show_cost(sample: Sample, asked: list[int], result: SearchResult, info: IndexInfo) -> None:
    own = sum(sample.passages[ids[0]].pep == sample.query_peps[row] for row, ids in zip(asked, result.ids, strict=True))
    recall = tiervec.recall(result.ids, _exact(sample, asked), _K)
    _say(f"   {own} of {len(asked)} titles found a passage of their own PEP first;")
    _say(f"   {recall:.0%} of the true {_K} nearest passages were found (0.95 was asked for).", after="\n")
    _say("4. What it cost: the read receipt (after a warm-up with other titles)")
    _say(textwrap.indent(str(result.receipt), "   "))
    _say(
        f"   memory: amplification {info.amplification:.2f} on the tier beside "
        f"{info.fast_bytes_per_vector:.0f} bytes of fast memory per vector"
    )


def _compare_clusters(sample: Sample, asked: list[int], directory: Path) -> None:
    began_s = time.monotonic()
    with ProgressReport() as progress:
        info = tiervec.build(VECTORS_PATH, directory, kind="cluster", metric="cosine", progress=progress)
    _say(f"   built in {time.monotonic() - began_s:.1f} s; the receipt of the ten titles:")
    with tiervec.open(directory, tier=_TIER) as index:
        index.search(np.delete(sample.query_vectors, asked, axis=0), _K, target_recall=0.95)
        result = index.search(sample.query_vectors[asked], _K, target_recall=0.95)
    _say(textwrap.indent(str(result.receipt), "   "))
    _say(f"   {tiervec.recall(result.ids, _exact(sample, asked), _K):.0%} of the true {_K} nearest passages were found")
    _say(
        f"   memory: amplification {info.amplification:.2f} on the tier beside "
        f"{info.fast_bytes_per_vector:.0f} bytes of fast memory per vector"
    )


def _exact(sample: Sample, asked: list[int]) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    # The vectors have unit length, so the order by cosine is the order by inner product.
    similarity = sample.query_vectors[asked].astype(np.float32) @ sample.vectors.astype(np.float32).T
    return np.argsort(-similarity, axis=1, kind="stable")[:, :_K].astype(np.int64)


def _say(text: str, after: str = "") -> None:
    print(text + after, flush=True)  # in order with the progress on stderr


if __name__ == "__main__":
    sys.exit(main())
