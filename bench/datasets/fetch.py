"""Gets the files of a registered data set: all of it, or of a big one its first vectors."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tiervec.bench.datasets.cache import default_cache
from tiervec.bench.datasets.download import download
from tiervec.bench.datasets.opening import is_at_hand, parse_dataset_name
from tiervec.bench.datasets.preparing import Progress
from tiervec.bench.datasets.registry import DatasetEntry, DatasetFile, load_registry
from tiervec.errors import DataLossError, InvalidArgumentError, NotFoundError, UnavailableError
from tiervec.machine.durable_files import storage_errors

__all__ = ["fetch"]

_ITEM_BYTES: Final = {"float32": 4, "float16": 2, "uint8": 1, "int8": 1}
_HEADER: Final = struct.Struct("<II")


def fetch(
    name: str,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
    registry: dict[str, DatasetEntry] | None = None,
) -> list[Path]:
    """Downloads a data set into the cache; what is there is not downloaded again.

    Args:
        name: ``NAME``, or ``NAME:FIRST_N`` for the beginning of a big one.
        cache: Folder; None: `default_cache`.
        progress: Called with (stage, bytes here, bytes in all, None).
        registry: Instead of the package's.

    Returns:
        The files.

    Raises:
        NotFoundError: Unknown, or one that cannot be downloaded; the sentence says how to get it.
        InvalidArgumentError: A slice of more than it has.
        UnavailableError, DataLossError, ResourceExhaustedError: As of `download`.
    """
    base_name, rows = parse_dataset_name(name)
    entries = load_registry() if registry is None else registry
    entry = entries.get(base_name.partition(":")[0])
    if entry is None:
        raise NotFoundError(f"there is no data set {base_name!r}; known: {', '.join(entries)}")
    folder = (default_cache() if cache is None else cache) / "downloads" / entry.name
    if entry.source != "download":
        return _nothing_to_fetch(entry, cache)
    assert entry.base is not None
    if rows is not None and entry.n is not None and rows > entry.n:
        raise InvalidArgumentError(f"{entry.name} has {entry.n:,} vectors; a slice of {rows:,} is more than that")
    report = progress or (lambda *_: None)

    def get(file: DatasetFile, target: Path, first_bytes: int | None = None) -> Path:
        stage = f"downloading {target.name} of {entry.name}"
        return download(
            file, target, first_bytes=first_bytes, progress=lambda here, whole: report(stage, here, whole, None)
        )

    suffix = Path(entry.base.url).suffix
    if entry.query is None:  # one file with everything in it: a slice is cut from it later
        return [get(entry.base, folder / f"base{suffix}")]
    files = [get(entry.query, folder / f"query{Path(entry.query.url).suffix}")]
    if rows is None or rows == entry.n:
        files.append(get(entry.base, folder / f"base{suffix}"))
    else:
        files.append(_beginning(entry, rows, folder / f"base-{rows}{suffix}", get))
    count = entry.n if rows is None else rows
    files += [get(each, folder / f"ground_truth-{each.rows}.bin") for each in entry.ground_truth if each.rows == count]
    return files


def _beginning(
    entry: DatasetEntry, rows: int, target: Path, get: Callable[[DatasetFile, Path, int | None], Path]
) -> Path:
    """The first vectors of a .bin file, with a header that says how many."""
    assert entry.base is not None
    assert entry.dim is not None
    assert entry.dtype is not None
    if target.exists():
        return target
    raw = target.with_name(f"{target.name}.raw")  # as the server has it; so is its noted checksum
    size = _HEADER.size + rows * entry.dim * _ITEM_BYTES[entry.dtype]
    get(entry.base, raw, size)
    with storage_errors(f"writing {raw}", raw.parent), open(raw, "r+b") as file:
        found_rows, found_dim = _HEADER.unpack(file.read(_HEADER.size))
        if found_dim != entry.dim or found_rows not in (entry.n, rows):
            raise DataLossError(
                f"{entry.base.url} begins with {found_rows:,} x {found_dim}; {entry.n:,} x {entry.dim} is registered"
            )
        file.seek(0)
        file.write(_HEADER.pack(rows, entry.dim))
    raw.rename(target)
    return target


def _nothing_to_fetch(entry: DatasetEntry, cache: Path | None) -> list[Path]:
    if entry.source == "manual":
        raise NotFoundError(
            f"{entry.name} cannot be downloaded by itself: {entry.page}. {entry.notes}: "
            f"tiervec bench fetch {entry.name} --path FILE"
        )
    if not is_at_hand(entry, cache):
        raise UnavailableError(f"{entry.name} is not for download; TIERVEC_DATA must name the folder that holds it")
    return []
