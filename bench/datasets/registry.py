"""The registry of data sets, `registry.toml`, as dataclasses."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["DatasetEntry", "DatasetFile", "load_registry"]


@dataclass(frozen=True, kw_only=True)
class DatasetFile:
    """One file to download.

    Attributes:
        url: Where it is.
        bytes: Its exact size, where known.
        sha256: Its checksum, where known.
        rows: Rows it has: ground truth of a slice of so many vectors; None: of all.
    """

    url: str
    bytes: int | None = None
    sha256: str | None = None
    rows: int | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetEntry:
    """What is known of a data set.

    Attributes:
        name: As the command line and plans call it.
        title: One line.
        source: ``download``: `base` and so on can be fetched. ``local``: files of the folder named by TIERVEC_DATA.
            ``package``: comes with TierVec. ``manual``: `page` says how to get it; then ``--path``.
            ``synthetic``: generated.
        n: Vectors.
        dim: Dimension.
        dtype: float32, float16, int8 or uint8.
        metric: ``l2``, ``ip`` or ``cosine``.
        queries: Number of queries.
        licence: As its page says; None: nothing is said, or we do not know.
        page: Where it is described.
        approximate_bytes: Size of a download of all, rounded, where the exact one is not known.
        base: The vectors; for an .hdf5 file everything.
        query: The queries.
        ground_truth: True neighbours, one file for each slice that has one.
        notes: What else one must know.
    """

    name: str
    title: str
    source: Literal["download", "local", "package", "manual", "synthetic"]
    n: int | None = None
    dim: int | None = None
    dtype: str | None = None
    metric: str = "l2"
    queries: int | None = None
    licence: str | None = None
    page: str | None = None
    approximate_bytes: int | None = None
    base: DatasetFile | None = None
    query: DatasetFile | None = None
    ground_truth: tuple[DatasetFile, ...] = ()
    notes: str = ""


def load_registry() -> dict[str, DatasetEntry]:
    """Name to entry, in the order of the file."""
    document = tomllib.loads((Path(__file__).parent / "registry.toml").read_text(encoding="utf-8"))
    return {name: _entry(name, dict(table)) for name, table in document.items()}


def _entry(name: str, table: dict[str, Any]) -> DatasetEntry:
    for key in ("base", "query"):
        if key in table:
            table[key] = DatasetFile(**table[key])
    truths = tuple(DatasetFile(**each) for each in table.pop("ground_truth", ()))
    return DatasetEntry(name=name, ground_truth=truths, **table)
