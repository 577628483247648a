"""The designs that the advisor compares: kinds of index, layouts, and how much of a code fits into fast memory."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tiervec.api import IndexInfo
from tiervec.cluster_index.params import ClusterBuildParams
from tiervec.codes import code_row_bytes
from tiervec.errors import InvalidArgumentError
from tiervec.graph_index.params import GraphBuildParams
from tiervec.index_files.directory import IndexDirectory

__all__ = ["SECTOR_BYTES", "Design", "designs", "least_fast_bytes"]

SECTOR_BYTES = 4096
_GRAPH_BITS = (4.0, 2.0, 1.0)
_CODED_BITS = (1.5, 1.0, 0.5)
_DEGREES = (32, 64)
_REPLICAS = (2, 8)
_WIDTHS = (1, 8)
_GRAPH_KEYS = ("graph_degree", "code_bits")
_CLUSTER_KEYS = {"coded": ("layout", "code_bits"), "grouped": ("layout",), "replicated": ("layout", "replicas")}


@dataclass(frozen=True, kw_only=True)
class Design:
    """One way to build an index.

    Attributes:
        kind: ``graph`` or ``cluster``.
        params: Build parameters that are not the default.
    """

    kind: str
    params: Mapping[str, Any]

    @classmethod
    def of_index(cls, path: str | os.PathLike[str]) -> Design:
        """The design of a saved index: the keys that the advisor varies, and what else is not the default.

        Raises:
            InvalidArgumentError: A number of clusters of its own, of which samples would have another share.
        """
        info = IndexInfo.from_manifest(path, IndexDirectory.open(path).manifest)
        if info.kind == "graph":
            varied: tuple[str, ...] = _GRAPH_KEYS
            default = asdict(GraphBuildParams())
        else:
            varied = _CLUSTER_KEYS.get(str(info.params["layout"]), ("layout",))
            default = {**asdict(ClusterBuildParams()), "clusters": ClusterBuildParams().count_for(info.vectors)}
            if info.params["clusters"] != default["clusters"]:
                raise InvalidArgumentError(
                    f"{path} has {info.params['clusters']:,} clusters; the advisor predicts indexes of the default "
                    f"number, which is {default['clusters']:,} of {info.vectors:,} vectors"
                )
        params = {key: value for key, value in info.params.items() if key in varied or value != default[key]}
        return cls(
            kind=info.kind, params={key: float(each) if key == "code_bits" else each for key, each in params.items()}
        )

    @property
    def name(self) -> str:
        """In a few words."""
        return " ".join([self.kind, *(f"{key}={_text(value)}" for key, value in self.params.items())])

    @property
    def key(self) -> str:
        """A file name; the same design has the same one."""
        text = json.dumps([self.kind, dict(self.params)], sort_keys=True)
        return f"{self.kind}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @property
    def widths(self) -> tuple[int | None, ...]:
        """Values of ``beam_width`` worth trying: one for throughput, more for latency; None: it has none."""
        return _WIDTHS if self.kind == "graph" else (None,)

    @property
    def code_bits(self) -> float | None:
        """Bits of code per dimension; None for a layout without codes."""
        return self.params.get("code_bits")


def designs(dim: int, vectors: int, fast_memory: int | None, block_bytes: int) -> list[Design]:
    """The designs worth trying, without those whose codes alone are more than `fast_memory`.

    Args:
        dim: Columns of a vector.
        vectors: How many there are.
        fast_memory: Bytes, or None: as much as it takes.
        block_bytes: What the device reads at least; a sector calls for layouts that fill it.
    """
    found = list(_designs(dim, vectors, fast_memory, block_bytes))
    return [each for each in found if fast_memory is None or least_fast_bytes(each, dim, vectors) <= fast_memory]


def least_fast_bytes(design: Design, dim: int, vectors: int) -> int:
    """Fast memory that the design takes at least: its codes, or the ids that a layout without codes keeps."""
    if design.code_bits is None:
        return (vectors - 1).bit_length() * vectors // 8
    return code_row_bytes("rabitq", design.code_bits, dim) * vectors


def _designs(dim: int, vectors: int, fast_memory: int | None, block_bytes: int) -> Iterator[Design]:
    def fitting(bits: tuple[float, ...], count: int) -> list[float]:
        """The largest codes that fit."""
        rows = {each: code_row_bytes("rabitq", each, dim) for each in bits}
        return [each for each in bits if fast_memory is None or rows[each] * vectors <= fast_memory][:count]

    sectors = block_bytes >= SECTOR_BYTES
    layout = {"layout": "sectors"} if sectors else {}
    for at, bits in enumerate(fitting(_GRAPH_BITS, 2)):
        for degree in _DEGREES if at == 0 else _DEGREES[:1]:
            yield Design(kind="graph", params={"graph_degree": degree, "code_bits": bits, **layout})
    for bits in fitting(_CODED_BITS, 1):
        yield Design(kind="cluster", params={"layout": "coded", "code_bits": bits})
    yield Design(kind="cluster", params={"layout": "grouped"})
    align = {"align": SECTOR_BYTES} if sectors else {}
    for replicas in _REPLICAS:
        yield Design(kind="cluster", params={"layout": "replicated", "replicas": replicas, **align})


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
