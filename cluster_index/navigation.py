"""How a search finds the clusters nearest to a query: codes of the centroids, and of groups of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiervec.cluster_index.clustering import Clustering
from tiervec.codes import TrainedCode, train_code
from tiervec.index_files.directory import IndexDirectory, IndexDirectoryWriter

__all__ = ["Navigation"]

_CODE = "rabitq"
_CODE_BITS = {"coded": 2, "grouped": 3, "decoupled": 3, "replicated": 3}  # more where a wrong cluster costs reads


@dataclass(frozen=True, kw_only=True, eq=False)
class Navigation:
    """The sections of fast memory that describe the centroids.

    Attributes:
        code: Code of centroids and groups.
        centroid_rows: uint8 (clusters, row bytes).
        group_rows: uint8 (groups, row bytes), of the mean of each group's centroids.
        group_offsets: First cluster of each group, and the end; uint32.
    """

    code: TrainedCode
    centroid_rows: NDArray[np.uint8]
    group_rows: NDArray[np.uint8]
    group_offsets: NDArray[np.uint32]

    @classmethod
    def build(cls, clustering: Clustering, *, layout: str, metric: str, threads: int) -> Navigation:
        """Codes the centroids of a clustering for a layout."""
        centroids, groups = clustering.centroids, clustering.groups
        code = train_code(_CODE, centroids, metric=metric, code_bits=_CODE_BITS[layout], threads=threads)
        return cls(
            code=code,
            centroid_rows=_encode(code, centroids),
            group_rows=_encode(code, clustering.group_means()),
            group_offsets=groups.astype(np.uint32),
        )

    def origins(self) -> NDArray[np.float32]:
        """What the centroids' codes stand for (clusters, dim): vectors are coded relative to it."""
        return np.asarray(self.code.native().decode(self.centroid_rows))

    def write(self, writer: IndexDirectoryWriter) -> None:
        """Writes the sections."""
        writer.write_section("centroid_code", self.code.to_bytes(), placement="fast")
        writer.write_section("centroid_rows", self.centroid_rows, placement="fast")
        writer.write_section("group_rows", self.group_rows, placement="fast")
        writer.write_section("group_offsets", self.group_offsets, placement="fast")

    @classmethod
    def read(cls, directory: IndexDirectory, clusters: int) -> Navigation:
        """Reads what `write` wrote.

        Raises:
            DataLossError: It is not what was written.
        """
        manifest = directory.manifest
        code = TrainedCode.from_bytes(
            directory.read_section("centroid_code").tobytes(), name=_CODE, metric=manifest.metric, dim=manifest.dim
        )
        row_bytes = code.native().row_bytes
        groups = directory.section("group_offsets").bytes // 4 - 1
        return cls(
            code=code,
            centroid_rows=directory.read_array("centroid_rows", np.uint8, (clusters, row_bytes)),
            group_rows=directory.read_array("group_rows", np.uint8, (max(0, groups), row_bytes)),
            group_offsets=directory.read_array("group_offsets", np.uint32, (max(0, groups) + 1,)),
        )


def _encode(code: TrainedCode, vectors: NDArray[np.float32]) -> NDArray[np.uint8]:
    native = code.native()
    rows = np.empty((len(vectors), native.row_bytes), np.uint8)
    native.encode(vectors, rows)
    return rows
