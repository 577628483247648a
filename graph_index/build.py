"""Building a graph index: code, graph, records, navigation sample, calibration, each a section of the directory."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiervec import _core
from tiervec.attributes.section import write_attributes
from tiervec.codes import (
    AUTO,
    TrainedCode,
    choose_code_bits,
    code_parameter_bytes,
    code_row_bytes,
    largest_code_bits,
    train_code,
    training_bytes,
)
from tiervec.engine.calibration import CalibrationQueries, Measured
from tiervec.errors import InvalidArgumentError
from tiervec.graph_index.opened import CALIBRATION_GRID, GraphParts, make_searcher
from tiervec.graph_index.params import LARGEST_DIM, MOST_VECTORS, GraphBuildParams, GraphSearchParams
from tiervec.index_files.directory import IndexDescription, IndexDirectoryWriter
from tiervec.index_files.equal_rows import write_copies
from tiervec.index_files.record_salt import SaltHash
from tiervec.kinds.far_queries import calibrate_near_and_far
from tiervec.kinds.index_kind import IndexBuild, search_natively
from tiervec.machine.interruptible import run_interruptibly, run_monitored

__all__ = [
    "INTERPRETER_BYTES",
    "GraphBuild",
    "LinkedGraph",
    "description_hash",
    "estimate_memory_bytes",
    "expected_index_bytes",
    "layout_details",
    "write_graph_index",
]

_logger = logging.getLogger(__name__)

#: Python, numpy and buffers.
INTERPRETER_BYTES = 96 << 20

_TRAINING_ROWS = 65_536
_NAVIGATION_SHARE = 64  # one vector in so many is in the navigation sample
_LEAST_NAVIGATION = 64
_NAVIGATION_BYTES = 68  # of one sampled vector
_SECTOR_BYTES = 4096
_LONGEST_CALIBRATED = 8192  # search_list that the calibration grows to on data that need it


GraphBuild = IndexBuild[GraphBuildParams]


@dataclass(frozen=True, kw_only=True, eq=False)
class LinkedGraph:
    """A graph over the vectors that was linked elsewhere.

    Attributes:
        neighbors: uint32 (n, widest).
        degrees: uint32 (n): so many of a row count.
        origin: Where it is from; stored.
    """

    neighbors: NDArray[np.uint32]
    degrees: NDArray[np.uint32]
    origin: str


def estimate_memory_bytes(vectors: int, dim: int, itemsize: int, params: GraphBuildParams, threads: int = 0) -> int:
    """Peak resident memory of a build in bytes: vectors, graph, codes and their training sample.

    Example:
        >>> round(estimate_memory_bytes(1_000_000, 128, 1, GraphBuildParams(), threads=2) / 2**20)
        471
    """
    graph = _core.vamana_memory_bytes(vectors, params.graph_degree, params.build_list, threads)
    rows = vectors * _row_bytes(params, dim)
    raw = vectors * dim * itemsize
    training = training_bytes(min(vectors, _TRAINING_ROWS), dim)
    # While the code is trained there is no graph yet; while it is calibrated, the graph is gone and the records are in.
    records = expected_index_bytes(vectors, dim, itemsize, params)
    return INTERPRETER_BYTES + raw + max(training, graph + rows, records + rows)


def expected_index_bytes(vectors: int, dim: int, itemsize: int, params: GraphBuildParams) -> int:
    """Bytes on disk of an index with full neighbour lists; the real one is a little smaller."""
    id_bits = 32 if params.layout == "plain" else max(1, (vectors - 1).bit_length())
    if params.layout == "sectors":
        least = dim * itemsize + 5 + 8 + params.graph_degree * 4
        record = -(-_SECTOR_BYTES // (_SECTOR_BYTES // least)) if least <= _SECTOR_BYTES else least + _SECTOR_BYTES
    else:
        record = dim * itemsize + 5 + 8 + (params.graph_degree * id_bits + 7) // 8
    rows = _row_bytes(params, dim)
    navigation = _NAVIGATION_BYTES / _NAVIGATION_SHARE
    return int(vectors * (record + rows + 1.5 + navigation)) + code_parameter_bytes(dim) + (1 << 16)


def _row_bytes(params: GraphBuildParams, dim: int) -> int:
    """At most so many bytes of code a vector."""
    bits = largest_code_bits(params.code_bits, name=params.code, use="graph", dim=dim)
    return code_row_bytes(params.code, bits, dim)


def write_graph_index(build: GraphBuild, out: Path, graph: LinkedGraph | None = None) -> None:
    """Builds the index and puts it at `out`; nothing is left there when it fails or is stopped.

    With `graph` nothing is linked.

    Raises:
        TiervecError: Whatever stopped it: the disk is full, the code cannot be trained.
        KeyboardInterrupt: Ctrl-C; within a second.
    """
    vectors = build.vectors
    count, dim = vectors.shape
    needed = expected_index_bytes(count, dim, vectors.itemsize, build.params)
    details: dict[str, Any] = {} if graph is None else {"origin": graph.origin}
    if build.params.code_bits == AUTO:
        details["code_bits"] = AUTO
    with IndexDirectoryWriter(out, needed_bytes=needed) as writer:
        build, code = _train(build)
        rows = _encode(build, code)
        writer.write_section("code", code.to_bytes(), placement="fast")
        writer.write_section("code_rows", rows, placement="fast")
        linked = _link_and_calibrate(build, code, rows, writer.section_path("records"), graph)
        writer.finish_section("records", placement="tier")
        if len(linked.written["locator"]) > 0:
            writer.write_section("locator", linked.written["locator"], placement="fast")
        writer.write_section("navigation_ids", linked.navigation_ids, placement="fast")
        writer.write_section("navigation_edges", linked.navigation_edges, placement="fast")
        write_copies(writer, build.copies)
        write_attributes(writer, build.attributes)
        writer.commit(
            IndexDescription(
                kind="graph",
                metric=build.metric,
                dtype=str(vectors.dtype),
                dim=dim,
                vectors=count,
                dataset_bytes=vectors.nbytes,
                params=asdict(build.params),
                seed=build.seed,
                salt=f"{linked.written['layout']['salt']:016x}",
                calibration=linked.calibration,
                details=_details(linked.written, code) | details,
            )
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Linked:
    written: Mapping[str, Any]  # layout, locator and counts of the records
    navigation_ids: NDArray[np.uint32]
    navigation_edges: NDArray[np.uint32]
    calibration: dict[str, Any] | None


def _link_and_calibrate(
    build: GraphBuild, code: TrainedCode, rows: NDArray[np.uint8], records_path: Path, graph: LinkedGraph | None
) -> _Linked:
    """Builds the graph, measures recall on it, writes its records.

    Base vectors that serve as queries are linked after the measurement: like a query, they are not in the graph then.
    To hide a linked one from its search would be harder than a query, whose neighbourhood has edges around it. Of a
    graph from elsewhere they are left out, with the edges that lead to them, and put back.
    """
    params, count = build.params, len(build.vectors)
    queries = _calibration_queries(build)
    late = None if queries is None or queries.rows is None else queries.hidden_rows.astype(np.uint32)
    builder = _core.GraphBuilder(build.vectors, build.metric, build.threads)
    if graph is not None:
        builder.adopt(graph.neighbors, graph.degrees, late)
    else:
        run_monitored(
            "linking",
            lambda monitor: builder.link(
                params.graph_degree, params.build_list, params.alpha, build.seed, late, monitor
            ),
            build.progress,
        )
    size = max(count // _NAVIGATION_SHARE, min(count, _LEAST_NAVIGATION))
    ids, edges = run_monitored(
        "navigation sample", lambda monitor: builder.navigation(size, build.seed, monitor), build.progress
    )
    written = _write_records(build, builder, records_path)
    if queries is None:
        return _Linked(written=written, navigation_ids=ids, navigation_edges=edges, calibration=None)
    parts = GraphParts(
        vectors=count,
        dim=build.vectors.shape[1],
        dtype=str(build.vectors.dtype),
        metric=build.metric,
        layout=written["layout"],
        code=code,
        rows=rows,
        locator=written["locator"],
        navigation_ids=ids.view(np.uint8),
        navigation_edges=edges.reshape(-1).view(np.uint8),
    )
    aside = records_path.with_name("graph.aside")  # the graph and the loaded records are not in memory at once
    builder.set_aside(aside)
    calibration = _calibrate(build, parts, queries, records_path)
    if late is not None:
        builder.bring_back(aside)
        if graph is not None:
            builder.adopt(graph.neighbors, graph.degrees)
        else:
            run_monitored("linking queries", builder.link_late, build.progress)
        written = _write_records(build, builder, records_path)
    aside.unlink()
    return _Linked(written=written, navigation_ids=ids, navigation_edges=edges, calibration=calibration)


def _write_records(build: GraphBuild, builder: _core.GraphBuilder, path: Path) -> dict[str, Any]:
    description = description_hash(build.metric, build.params, build.seed)
    return run_monitored(
        "writing records",
        lambda monitor: builder.write_records(path, build.labels, monitor, build.params.layout, description),
        build.progress,
    )


def _details(written: Mapping[str, Any], code: TrainedCode) -> dict[str, Any]:
    return {**layout_details(written), "code": code.name, "edges": int(written["edges"])}


def description_hash(metric: str, params: GraphBuildParams, seed: int) -> int:
    """What the salt of the records depends on apart from their content."""
    return SaltHash(kind="graph", metric=metric, params=asdict(params), seed=seed).value()


def layout_details(written: Mapping[str, Any]) -> dict[str, Any]:
    """The sizes of written records, as the manifest has them; their salt has a place of its own."""
    return {"layout": {key: value for key, value in written["layout"].items() if key != "salt"}}


def _train(build: GraphBuild) -> tuple[GraphBuild, TrainedCode]:
    """(the build with a number of bits, its code)."""
    count = len(build.vectors)
    if build.progress is not None:
        build.progress("training code", 0, 1, None)
    random = np.random.default_rng(build.seed)
    chosen = random.choice(count, min(count, _TRAINING_ROWS), replace=False, shuffle=False)
    chosen.sort()
    sample = build.vectors[chosen]
    # Eigenvectors and k-means are libraries' work, which cannot be stopped; they hold a copy of the rows.
    build, code = run_interruptibly(lambda: _train_on(sample, build), None)
    if build.progress is not None:
        build.progress("training code", 1, 1, 0.0)
    return build, code


def _train_on(sample: NDArray[Any], build: GraphBuild) -> tuple[GraphBuild, TrainedCode]:
    params, metric, seed = build.params, build.metric, build.seed
    bits = params.code_bits
    if isinstance(bits, str):
        bits = choose_code_bits(params.code, sample, metric=metric, use="graph", vectors=len(build.vectors), seed=seed)
        _logger.info("code_bits=auto is %g", bits)
    code = train_code(params.code, sample, metric=metric, code_bits=bits, seed=seed, threads=build.threads)
    return replace(build, params=replace(params, code_bits=bits)), code


def _encode(build: GraphBuild, code: TrainedCode) -> NDArray[np.uint8]:
    native = code.native()
    rows = _core.huge_bytes(len(build.vectors) * native.row_bytes).reshape(-1, native.row_bytes)
    run_monitored(
        "encoding",
        lambda monitor: native.encode(build.vectors, rows, _core.resolve_threads(build.threads), monitor),
        build.progress,
    )
    return rows


def _calibration_queries(build: GraphBuild) -> CalibrationQueries | None:
    if build.calibration_queries is not None:
        return CalibrationQueries.given(build.calibration_queries)
    queries = CalibrationQueries.held_out(build.vectors, build.seed)
    if len(queries.vectors) == 0:
        _logger.info("%d vectors are too few to calibrate target_recall", len(build.vectors))
        return None
    return queries


def _calibrate(build: GraphBuild, parts: GraphParts, queries: CalibrationQueries, records_path: Path) -> dict[str, Any]:
    """Measures recall over the search parameters, on the index as it will be opened."""
    searcher = make_searcher(_core.open_tier("dram:", records_path), parts)

    def exact(asked: CalibrationQueries) -> NDArray[np.float32]:
        return run_monitored(
            "calibration: exact neighbours",
            lambda monitor: asked.exact_distances(build.vectors, build.metric, build.threads, monitor, indexed=False),
            build.progress,
        )

    def search(asked: CalibrationQueries, k: int, chosen: dict[str, float]) -> Measured:
        params = GraphSearchParams(search_list=int(chosen["search_list"]), stop_margin=chosen["stop_margin"])
        found = search_natively(searcher, asked.vectors, k, params, threads=build.threads)
        reads = found.reads / len(asked.vectors)
        return Measured(distances=found.distances, reads=reads, compared=reads)

    longest = min(_LONGEST_CALIBRATED, len(build.vectors))
    grid = replace(CALIBRATION_GRID, limits={"search_list": longest})
    return calibrate_near_and_far(grid, search, exact, queries, build.vectors, build.metric, build.seed, build.progress)


def check_buildable(vectors: int, dim: int) -> None:
    """Refuses sizes that the formats cannot hold.

    Raises:
        InvalidArgumentError: Fewer than two vectors, or more than 2^31 - 1, or a dimension above 16384.
    """
    if vectors < 2:
        raise InvalidArgumentError(f"data has {vectors} vector; a graph index needs at least 2")
    if vectors > MOST_VECTORS:
        raise InvalidArgumentError(f"data has {vectors:,} vectors; a graph index holds at most {MOST_VECTORS:,}")
    if dim > LARGEST_DIM:
        raise InvalidArgumentError(f"data has dimension {dim}; a graph index takes up to {LARGEST_DIM}")
