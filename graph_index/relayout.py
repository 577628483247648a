"""The same graph in another layout: only the records are written anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tiervec import _core
from tiervec.graph_index.opened import record_sizes
from tiervec.graph_index.params import GraphBuildParams
from tiervec.index_directory import IndexDirectory, IndexDirectoryWriter
from tiervec.index_kind import changed_params
from tiervec.interruptible import BuildProgress, run_monitored

__all__ = ["relayout_graph_index"]


def relayout_graph_index(
    directory: IndexDirectory, out: Path, changes: Mapping[str, Any], *, progress: BuildProgress | None = None
) -> None:
    """Writes `directory`'s graph at `out` in the layout of `changes`, whole or not at all.

    Raises:
        InvalidArgumentError: A parameter that cannot change without a new build.
        DataLossError: The index is not what was written.
    """
    manifest = directory.manifest
    params = changed_params(directory, GraphBuildParams, changes, ("layout",))
    sizes = record_sizes(directory)
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
                monitor,
            ),
            progress,
        )
        writer.finish_section("records", placement="tier")
        for section in manifest.sections:
            if section.name not in ("records", "locator"):
                writer.write_section(section.name, directory.read_section(section.name), placement=section.placement)
        if len(written["locator"]) > 0:
            writer.write_section("locator", written["locator"], placement="fast")
        writer.commit(
            manifest.description(params=asdict(params), details={**manifest.details, "layout": dict(written["layout"])})
        )
