"""Indexes on disk that Microsoft's DiskANN built: their files, read with every length checked before it is used.

All numbers are little-endian. ``PREFIX_disk.index`` is sectors of 4096 bytes, the first of which describes the others:

    uint32 values (9) | uint32 1 | uint64: vectors, dim, medoid, node bytes, nodes per sector, frozen points,
                                           place of the frozen point, has reorder data, bytes of the file | zeros

    node    | vector, dim values | uint32 degree | uint32 neighbours, with room for the largest degree |

As many whole nodes as fit share a sector; a node larger than a sector ("nodes per sector" is 0) has several of its own.
``PREFIX_pq_compressed.bin`` starts with uint32 vectors and uint32 bytes of a code, and ``PREFIX_pq_pivots.bin`` with
uint32 and uint32, then uint64 places of its parts, of which the first is the pivots: uint32 256, uint32 dim, float32
values. What the element type and the metric are stands in none of them; diskannpy adds ``PREFIX_metadata.bin``: uint64
dtype (0 float32, 1 int8, 2 uint8), metric (0 l2, 1 mips, 2 cosine), vectors, dim.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tiervec.arguments.parameter_checks import check_path
from tiervec.errors import DataLossError, InvalidArgumentError, NotFoundError, UnsupportedError
from tiervec.graph_index.params import LARGEST_DEGREE, LARGEST_DIM, MOST_VECTORS
from tiervec.machine.durable_files import storage_errors

__all__ = ["DISKANN_DTYPES", "DISKANN_METRICS", "DiskannIndex", "open_diskann"]

DISKANN_DTYPES: Final = ("float32", "int8", "uint8")
DISKANN_METRICS: Final = ("l2", "cosine")

_SECTOR: Final = 4096
_SUFFIX: Final = "_disk.index"
_HEADER: Final = struct.Struct("<II9Q")
_HEADER_VALUES: Final = 9
_REORDER_VALUES: Final = 12
_BIN: Final = struct.Struct("<II")
_METADATA: Final = struct.Struct("<4Q")
_METADATA_METRICS: Final = ("l2", "mips", "cosine")
_PIVOTS: Final = 256
_BLOCK_SECTORS: Final = 4096  # read at a time: 16 MiB


@dataclass(frozen=True, kw_only=True)
class DiskannIndex:
    """A DiskANN index on disk whose header is sound.

    Attributes:
        path: Its ``_disk.index``.
        vectors: Number of vectors.
        dim: Columns of a vector.
        dtype: Element type.
        metric: ``l2`` or ``cosine``.
        room: Neighbours that a node has room for.
        node_bytes: Bytes of a node.
        medoid: Where DiskANN's own search enters.
    """

    path: Path
    vectors: int
    dim: int
    dtype: np.dtype[Any]
    metric: str
    room: int
    node_bytes: int
    medoid: int

    @property
    def nodes_per_sector(self) -> int:
        """Nodes that share a sector; 0: each has several."""
        return _SECTOR // self.node_bytes

    @property
    def step(self) -> tuple[int, int]:
        """So many nodes lie in so many sectors."""
        return max(1, self.nodes_per_sector), -(-self.node_bytes // _SECTOR)

    def read(self) -> tuple[NDArray[Any], NDArray[np.uint32], NDArray[np.uint32]]:
        """Reads all nodes, in blocks.

        Returns:
            vectors (n, dim), neighbours (n, room) uint32, of which the first `degrees` (n) of a row count.

        Raises:
            DataLossError: The file became shorter, or a list is longer than its room.
        """
        vectors = np.empty((self.vectors, self.dim), self.dtype)
        neighbors = np.empty((self.vectors, self.room), np.uint32)
        degrees = np.empty(self.vectors, np.uint32)
        raw = vectors.view(np.uint8).reshape(self.vectors, -1)
        nodes, sectors = self.step
        steps = _BLOCK_SECTORS // sectors or 1
        with storage_errors(f"reading {self.path}", self.path.parent), open(self.path, "rb") as file:
            file.seek(_SECTOR)
            for first in range(0, self.vectors, steps * nodes):
                count = min(steps * nodes, self.vectors - first)
                wanted = -(-count // nodes) * sectors * _SECTOR
                block = file.read(wanted)
                if len(block) != wanted:
                    raise DataLossError(f"{self.path} became shorter while it was read")
                rows = np.frombuffer(block, np.uint8).reshape(-1, sectors * _SECTOR)[:, : nodes * self.node_bytes]
                rows = np.ascontiguousarray(rows).reshape(-1, self.node_bytes)[:count]
                raw[first : first + count] = rows[:, : raw.shape[1]]
                lists = np.ascontiguousarray(rows[:, raw.shape[1] :]).view("<u4")
                degrees[first : first + count] = lists[:, 0]
                neighbors[first : first + count] = lists[:, 1:]
        if int(degrees.max()) > self.room:
            raise DataLossError(
                f"{self.path}: node {int(degrees.argmax())} has {int(degrees.max())} neighbours, and room for "
                f"{self.room}"
            )
        return vectors, neighbors, degrees


def open_diskann(path: str | os.PathLike[str], *, dtype: str | None = None, metric: str | None = None) -> DiskannIndex:
    """Finds and checks the files of an index.

    Args:
        path: A folder with one index, or the prefix that its files share (``DIR/ann``).
        dtype: ``float32``, ``int8`` or ``uint8``; not needed beside a ``_metadata.bin``, which it must not contradict.
        metric: ``l2`` or ``cosine``, likewise.

    Raises:
        NotFoundError: There is no such index.
        InvalidArgumentError: The folder holds several, or dtype or metric are missing or wrong.
        DataLossError: A file does not have the length or the content that its header says.
        UnsupportedError: An index of a form that cannot be imported; the sentence says which.
    """
    text = check_path("path", path)
    with storage_errors(f"looking for a DiskANN index at {text}", Path(text).parent):
        prefix = _prefix(text)
    main = Path(f"{prefix}{_SUFFIX}")
    if Path(f"{main}_pq_pivots.bin").exists():
        raise UnsupportedError(f"{main} holds compressed vectors (built with pq_disk_bytes); exact ones are needed")
    size = main.stat().st_size
    vectors, dim, medoid, node_bytes = _header(main, size)
    dtype, metric = _types(prefix, vectors, dim, dtype, metric)
    _check_codes(prefix, vectors, dim)
    kind = np.dtype(dtype)
    room, rest = divmod(node_bytes - dim * kind.itemsize - 4, 4)
    if rest or room < 1:
        raise DataLossError(
            f"{main}: a node of {node_bytes} bytes is no vector of {dim} {dtype} with a list of neighbours; "
            "is dtype right?"
        )
    if room > LARGEST_DEGREE:
        raise UnsupportedError(f"{main}: nodes have up to {room} neighbours; at most {LARGEST_DEGREE} can be imported")
    return DiskannIndex(
        path=main,
        vectors=vectors,
        dim=dim,
        dtype=kind,
        metric=metric,
        room=room,
        node_bytes=node_bytes,
        medoid=medoid,
    )


def _prefix(text: str) -> str:
    folder = Path(text)
    if not folder.is_dir():
        if Path(f"{text}{_SUFFIX}").is_file():
            return text
        raise NotFoundError(f"{text} is neither a folder with a DiskANN index nor the prefix of one ({text}{_SUFFIX})")
    found = sorted(entry for entry in folder.glob(f"*{_SUFFIX}") if entry.is_file())
    if not found:
        raise NotFoundError(f"{folder} holds no DiskANN index (no file *{_SUFFIX})")
    if len(found) > 1:
        names = ", ".join(entry.name for entry in found)
        raise InvalidArgumentError(f"{folder} holds several DiskANN indexes ({names}); give the prefix of one")
    return str(found[0])[: -len(_SUFFIX)]


def _start(path: Path, size: int, offset: int = 0) -> bytes:
    with storage_errors(f"reading {path}", path.parent), open(path, "rb") as file:
        file.seek(offset)
        return file.read(size)


def _header(path: Path, size: int) -> tuple[int, int, int, int]:
    """(vectors, dim, medoid, node bytes)."""
    start = _start(path, _HEADER.size)
    if len(start) < _HEADER.size or size < 2 * _SECTOR:
        raise DataLossError(f"{path} has {size} bytes; a DiskANN index has at least two sectors of {_SECTOR}")
    values, columns, *numbers = _HEADER.unpack(start)
    if columns != 1 or values not in (_HEADER_VALUES, _REORDER_VALUES):
        raise DataLossError(f"{path} does not start as an index of DiskANN 0.5 or newer does")
    vectors, dim, medoid, node_bytes, per_sector, frozen, _, reorder, stored_size = numbers
    if reorder or values == _REORDER_VALUES:
        raise UnsupportedError(f"{path} holds compressed vectors and exact ones apart (reorder data)")
    if frozen:
        raise UnsupportedError(f"{path} has {frozen} frozen points, which are no vectors of the data")
    if not 2 <= vectors <= MOST_VECTORS or not 1 <= dim <= LARGEST_DIM or medoid >= vectors:
        raise DataLossError(
            f"{path}: its header has {vectors:,} vectors of dimension {dim:,} and medoid {medoid:,}, which is no index"
        )
    if not dim + 8 <= node_bytes <= 8 * LARGEST_DIM or per_sector != _SECTOR // node_bytes:
        raise DataLossError(f"{path}: its header has nodes of {node_bytes} bytes, {per_sector} in a sector")
    sectors = -(-vectors // per_sector) if per_sector else vectors * -(-node_bytes // _SECTOR)
    expected = (1 + sectors) * _SECTOR
    if size != expected or stored_size != expected:
        raise DataLossError(f"{path} has {size:,} bytes; an index of {vectors:,} such nodes has {expected:,}")
    return vectors, dim, medoid, node_bytes


def _types(prefix: str, vectors: int, dim: int, dtype: str | None, metric: str | None) -> tuple[str, str]:
    path = Path(f"{prefix}_metadata.bin")
    if path.exists():
        content = _start(path, _METADATA.size + 1)
        if len(content) != _METADATA.size:
            raise DataLossError(f"{path} has not {_METADATA.size} bytes")
        type_code, metric_code, stored_vectors, stored_dim = _METADATA.unpack(content)
        if type_code >= len(DISKANN_DTYPES) or metric_code >= len(_METADATA_METRICS):
            raise DataLossError(f"{path} has dtype {type_code} and metric {metric_code}, which do not exist")
        if (stored_vectors, stored_dim) != (vectors, dim):
            raise DataLossError(
                f"{path} describes {stored_vectors:,} vectors of dimension {stored_dim:,}, "
                f"the index has {vectors:,} of {dim:,}"
            )
        stored_dtype, stored_metric = DISKANN_DTYPES[type_code], _METADATA_METRICS[metric_code]
        for name, given, stored in (("dtype", dtype, stored_dtype), ("metric", metric, stored_metric)):
            if given is not None and given != stored:
                raise InvalidArgumentError(f"{name} is {given!r}; {path} says {stored}")
        dtype, metric = stored_dtype, stored_metric
    if metric == "mips":
        raise UnsupportedError(f"{prefix}{_SUFFIX} was built for inner products: its vectors are not those of the data")
    if dtype is None or metric is None:
        raise InvalidArgumentError(f"there is no {path}; give dtype and metric of the index")
    if dtype not in DISKANN_DTYPES:
        raise InvalidArgumentError(f"dtype is {dtype!r}; DiskANN has {', '.join(DISKANN_DTYPES)}")
    if metric not in DISKANN_METRICS:
        raise InvalidArgumentError(f"metric is {metric!r}; {' and '.join(DISKANN_METRICS)} can be imported")
    return dtype, metric


def _check_codes(prefix: str, vectors: int, dim: int) -> None:
    """The codes are trained anew; those of DiskANN, when they are there, must be of the same vectors."""
    codes = Path(f"{prefix}_pq_compressed.bin")
    if codes.exists():
        size = codes.stat().st_size
        start = _start(codes, _BIN.size)
        count, width = _BIN.unpack(start) if len(start) == _BIN.size else (0, 0)
        if count != vectors or size != _BIN.size + count * width:
            raise DataLossError(f"{codes} has {size:,} bytes and codes of {count:,} vectors; the index has {vectors:,}")
    pivots = Path(f"{prefix}_pq_pivots.bin")
    if pivots.exists():
        start = _start(pivots, _BIN.size + 8)
        place = struct.unpack_from("<Q", start, _BIN.size)[0] if len(start) == _BIN.size + 8 else 0
        head = _start(pivots, _BIN.size, place) if place < pivots.stat().st_size else b""
        found = _BIN.unpack(head) if len(head) == _BIN.size else (0, 0)
        if found != (_PIVOTS, dim):
            raise DataLossError(
                f"{pivots} has {found[0]} pivots of dimension {found[1]:,}; {_PIVOTS} of {dim:,} belong there"
            )
