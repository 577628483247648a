"""Writes one layout of a clustering as sections of an index directory, and calibrates it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiervec import _core
from tiervec.cluster_index.arrangement import Arrangement, arrange
from tiervec.cluster_index.bit_packing import bits_for, pack
from tiervec.cluster_index.cluster_space import ClusterSpace
from tiervec.cluster_index.clustering import Clustering
from tiervec.cluster_index.navigation import Navigation
from tiervec.cluster_index.opened import ClusterParts, calibration_grid, make_searcher, tier_section
from tiervec.cluster_index.params import ClusterBuildParams, ClusterSearchParams
from tiervec.cluster_index.residual_code import train_residual_code
from tiervec.cluster_index.spill import spill_clusters
from tiervec.codes import AUTO, CodeBits, TrainedCode, choose_code_bits
from tiervec.engine.calibration import CalibrationQueries, Measured
from tiervec.index_files.directory import IndexDirectoryWriter
from tiervec.index_files.record_salt import SaltHash
from tiervec.kinds.far_queries import calibrate_near_and_far
from tiervec.kinds.index_kind import search_natively
from tiervec.machine.interruptible import BuildProgress, run_interruptibly, run_monitored

__all__ = ["LayoutTask", "WrittenLayout", "write_layout"]

_logger = logging.getLogger(__name__)

_TRAINING_ROWS = 65_536
_DEEPEST = 100  # neighbours that a calibration looks at


@dataclass(frozen=True, kw_only=True, eq=False)
class LayoutTask:
    """What is laid out.

    Attributes:
        vectors: (n, dim) in the order of the data; may be a mapped file.
        metric: ``l2``, ``ip`` or ``cosine``.
        labels: The user's id of each vector, or None.
        params: Build parameters; the layout among them.
        clustering: The clusters.
        queries: What to calibrate with; may be empty.
        threads: 0 means all allowed CPUs.
        seed: Seed for all randomness.
        progress: Progress callback or None.
    """

    vectors: NDArray[Any]
    metric: str
    labels: NDArray[np.int64] | None
    params: ClusterBuildParams
    clustering: Clustering
    queries: CalibrationQueries
    threads: int
    seed: int
    progress: BuildProgress | None


@dataclass(frozen=True, kw_only=True, eq=False)
class WrittenLayout:
    """What the manifest says of it; `code_bits` is a number where there is a code."""

    salt: str
    code_bits: CodeBits
    details: Mapping[str, Any]
    calibration: Mapping[str, Any] | None


def write_layout(writer: IndexDirectoryWriter, task: LayoutTask) -> WrittenLayout:
    """Writes all sections: of the layout, of the navigation, of the clustering and of the calibration queries."""
    count, dim = task.vectors.shape
    clustering, layout = task.clustering, task.params.layout
    navigation = Navigation.build(clustering, layout=layout, metric=task.metric, threads=task.threads)
    navigation.write(writer)
    arrangement = arrange(
        layout,
        clustering.memberships,
        probes=clustering.probes,
        ordered=task.params.ordered,
        threads=task.threads,
        progress=task.progress,
    )
    labels = arrangement.order if task.labels is None else task.labels[arrangement.order]
    id_bits = bits_for(int(labels.max()) if task.labels is not None else count - 1)
    ids = pack(labels, id_bits)
    writer.write_section("ids", ids, placement="fast")
    writer.write_section("cluster_offsets", arrangement.cluster_offsets, placement="fast")
    if arrangement.places is not None:
        writer.write_section("cluster_places", arrangement.places, placement="fast")
    bits: CodeBits = task.params.code_bits
    fast: dict[str, Any] = {}
    if layout == "coded":
        bits, fast = _write_code(writer, task, arrangement, navigation)
    big = writer.section_path(tier_section(layout))
    salt = _salt(task, arrangement)
    fast.update(_write_big_part(writer, task, arrangement, salt, big))
    if task.labels is not None:
        writer.write_section("order", arrangement.order, placement="disk")
    clustering.write(writer)
    _write_queries(writer, task.queries)
    parts = ClusterParts(
        vectors=count,
        dim=dim,
        dtype=str(task.vectors.dtype),
        metric=task.metric,
        layout=layout,
        salt=salt,
        ids=ids,
        id_bits=id_bits,
        cluster_offsets=arrangement.cluster_offsets,
        cluster_places=arrangement.places,
        navigation=navigation,
        **fast,
    )
    details = {
        "layout": layout,
        "id_bits": id_bits,
        "has_labels": task.labels is not None,
        **({"code": parts.code.name, "spill": task.params.spill} if parts.code is not None else {}),
        **({"code_bits": AUTO} if bits != task.params.code_bits else {}),
        "calibration_source": task.queries.source,
        **clustering.details(),
    }
    calibration = _calibrate(task, arrangement, parts, big)
    return WrittenLayout(salt=f"{salt:016x}", code_bits=bits, details=details, calibration=calibration)


def _salt(task: LayoutTask, arrangement: Arrangement) -> int:
    """The salt of the checks: covers which vector a record holds and whose member it is, but not its code."""
    params = asdict(replace(task.params, clusters=task.params.clusters or len(task.clustering.centroids)))
    for key in ("code", "code_bits", "spill"):
        del params[key]
    salt = SaltHash(kind="cluster", metric=task.metric, params=params, seed=task.seed)
    arranged = (arrangement.order, arrangement.cluster_offsets, arrangement.posting_offsets, arrangement.postings)
    for values in (task.vectors, task.labels, *arranged):
        salt.add(values)
    return salt.value()


def _write_code(
    writer: IndexDirectoryWriter, task: LayoutTask, arrangement: Arrangement, navigation: Navigation
) -> tuple[float, dict[str, Any]]:
    """(bits a dimension, codes of all vectors), relative to what the centroid codes of their clusters stand for."""
    if task.progress is not None:
        task.progress("training code", 0, 1, None)
    count = len(task.vectors)
    random = np.random.default_rng(task.seed)
    chosen = random.choice(count, min(count, _TRAINING_ROWS), replace=False, shuffle=False)
    chosen.sort()
    sample = np.asarray(task.vectors[chosen])
    origins = navigation.origins()[task.clustering.memberships.home[chosen]]
    # Eigenvectors and k-means are libraries' work, which cannot be stopped; they hold a copy of the rows.
    bits, code = run_interruptibly(lambda: _train_on(sample, origins, task), None)
    if task.progress is not None:
        task.progress("training code", 1, 1, 0.0)
    native = code.native()
    spilled = _spill(task) if task.params.spill else None
    own_bytes = _core.code_blocks_bytes(native, count)
    spilled_bytes = 0 if spilled is None else _core.code_blocks_bytes(native, len(spilled.rows))
    blocks = _core.huge_bytes(own_bytes + spilled_bytes)

    def encode(stage: str, rows: NDArray[np.uint32], offsets: NDArray[np.uint32], out: NDArray[np.uint8]) -> None:
        run_monitored(
            stage,
            lambda monitor: _core.encode_clusters(
                task.vectors,
                rows,
                offsets,
                navigation.code.native(),
                navigation.centroid_rows.reshape(-1),
                native,
                out,
                _core.resolve_threads(task.threads),
                monitor,
            ),
            task.progress,
        )

    encode("encoding", arrangement.order, arrangement.cluster_offsets, blocks[:own_bytes])
    fast: dict[str, Any] = {"code": code, "code_blocks": blocks}
    if spilled is not None:
        encode("encoding spill", spilled.rows, spilled.offsets, blocks[own_bytes:])
        fast["spill_offsets"] = spilled.offsets
        fast["spill_positions"] = pack(arrangement.positions[spilled.rows], bits_for(count - 1))
        writer.write_section("spill_offsets", spilled.offsets, placement="fast")
        writer.write_section("spill_positions", fast["spill_positions"], placement="fast")
    writer.write_section("code", code.to_bytes(), placement="fast")
    writer.write_section("code_blocks", blocks, placement="fast")
    return bits, fast


def _train_on(sample: NDArray[Any], origins: NDArray[np.float32], task: LayoutTask) -> tuple[float, TrainedCode]:
    params = task.params
    bits = params.code_bits
    if isinstance(bits, str):
        bits = choose_code_bits(
            params.code,
            sample,
            metric=task.metric,
            use="scan",
            vectors=len(task.vectors),
            seed=task.seed,
            origins=origins,
        )
        _logger.info("code_bits=auto is %g", bits)
    code = train_residual_code(
        params.code, sample, origins, metric=task.metric, code_bits=bits, seed=task.seed, threads=task.threads
    )
    return bits, code


@dataclass(frozen=True, kw_only=True, eq=False)
class _Spill:
    """Rows whose codes are also in a second cluster, by cluster; the first of each, and the end."""

    rows: NDArray[np.uint32]
    offsets: NDArray[np.uint32]


def _spill(task: LayoutTask) -> _Spill:
    space, clusters = ClusterSpace(task.vectors, task.metric), len(task.clustering.centroids)
    second = spill_clusters(space, task.clustering, task.threads, task.progress)
    # Within a cluster in the order of the data, as vectors are in their own.
    rows = np.argsort(second, kind="stable").astype(np.uint32)
    sizes = np.bincount(second, minlength=clusters)
    return _Spill(rows=rows, offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.uint32))


def _write_big_part(
    writer: IndexDirectoryWriter, task: LayoutTask, arrangement: Arrangement, salt: int, path: Path
) -> dict[str, Any]:
    """The section on the tier and, in fast memory, what finds a cluster's members there."""
    layout, clusters = task.params.layout, len(task.clustering.centroids)
    fast: dict[str, Any] = {}
    if layout == "replicated":
        assert arrangement.postings is not None
        assert arrangement.posting_offsets is not None
        members, entries = arrangement.postings, arrangement.posting_offsets.astype(np.uint64)
        offsets = run_monitored(
            "writing postings",
            lambda monitor: _core.write_cluster_postings(
                str(path), task.vectors, members, entries, arrangement.positions, salt, task.params.align, monitor
            ),
            task.progress,
        )
        fast = {"posting_offsets": offsets, "posting_counts": np.diff(entries).astype(np.uint32)}
    else:
        run_monitored(
            "writing vectors",
            lambda monitor: _core.write_cluster_vectors(path, task.vectors, arrangement.order, salt, monitor),
            task.progress,
        )
        if arrangement.postings is not None and arrangement.posting_offsets is not None:
            bits = bits_for(len(task.vectors) - 1)
            fast = {
                "posting_offsets": arrangement.posting_offsets.astype(np.uint64),
                "posting_addresses": pack(arrangement.postings, bits),
            }
    writer.finish_section(tier_section(layout), placement="tier")
    for name, content in fast.items():
        writer.write_section(name, content, placement="fast")
    assert len(fast.get("posting_offsets", range(clusters + 1))) == clusters + 1
    return fast


