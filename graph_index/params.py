"""Parameters of the graph index, checked when they are made."""

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

__all__ = ["LARGEST_DEGREE", "LARGEST_DIM", "LAYOUTS", "MOST_VECTORS", "GraphBuildParams", "GraphSearchParams"]

MOST_VECTORS = 2**31 - 1
LARGEST_DIM = 16_384
LAYOUTS = ("packed", "plain", "sectors")
_MOST_READS_PER_ROUND = 32
LARGEST_DEGREE = 184  # with room for reverse edges a list must fit a byte
_LONGEST_LIST = 100_000


@dataclass(frozen=True, kw_only=True)
class GraphBuildParams:
    """How a graph index is built.

    Attributes:
        graph_degree: Most neighbours of a vector, 2 to 184. More: fewer reads, bigger records.
        build_list: Candidate list of the build's searches, at least graph_degree. More: better graph, slower build.
        alpha: How much nearer a neighbour must be to make a longer edge superfluous, on squared distances, 1 to 4.
        layout: ``packed``: records follow each other, ids take ceil(log2 n) bits. ``plain``: the same with ids of 32
            bits; for ablation. ``sectors``: as many whole records as fit share 4 KiB, ids take 32 bits, finding a
            record takes no fast memory (DiskANN, NeurIPS'19); for SSDs.
        code: ``rabitq``, ``sq`` or ``pq``.
        code_bits: Bits of code per dimension; ``rabitq`` pays its factors from them. ``auto``: chosen on a sample by
            the least work at a recall of 0.95.
        target_recall: Recall that a search without parameters aims at, above 0 and at most 1.

    Example:
        >>> GraphBuildParams(code_bits=2).graph_degree
        32
    """

    graph_degree: int = 32
    build_list: int = 100
    alpha: float = 1.2
    layout: str = "packed"
    code: str = "rabitq"
    code_bits: CodeBits = AUTO
    target_recall: float = DEFAULT_TARGET_RECALL

    def __post_init__(self) -> None:
        check_field(self, "graph_degree", check_whole, 2, LARGEST_DEGREE)
        check_field(self, "build_list", check_whole, self.graph_degree, _LONGEST_LIST)
        check_field(self, "alpha", check_number, 1, 4)
        check_field(self, "layout", check_choice, LAYOUTS, "a graph index has")
        check_choice("code", self.code, CODE_NAMES)
        check_code_bits(self.code, self.code_bits)
        check_field(self, "target_recall", check_fraction)


@dataclass(frozen=True, kw_only=True)
class GraphSearchParams:
    """How a graph index is searched.

    Attributes:
        search_list: Candidates kept, at least 1; raised to k when smaller. More: better recall, more reads.
        beam_width: Most reads of one round, 1 to 32. One gives the most queries per second; more give one query a
            shorter latency for some more reads. The width grows from one as the search converges.
        stop_margin: A query ends when no candidate is within this fraction of its k-th distance, 0 to 100; 0: it goes
            on until the whole list is expanded.
        pipeline: False runs one query at a time and one read at a time; for ablation.

    Example:
        >>> GraphSearchParams(search_list=100).beam_width
        1
    """

    search_list: int = 64
    beam_width: int = 1
    stop_margin: float = 0.0
    pipeline: bool = True

    def __post_init__(self) -> None:
        check_field(self, "search_list", check_whole, 1, _LONGEST_LIST)
        check_field(self, "beam_width", check_whole, 1, _MOST_READS_PER_ROUND)
        check_field(self, "stop_margin", check_number, 0, 100)
        check_field(self, "pipeline", check_switch)
