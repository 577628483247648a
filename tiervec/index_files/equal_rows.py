"""Equal vectors: an index holds one of them and lists the ids of the others.

Copies stand at the same place, so a search that finds one has found all. Held like other vectors, many of them fill the
candidate list of every query that comes near, and hide all that lies behind.

    section `copies`, int64, one column a copy, sorted by what stands for it and by id:
    | id of the vector that stands for it, as the engine gives it | id of the copy | a row that was left out, or -1 |

Without ids of the user's the engine gives positions among the rows that were kept; the third row, ascending, says which
rows were left out, so that positions can be made rows again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiervec.errors import DataLossError
from tiervec.index_files.directory import IndexDirectory
from tiervec.index_files.manifest import Manifest
from tiervec.index_files.writer import IndexDirectoryWriter

__all__ = ["EqualRows", "ListedCopies", "copies_in", "find_equal_rows", "read_copies", "write_copies"]

COPIES_SECTION = "copies"
_COLUMN_BYTES = 24
_FEW = 8  # so many equal rows do not fill a candidate list
_MANY = 0.01  # from this share of the rows on, all copies are left out
_BLOCK_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class EqualRows:
    """Rows to leave out, each equal to a row that is kept.

    Attributes:
        copies: int64 (c,), ascending.
        stand_ins: int64 (c,): the row that is kept for each; the first of those that are equal.
        rows: Number of rows in all.
    """

    copies: NDArray[np.int64]
    stand_ins: NDArray[np.int64]
    rows: int

    @property
    def kept(self) -> NDArray[np.int64]:
        """Rows that are kept, ascending."""
        return np.delete(np.arange(self.rows), self.copies)

    def listed(self, labels: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """Positions in `copies`, in the order in which the section has them."""
        stand_ins, ids = self._columns(labels)
        return np.lexsort((ids, stand_ins))

    def section(self, labels: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """The section ``copies``, (3, c); `labels` are the user's ids of all rows, or None."""
        stand_ins, ids = self._columns(labels)
        order = self.listed(labels)
        left_out = self.copies if labels is None else np.full(len(self.copies), -1)
        return np.stack([stand_ins[order], ids[order], left_out]).astype(np.int64)

    def _columns(self, labels: NDArray[np.int64] | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if labels is not None:
            return labels[self.stand_ins], labels[self.copies]
        return self.stand_ins - np.searchsorted(self.copies, self.stand_ins), self.copies


def find_equal_rows(vectors: NDArray[Any], least: int = 2) -> EqualRows | None:
    """Finds rows that are equal byte for byte, where they are many; None where they are few.

    Up to eight equal rows are kept, unless copies are 1 % of all rows.

    Args:
        vectors: (n, dim), C-contiguous; may be a mapped file, which is read once, and equal rows of it again.
        least: Rows that stay at least, although they are equal.

    Example:
        >>> vectors = np.zeros((100, 4), np.float32)
        >>> vectors[:90] = np.arange(90)[:, None]
        >>> found = find_equal_rows(vectors)
        >>> found.copies.tolist(), set(found.stand_ins.tolist())
        ([90, 91, 92, 93, 94, 95, 96, 97, 98, 99], {0})
    """
    hashes = _hashes(vectors)
    order = np.argsort(hashes, kind="stable")
    same = hashes[order[1:]] == hashes[order[:-1]]
    if not same.any():
        return None
    # Members of a group of equal hashes point to its first row.
    starts = np.flatnonzero(np.concatenate([[True], ~same]))
    first = order[np.repeat(starts, np.diff(np.concatenate([starts, [len(order)]])))]
    candidates = order[1:][same]
    stand_ins = first[1:][same]
    ascending = np.argsort(candidates)
    candidates, stand_ins = candidates[ascending], stand_ins[ascending]
    equal = _equal(vectors, candidates, stand_ins)
    candidates, stand_ins = candidates[equal], stand_ins[equal]
    if len(candidates) < _MANY * len(vectors):
        sizes = np.bincount(stand_ins, minlength=len(vectors))
        large = sizes[stand_ins] >= _FEW
        candidates, stand_ins = candidates[large], stand_ins[large]
    surplus = max(0, len(candidates) - (len(vectors) - least))
    candidates, stand_ins = candidates[surplus:], stand_ins[surplus:]
    if len(candidates) == 0:
        return None
    return EqualRows(copies=candidates.astype(np.int64), stand_ins=stand_ins.astype(np.int64), rows=len(vectors))


@dataclass(frozen=True, kw_only=True, eq=False)
class ListedCopies:
    """The section ``copies`` of an open index, or what a filter admits of it.

    Attributes:
        stand_ins: Of each copy the id that the engine finds, ascending.
        ids: Of each copy.
        left_out: Rows that are not stored, where ids are numbers of rows.
        hidden: Ids of the engine that only stand for their copies, ascending.
    """

    stand_ins: NDArray[np.int64]
    ids: NDArray[np.int64]
    left_out: NDArray[np.int64]
    hidden: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    @classmethod
    def read(cls, directory: IndexDirectory) -> ListedCopies | None:
        """Reads the section; None when the index has none.

        Raises:
            DataLossError: It is not what `EqualRows.section` makes.
        """
        found = read_copies(directory)
        if found is None:
            return None
        stand_ins, ids, left_out = found
        has_rows = bool(left_out[0] >= 0)
        if (np.diff(stand_ins) < 0).any() or (has_rows and (np.diff(left_out) <= 0).any()):
            raise DataLossError(
                f"{directory.section_path(COPIES_SECTION)} does not list the copies of vectors in order"
            )
        return cls(stand_ins=stand_ins, ids=ids, left_out=left_out if has_rows else left_out[:0])

    def admitted(self, copies: NDArray[np.bool_], stand_ins: NDArray[np.bool_]) -> ListedCopies:
        """What a filter leaves: `copies` tells of each copy whether it matches, `stand_ins` of what stands for it."""
        return replace(
            self, stand_ins=self.stand_ins[copies], ids=self.ids[copies], hidden=np.unique(self.stand_ins[~stand_ins])
        )

    def expand(
        self, ids: NDArray[np.int64], distances: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The answer of the engine (nq, k) with the copies of what it found, cut to the k nearest, ties by id."""
        queries, k = ids.shape
        first = np.searchsorted(self.stand_ins, ids, side="left")
        copies = np.searchsorted(self.stand_ins, ids, side="right") - first
        named = self._named(ids)
        if not copies.any():
            return named, distances
        # Each entry becomes a run: itself, then its copies, of which no more than k can be in the answer.
        lengths = 1 + np.minimum(copies, k).ravel()
        entry = np.repeat(np.arange(queries * k), lengths)
        within = np.arange(len(entry)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        listed = np.minimum(first.ravel()[entry] + within - 1, len(self.ids) - 1)
        all_ids = np.where(within == 0, named.ravel()[entry], self.ids[np.maximum(listed, 0)])
        all_distances = distances.ravel()[entry]
        if len(self.hidden):
            leaves = (within == 0) & np.isin(ids.ravel()[entry], self.hidden)
            all_ids, all_distances = np.where(leaves, -1, all_ids), np.where(leaves, np.inf, all_distances)
        query = entry // k
        order = np.lexsort((all_ids, all_distances, query))
        rank = np.arange(len(order)) - np.searchsorted(query, np.arange(queries))[query[order]]
        nearest = order[rank < k]
        return all_ids[nearest].reshape(queries, k), all_distances[nearest].reshape(queries, k)

    def _named(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows for positions; ids of the user's as they are."""
        if len(self.left_out) == 0:
            return ids
        # As many rows were left out before position p as have fewer than p kept rows, or just p, before them.
        before = np.searchsorted(self.left_out - np.arange(len(self.left_out)), ids, side="right")
        return np.where(ids < 0, ids, ids + before)


def write_copies(writer: IndexDirectoryWriter, copies: NDArray[np.int64] | None) -> None:
    """Stores what `EqualRows.section` made; nothing for None."""
    if copies is not None:
        writer.write_section(COPIES_SECTION, copies, placement="fast")


def read_copies(directory: IndexDirectory) -> NDArray[np.int64] | None:
    """What `write_copies` stored; None when it stored nothing."""
    if not any(section.name == COPIES_SECTION for section in directory.manifest.sections):
        return None
    content = directory.read_section(COPIES_SECTION)
    if len(content) == 0 or len(content) % _COLUMN_BYTES:
        path = directory.section_path(COPIES_SECTION)
        raise DataLossError(f"{path} has {len(content):,} bytes; it must be {_COLUMN_BYTES} for each copy")
    return content.view(np.int64).reshape(3, -1)


def copies_in(manifest: Manifest) -> int:
    """Number of vectors that are listed as copies of others, beside those that are stored."""
    return sum(section.bytes // _COLUMN_BYTES for section in manifest.sections if section.name == COPIES_SECTION)


def _hashes(vectors: NDArray[Any]) -> NDArray[np.uint64]:
    rows, row_bytes = len(vectors), vectors.shape[1] * vectors.itemsize
    words = -(-row_bytes // 8)
    factors = np.random.default_rng(0).integers(0, 2**63, words, np.uint64) * np.uint64(2) + np.uint64(1)
    hashes = np.empty(rows, np.uint64)
    step = max(1, _BLOCK_BYTES // (8 * words))
    for start in range(0, rows, step):
        block = np.ascontiguousarray(vectors[start : start + step])
        padded = np.zeros((len(block), 8 * words), np.uint8)
        padded[:, :row_bytes] = block.view(np.uint8).reshape(len(block), row_bytes)
        hashes[start : start + step] = padded.view(np.uint64) @ factors
    return hashes


def _equal(vectors: NDArray[Any], some: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the rows are equal, pair by pair, byte for byte."""
    equal = np.empty(len(some), bool)
    step = max(1, _BLOCK_BYTES // (vectors.shape[1] * vectors.itemsize))
    for start in range(0, len(some), step):
        a = np.ascontiguousarray(vectors[some[start : start + step]]).view(np.uint8)
        b = np.ascontiguousarray(vectors[others[start : start + step]]).view(np.uint8)
        equal[start : start + step] = (a == b).all(axis=1)
    return equal
