"""Opens a data set by name: ``sift1m``, ``sift1m:100k``, ``synthetic:n=10000,dim=96``."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import xxhash
from numpy.typing import NDArray

import tiervec
from tiervec.bench.datasets.battery import battery_shape
from tiervec.bench.datasets.cache import default_cache
from tiervec.bench.datasets.dataset import Dataset
from tiervec.bench.datasets.preparing import Progress, Source, prepare
from tiervec.bench.datasets.registry import DatasetEntry, load_registry
from tiervec.bench.datasets.synthetic import parse_synthetic, synthetic_blocks, synthetic_queries
from tiervec.errors import DataLossError, InvalidArgumentError, NotFoundError, UnsupportedError
from tiervec.machine.durable_files import replacing_file, storage_errors
from tiervec.sample import QUERIES_PATH, VECTORS_PATH
from tiervec.vectors.vector_files import VectorFile, open_vectors
from tiervec.vectors.vector_files.opening import split_path

__all__ = [
    "LocalFiles",
    "data_folder",
    "dataset_of_files",
    "is_at_hand",
    "open_dataset",
    "parse_dataset_name",
    "remember_files",
]

_SLICE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)([kKmMbB]?)")
_FACTORS: Final = {"": 1, "k": 1000, "m": 1_000_000, "b": 1_000_000_000}
_BIG_ANN: Final = (".fbin", ".f16bin", ".u8bin", ".i8bin")
_HELD_OUT: Final = 1000
_GENERATED: Final = ("synthetic", "battery")


@dataclass(frozen=True, kw_only=True)
class LocalFiles:
    """Files of one's own as a data set.

    Attributes:
        base: The vectors, in any format of `tiervec.vectors.vector_files`.
        queries: The queries; None: the last 1,000 vectors (at most a tenth) are taken out and used.
        ground_truth: True neighbours of all vectors; None: computed.
        metric: ``l2``, ``ip`` or ``cosine``.
    """

    base: str
    queries: str | None = None
    ground_truth: str | None = None
    metric: str = "l2"

    def __post_init__(self) -> None:
        if self.metric not in ("l2", "ip", "cosine"):
            raise InvalidArgumentError(f"metric is {self.metric!r}; it must be l2, ip or cosine")


def parse_dataset_name(text: str) -> tuple[str, int | None]:
    """Splits ``NAME:FIRST_N``.

    Example:
        >>> parse_dataset_name("sift1m:100k"), parse_dataset_name("peps")
        (('sift1m', 100000), ('peps', None))
    """
    name, colon, slice_text = text.partition(":")
    if not colon or name in _GENERATED:
        return text, None
    match = _SLICE.fullmatch(slice_text)
    if match is None or not (rows := round(float(match[1]) * _FACTORS[match[2].lower()])):
        raise InvalidArgumentError(f"data set {text!r}: the slice {slice_text!r} must be a number such as 100k or 1M")
    return name, rows


def open_dataset(
    name: str, *, queries: int | None = None, cache: Path | None = None, progress: Progress | None = None
) -> Dataset:
    """Opens a data set that is at hand; never touches the network.

    Slices, and true neighbours that do not come with the data, are made once and kept in the cache by checksum.

    Args:
        name: ``NAME`` or ``NAME:FIRST_N`` of the registry or of `remember_files`, ``synthetic:n=...,dim=...``, or
            ``battery:SHAPE``.
        queries: Only the first so many.
        cache: Folder; None: `default_cache`.
        progress: Progress callback.

    Raises:
        NotFoundError: Unknown, or not fetched yet; the sentence says how to get it.
        InvalidArgumentError: A slice or a parameter that it does not have, or true neighbours of other vectors.

    Example:
        >>> import tempfile, pathlib
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     dataset = open_dataset("sample:1k", cache=pathlib.Path(folder))
        >>> dataset.key.n, dataset.key.metric, dataset.ground_truth.shape
        (1000, 'cosine', (72, 100))
    """
    folder = default_cache() if cache is None else cache
    base_name, rows = parse_dataset_name(name)
    if base_name.partition(":")[0] == "synthetic":
        source = _synthetic(base_name)
    elif base_name.partition(":")[0] == "battery":
        source = _battery(base_name)
    elif (files := _remembered(folder).get(base_name)) is not None:
        source = _source_of_files(base_name, files)
    else:
        source = _registered(base_name, rows, folder, progress or _ignore)
    return prepare(source, rows, queries, folder, progress or _ignore)


def dataset_of_files(
    files: LocalFiles,
    *,
    name: str | None = None,
    slice: int | None = None,
    queries: int | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """A data set of files of one's own.

    Args:
        files: The files.
        name: None: the name of the file of vectors.
        slice: Only the first so many vectors.
        queries: Only the first so many queries.
        cache: As in `open_dataset`.
        progress: As in `open_dataset`.

    Raises:
        InvalidArgumentError: Files that do not fit each other; also as `open_vectors` and `read_ground_truth` do.
    """
    source = _source_of_files(name or Path(files.base).name, files)
    return prepare(source, slice, queries, default_cache() if cache is None else cache, progress or _ignore)


def remember_files(name: str, files: LocalFiles, cache: Path | None = None) -> None:
    """Lets `open_dataset` find files of one's own by a name; another use of the name replaces them.

    Raises:
        InvalidArgumentError: The name cannot be used, or the files do not fit each other.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name in _GENERATED:
        raise InvalidArgumentError(f"data set {name!r}: a name has letters, digits, dots and dashes only")
    _source_of_files(name, files)
    whole = LocalFiles(**{key: _absolute(key, value) for key, value in asdict(files).items()})
    path = (default_cache() if cache is None else cache) / "files" / f"{name}.json"
    with storage_errors(f"writing {path}", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing_file(path) as file:
        file.write(json.dumps(asdict(whole)).encode())


def is_at_hand(entry: DatasetEntry, cache: Path | None = None) -> bool:
    """Whether `open_dataset` finds the vectors of a registered set, at least of a slice."""
    folder = default_cache() if cache is None else cache
    if entry.source == "local":
        return data_folder(entry.name) is not None
    if entry.source == "download":
        return any((folder / "downloads" / entry.name).glob(f"base*{_suffix(entry)}"))
    return entry.source != "manual" or entry.name in _remembered(folder)


def data_folder(name: str) -> Path | None:
    """The folder of a set that lies in the folder named by TIERVEC_DATA, or in ../shared/data of the source tree."""
    if chosen := os.environ.get("TIERVEC_DATA"):
        places = [Path(chosen)]
    else:
        package = tiervec.__file__
        places = [Path(package or ".").resolve().parents[2] / "shared" / "data", Path("../shared/data").resolve()]
    return next((place / name for place in places if (place / name).is_dir()), None)


def _registered(name: str, rows: int | None, cache: Path, progress: Progress) -> Source:
    entry = load_registry().get(name)
    if entry is None:
        known = ", ".join([*load_registry(), *_remembered(cache)])
        raise NotFoundError(f"there is no data set {name!r}; known: {known}")
    if entry.source == "package":
        return _source_of_files(
            name, LocalFiles(base=str(VECTORS_PATH), queries=str(QUERIES_PATH), metric=entry.metric)
        )
    if entry.source == "local":
        return _local(entry, cache, progress)
    if entry.source == "download":
        return _downloaded(entry, rows, cache)
    raise NotFoundError(
        f"{name} cannot be fetched by itself; get it from {entry.page}, then `tiervec bench fetch {name} --path FILE`"
    )


def _synthetic(name: str) -> Source:
    params = parse_synthetic(name)
    return Source(
        name=params.name,
        metric=params.metric,
        n=params.n,
        dim=params.dim,
        dtype=params.dtype,
        blocks=lambda: synthetic_blocks(params),
        mark=params.name,
        queries=synthetic_queries(params),
        truth={},
    )


def _battery(name: str) -> Source:
    shape = battery_shape(name.partition(":")[2])
    return Source(
        name=name,
        metric=shape.metric,
        n=len(shape.base),
        dim=shape.base.shape[1],
        dtype=shape.base.dtype.name,
        blocks=lambda: [shape.base],
        mark=xxhash.xxh3_64_hexdigest(shape.base.tobytes()),
        queries=shape.queries,
        truth={},
    )


def _local(entry: DatasetEntry, cache: Path, progress: Progress) -> Source:
    folder = data_folder(entry.name)
    if folder is None:
        raise NotFoundError(f"{entry.name} is not at hand; TIERVEC_DATA must name the folder that holds {entry.name}/")
    if entry.name == "peps":
        base, queries, truth = "vectors.f16.npy.zst", "peps.queries.f16.npy", None
    else:
        base, queries, truth = "base.u8bin.zst", "query.u8bin", str(folder / "gt100.bin")
    unpacked = _unpacked(folder / base, cache / "downloads" / entry.name, progress)
    files = LocalFiles(base=str(unpacked), queries=str(folder / queries), ground_truth=truth, metric=entry.metric)
    return _source_of_files(entry.name, files)


def _downloaded(entry: DatasetEntry, rows: int | None, cache: Path) -> Source:
    folder = cache / "downloads" / entry.name
    whole = folder / f"base{_suffix(entry)}"
    parts = {int(path.stem.partition("-")[2]): path for path in folder.glob(f"base-*{_suffix(entry)}")}
    enough = [parts[size] for size in sorted(parts) if rows is not None and size >= rows]
    if not whole.exists() and not enough:
        what = entry.name if rows is None else f"{entry.name}:{rows}"
        raise NotFoundError(f"{what} is not at hand; `tiervec bench fetch {what}` downloads it")
    base = str(whole if whole.exists() else enough[0])
    if whole.suffix == ".hdf5":
        return _source_of_files(
            entry.name,
            LocalFiles(
                base=f"{base}:train", queries=f"{base}:test", ground_truth=f"{base}:neighbors", metric=entry.metric
            ),
        )
    files = LocalFiles(base=base, queries=str(folder / f"query{_suffix(entry)}"), metric=entry.metric)
    source = _source_of_files(entry.name, files)
    for path in folder.glob("ground_truth-*.bin"):
        source.truth[int(path.stem.partition("-")[2])] = path
    return source


def _suffix(entry: DatasetEntry) -> str:
    assert entry.base is not None
    return Path(entry.base.url).suffix


def _source_of_files(name: str, files: LocalFiles) -> Source:
    base = open_vectors(files.base)
    held_out = 0
    if files.queries is None:
        held_out = min(_HELD_OUT, base.shape[0] // 10)
        if not held_out:
            raise InvalidArgumentError(f"{files.base} has only {base.shape[0]} vectors; give --queries")
        queries = base.rows(base.shape[0] - held_out, base.shape[0])
    else:
        asked = open_vectors(files.queries)
        queries = asked.rows(0, asked.shape[0])
    if queries.shape[1] != base.shape[1]:
        raise InvalidArgumentError(
            f"the queries {files.queries} have {queries.shape[1]} dimensions, but the vectors {files.base} have "
            f"{base.shape[1]}"
        )
    n = base.shape[0] - held_out
    path = Path(base.path)
    status = path.stat()
    return Source(
        name=name,
        metric=files.metric,
        n=n,
        dim=base.shape[1],
        dtype=base.dtype.name,
        blocks=lambda: _blocks(base),
        mark=f"{path.resolve()} {split_path(files.base)[1] or ''} {status.st_size} {status.st_mtime_ns}",
        queries=_as_dtype(queries, base),
        truth={} if files.ground_truth is None else {n: Path(files.ground_truth)},
        file=path if path.suffix in _BIG_ANN and not held_out else None,
    )


def _blocks(file: VectorFile) -> Iterator[NDArray[Any]]:
    for _, block in file.chunks():
        yield block


def _as_dtype(queries: NDArray[Any], base: VectorFile) -> NDArray[Any]:
    """Queries as the index takes them: of the vectors' dtype, when that loses nothing."""
    converted = queries.astype(base.dtype)
    if base.dtype.kind in "iu" and not np.array_equal(converted, queries):
        raise InvalidArgumentError(f"the queries are {queries.dtype} and do not fit the {base.dtype} of {base.path}")
    return converted


def _unpacked(path: Path, folder: Path, progress: Progress) -> Path:
    """The content of a .zst file, in the cache; a note beside it says of which one."""
    target = folder / path.name.removesuffix(".zst")
    note = folder / f"{target.name}.json"
    with storage_errors(f"reading {path}", path.parent):
        status = path.stat()
    unpacked_from = [str(path.resolve()), status.st_size, status.st_mtime_ns]
    with contextlib.suppress(OSError, ValueError):
        if target.exists() and json.loads(note.read_bytes()) == unpacked_from:
            return target
    try:
        import zstandard
    except ImportError:
        raise UnsupportedError(
            f"{path} is compressed; reading it needs zstandard: pip install 'tiervec[bench]'"
        ) from None
    progress(f"unpacking {path.name}", 1, 1, None)
    with storage_errors(f"unpacking {path}", folder):
        folder.mkdir(parents=True, exist_ok=True)
        note.unlink(missing_ok=True)
        with open(path, "rb") as packed, replacing_file(target) as file:
            try:
                zstandard.ZstdDecompressor().copy_stream(packed, file)
            except zstandard.ZstdError as error:
                raise DataLossError(f"{path} is damaged: {error}") from None
        with replacing_file(note) as file:
            file.write(json.dumps(unpacked_from).encode())
    return target


def _remembered(cache: Path) -> dict[str, LocalFiles]:
    found = {}
    for path in sorted((cache / "files").glob("*.json")):
        try:
            found[path.stem] = LocalFiles(**json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise DataLossError(f"{path} is not what `tiervec bench fetch --path` wrote: {error}") from None
    return found


def _absolute(key: str, value: Any) -> Any:
    return str(Path(value).resolve()) if key != "metric" and value is not None else value


def _ignore(_stage: str, _done: int, _total: int, _eta_s: float | None) -> None:
    pass