def _write_queries(writer: IndexDirectoryWriter, queries: CalibrationQueries) -> None:
    writer.write_section("calibration_queries", queries.vectors, placement="disk")
    excluded = np.empty(0, np.int64) if queries.rows is None else queries.rows
    writer.write_section("calibration_excluded", excluded, placement="disk")


def _exact_distances(task: LayoutTask, asked: CalibrationQueries, monitor: _core.WorkMonitor) -> NDArray[np.float32]:
    """Distances of the nearest neighbours; a base vector that stands for a query is hidden from its own search only."""
    depth = min(_DEEPEST, len(task.vectors) - (asked.rows is not None))
    _, distances = _core.exact_search(
        task.vectors, task.metric, asked.vectors, depth, asked.rows, task.threads, monitor
    )
    return distances


def _calibrate(task: LayoutTask, arrangement: Arrangement, parts: ClusterParts, big: Path) -> dict[str, Any] | None:
    """Measures recall over the search parameters, on the index as it will be opened.

    What is measured are answers and counts, which are the same whether the tier loads its section or maps it.
    """
    queries = task.queries
    if len(queries.vectors) == 0:
        _logger.info("%d vectors are too few to calibrate target_recall", len(task.vectors))
        return None
    # Mapped, because the section is as large as the vectors: a build that leaves those in their file could not load it.
    tier = _core.open_tier("mmap:", big)
    searcher = make_searcher(tier, parts)

    def exact(asked: CalibrationQueries) -> NDArray[np.float32]:
        return run_monitored(
            "calibration: exact neighbours", lambda monitor: _exact_distances(task, asked, monitor), task.progress
        )

    def search(asked: CalibrationQueries, k: int, chosen: dict[str, float]) -> Measured:
        whole: dict[str, Any] = {name: int(value) for name, value in chosen.items()}
        params = ClusterSearchParams(**whole)
        excluded = None
        if asked.rows is not None:
            excluded = np.where(asked.rows < 0, -1, arrangement.positions[asked.rows].astype(np.int64))
        found = search_natively(searcher, asked.vectors, k, params, threads=task.threads, exclude=excluded)
        return Measured(
            distances=found.distances,
            reads=found.reads / len(asked.vectors),
            code_distances=found.code_distances / len(asked.vectors),
            compared=found.bytes_read / (task.vectors.itemsize * task.vectors.shape[1] * len(asked.vectors)),
        )

    grid = calibration_grid(task.params.layout, len(task.clustering.centroids))
    return calibrate_near_and_far(grid, search, exact, queries, task.vectors, task.metric, task.seed, task.progress)
