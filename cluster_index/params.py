"""Parameters of the cluster index, checked when they are made."""

from __future__ import annotations

from dataclasses import dataclass

from tiervec.arguments.parameter_checks import (
    check_choice,
    check_field,
    check_fraction,
    check_number,
    check_switch,
    check_whole,
)
from tiervec.codes import AUTO, CODE_NAMES, CodeBits, check_code_bits
from tiervec.engine.calibration import DEFAULT_TARGET_RECALL
from tiervec.errors import InvalidArgumentError

__all__ = ["LARGEST_DIM", "LAYOUTS", "MOST_RERANKED", "MOST_VECTORS", "ClusterBuildParams", "ClusterSearchParams"]

MOST_VECTORS = 2**31 - 1
LARGEST_DIM = 16_384
LAYOUTS = ("coded", "grouped", "decoupled", "replicated")
_MOST_REPLICAS = 32
_VECTORS_PER_CLUSTER = 64
_MOST_PROBES = 100_000
MOST_RERANKED = 10_000
_ALIGNMENTS = (1, 64, 256, 512, 4096)


@dataclass(frozen=True, kw_only=True)
class ClusterBuildParams:
    """How a cluster index is built.

    Attributes:
        clusters: Number of clusters, 1 to the number of vectors. None: one for every 64 vectors.
        replicas: Most clusters that list one vector, 1 to 32. ``coded`` searches a vector in its nearest one only and
            keeps the others for a change of the layout.
        layout: ``coded``: codes of all vectors in fast memory, by cluster; vectors once on the tier, read for the exact
            re-rank only. ``grouped``: vectors once, each in the group of its most searched cluster, which is one range;
            addresses of a cluster's other members. ``decoupled``: vectors once, in the order of the data; addresses of
            all members. ``replicated``: each cluster holds copies of its members (SPANN, NeurIPS'21).
        code: ``rabitq``, ``sq`` or ``pq``; of ``coded`` only.
        code_bits: Bits of code per dimension; see `tiervec.codes.code_row_bytes`. ``auto``: chosen on a sample by the
            least work at a recall of 0.95.
        closure: How much farther than its nearest cluster another one that lists a vector may be, 0 to 10.
        rng_factor: Another one must be nearer to the vector than so many times its distance to those that list it, 1 to
            10. With 1 hardly two list a vector; with 1.5 and `closure=10` it is `replicas` that decides.
        spill: The code of each vector is also in a second cluster (SOAR, NeurIPS'23), so that fewer clusters need to be
            searched, for twice the fast memory; of ``coded`` only. Vectors are stored once all the same.
        ordered: Groups and their members lie so that what is probed together is read together; of ``grouped`` only.
            False keeps the order of the clusters and of the data; for ablation.
        align: Postings of ``replicated`` start at multiples of so many bytes: 1, 64, 256, 512 or 4096 (SSDs).
        target_recall: Recall that a search without parameters aims at, above 0 and at most 1.

    Example:
        >>> ClusterBuildParams(layout="grouped").count_for(1_000_000)
        15625
    """

    clusters: int | None = None
    replicas: int = 8
    layout: str = "coded"
    code: str = "rabitq"
    code_bits: CodeBits = AUTO
    closure: float = 0.07
    rng_factor: float = 1.0
    spill: bool = False
    ordered: bool = True
    align: int = 1
    target_recall: float = DEFAULT_TARGET_RECALL

    def __post_init__(self) -> None:
        if self.clusters is not None:
            check_field(self, "clusters", check_whole, 1, MOST_VECTORS)
        check_field(self, "replicas", check_whole, 1, _MOST_REPLICAS)
        check_field(self, "layout", check_choice, LAYOUTS, "a cluster index has")
        check_field(self, "closure", check_number, 0, 10)
        check_field(self, "rng_factor", check_number, 1, 10)
        check_field(self, "spill", check_switch)
        check_field(self, "ordered", check_switch)
        check_field(self, "align", check_whole, _ALIGNMENTS[0], _ALIGNMENTS[-1])
        if self.align not in _ALIGNMENTS:
            raise InvalidArgumentError(f"align is {self.align}; it must be one of {', '.join(map(str, _ALIGNMENTS))}")
        check_choice("code", self.code, CODE_NAMES)
        check_code_bits(self.code, self.code_bits)
        check_field(self, "target_recall", check_fraction)

    def count_for(self, vectors: int) -> int:
        """The number of clusters of so many vectors."""
        if self.clusters is not None:
            return self.clusters
        return max(1, min(vectors, round(vectors / _VECTORS_PER_CLUSTER)))


@dataclass(frozen=True, kw_only=True)
class ClusterSearchParams:
    """How a cluster index is searched.

    Attributes:
        nprobe: Clusters searched, at least 1; at most all. More: better recall, more work.
        rerank: Vectors read for their exact distance, 1 to 10000; raised to k when smaller, and up to
            128 of them in one round; of ``coded`` only.
        pipeline: False runs one query at a time and one read at a time; for ablation.
        split: Two threads share the work of a query that is alone; of ``coded`` only. A lower latency where a second
            CPU is free, for three times the CPU time. A query that is split may skip other clusters and choose
            otherwise among equal estimates; so its answer may differ between a call beside others and one alone.

    Example:
        >>> ClusterSearchParams(nprobe=128).rerank
        64
    """

    nprobe: int = 64
    rerank: int = 64
    pipeline: bool = True
    split: bool = False

    def __post_init__(self) -> None:
        check_field(self, "nprobe", check_whole, 1, _MOST_PROBES)
        check_field(self, "rerank", check_whole, 1, MOST_RERANKED)
        check_field(self, "pipeline", check_switch)
        check_field(self, "split", check_switch)
