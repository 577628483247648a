"""The description of an index: what it is and what it takes."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tiervec.index_files.directory import Manifest
from tiervec.index_files.equal_rows import copies_in

__all__ = ["IndexInfo"]


@dataclass(frozen=True, kw_only=True)
class IndexInfo:
    """What an index is and what it takes.

    Attributes:
        path: The index directory.
        format_version: Version of the directory's format.
        kind: ``graph`` or ``cluster``.
        metric: ``l2``, ``ip`` or ``cosine``.
        dtype: Element type of the vectors.
        dim: Columns of a vector.
        vectors: Number of vectors, with those that are only listed as equal to one that is stored.
        dataset_bytes: Bytes of the raw vectors.
        tier_bytes: Bytes that live on the tier.
        fast_bytes: Bytes that live in fast memory: codes, where things are, navigation, parameters.
        amplification: tier_bytes / dataset_bytes.
        fast_bytes_per_vector: fast_bytes / vectors.
        sections: name, file, placement, bytes and checksum of each file.
        params: Build parameters.
        calibration: The table behind ``target_recall``, or None.
        details: What only this kind of index has; of clusters their number and sizes.
    """

    path: str
    format_version: int
    kind: str
    metric: str
    dtype: str
    dim: int
    vectors: int
    dataset_bytes: int
    tier_bytes: int
    fast_bytes: int
    amplification: float
    fast_bytes_per_vector: float
    sections: tuple[Mapping[str, Any], ...]
    params: Mapping[str, Any]
    calibration: Mapping[str, Any] | None
    details: Mapping[str, Any]

    @classmethod
    def from_manifest(cls, path: str | os.PathLike[str], manifest: Manifest) -> IndexInfo:
        """The description of a saved index."""
        tier_bytes = sum(section.bytes for section in manifest.sections if section.placement == "tier")
        fast_bytes = sum(section.bytes for section in manifest.sections if section.placement == "fast")
        copies = copies_in(manifest)
        vectors = manifest.vectors + copies
        dataset_bytes = manifest.dataset_bytes + copies * manifest.dim * np.dtype(manifest.dtype).itemsize
        return cls(
            path=os.fspath(path),
            format_version=manifest.format_version,
            kind=manifest.kind,
            metric=manifest.metric,
            dtype=manifest.dtype,
            dim=manifest.dim,
            vectors=vectors,
            dataset_bytes=dataset_bytes,
            tier_bytes=tier_bytes,
            fast_bytes=fast_bytes,
            amplification=tier_bytes / dataset_bytes,
            fast_bytes_per_vector=fast_bytes / vectors,
            sections=tuple(dataclasses.asdict(section) for section in manifest.sections),
            params=dict(manifest.params),
            calibration=manifest.calibration,
            details=dict(manifest.details),
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON values, the keys of ``tiervec info --json``."""
        return {**dataclasses.asdict(self), "sections": [dict(section) for section in self.sections]}
