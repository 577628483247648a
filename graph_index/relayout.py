"""The same graph in another layout: only the records are written anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tiervec import _core
from tiervec.graph_index.build import INTERPRETER_BYTES, description_hash, layout_details
from tiervec.graph_index.opened import record_sizes
from tiervec.graph_index.params import GraphBuildParams
from tiervec.index_files.directory import IndexDirectory, IndexDirectoryWriter
from tiervec.kinds.index_kind import changed_params
from tiervec.machine.interruptible import BuildProgress, run_monitored
from tiervec.rdma.extents import extents_section
from tiervec.vectors.memory_limit import choose_within

__all__ = ["estimate_conversion_bytes", "relayout_graph_index"]

_LOCATING_BYTES = 6  # of one vector: the old locator, the new one, and a copy that goes into its section


def relayout_graph_index(
    directory: IndexDirectory,
    out: Path,
    changes: Mapping[str, Any],
    *,
    memory_limit: int | None = None,
    progress: BuildProgress | None = None,
) -> None:
    """Writes `directory`'s graph at `out` in the layout of `changes`, whole or not at all.

    Records are read from a mapped file and written one by one; the other sections are copied one after the other.

    Raises:
        InvalidArgumentError: A parameter that cannot change without a new build.
        ResourceExhaustedError: memory_limit is too small, or the disk is.
        DataLossError: The index is not what was written.
    """
    manifest = directory.manifest
    params = changed_params(directory, GraphBuildParams, changes, ("layout",))
    sizes = record_sizes(directory)
    act = f"converting {manifest.vectors:,} vectors of dimension {manifest.dim} to layout={params.layout}"
    choose_within(memory_limit, [estimate_conversion_bytes(directory)], act, progress)
    records = directory.map_section("records")
    directory.verify_bytes("records", records)
    locator = np.empty(0, np.uint8) if sizes["sector_degree"] else directory.read_section("locator")
    with IndexDirectoryWriter(out) as writer:
        path = writer.section_path("records")
        written = run_monitored(
            "writing records",
            lambda monitor: _core.rewrite_records(
                records,
                manifest.vectors,
                manifest.dim,
                manifest.dtype,
                sizes,
                locator,
                params.layout,
                str(path),
                description_hash(manifest.metric, params, manifest.seed),
                monitor,
            ),
            progress,
        )
        writer.finish_section("records", placement="tier")
        for section in manifest.sections:
            if section.name not in ("records", extents_section("records"), "locator"):
                writer.write_section(section.name, directory.read_section(section.name), placement=section.placement)
        if len(written["locator"]) > 0:
            writer.write_section("locator", written["locator"], placement="fast")
        writer.commit(
            manifest.description(
                params=asdict(params),
                salt=f"{written['layout']['salt']:016x}",
                details={**manifest.details, **layout_details(written)},
            )
        )


def estimate_conversion_bytes(directory: IndexDirectory) -> int:
    """Peak memory of a conversion in bytes, pages of the mapped records apart."""
    copied = max((section.bytes for section in directory.manifest.sections if section.name != "records"), default=0)
    return INTERPRETER_BYTES + copied + _LOCATING_BYTES * directory.manifest.vectors
