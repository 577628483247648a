"""Graph against cluster index on every device, what either costs in bytes, and both where they cost the same."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from tiervec.bench.figures.dots import dot_panels
from tiervec.bench.figures.run_data import Row, RunData, tier_text

NAME = "kinds"
_EQUAL = 1.1  # amplifications that differ by no more are called equal
TITLE = "Graph index and cluster index on every device"
READING = (
    "One panel per device, each with its own scale, at the recall that was asked for. The text gives amplification "
    "(bytes on the tier over raw bytes), fast memory per vector, and the CPU time of a query: bytes that are moved to "
    "fast memory are not free. Hollow dots are on emulated devices."
)


def rows(data: RunData) -> list[Row]:
    """Cells of the experiments `kinds...`."""
    return data.of("kinds")


def remarks(rows: Sequence[Row]) -> list[str]:
    """Graph against cluster index at equal amplification: every pair on the same tier, or that there is none."""
    graphs, clusters = (
        [row for row in rows if row["system"] == system and row["amplification"]]
        for system in ("tiervec-graph", "tiervec-cluster")
    )
    pairs = [(graph, cluster) for graph in graphs for cluster in clusters if _is_pair(graph, cluster)]
    if not pairs:
        return ["Equal amplification: no graph and cluster index of the same tier differ by at most 10 %."]
    return [
        f"Equal amplification, {tier_text(graph)}, {graph['dataset']}: {_kind(graph)} {graph['qps']:,.0f} queries/s, "
        f"{_kind(cluster)} {cluster['qps']:,.0f} queries/s, graph / cluster {graph['qps'] / cluster['qps']:.2f}."
        for graph, cluster in pairs
    ]


def draw(rows: Sequence[Row]) -> Figure:
    """One panel per tier and data set."""
    return dot_panels(
        rows,
        panel=lambda row: f"{tier_text(row)}, {row['dataset']}",
        name=lambda row: f"{row['label']}  {row['build']}",
        group=lambda row: str(row["label"]),
        note=_note,
    )


def _is_pair(graph: Row, cluster: Row) -> bool:
    alike = all(graph[key] == cluster[key] for key in ("tier", "dataset", "k", "threads", "batch", "run", "machine"))
    low, high = sorted((graph["amplification"], cluster["amplification"]))
    return alike and bool(high <= _EQUAL * low)


def _kind(row: Row) -> str:
    build = f" ({row['build']})" if row["build"] else ""
    return f"{row['label']}{build} at amplification {row['amplification']:.2f}"


def _note(row: Row) -> str:
    parts = [f"{row['qps']:,.0f}"]
    if row["amplification"] is not None:
        parts.append(f"amplification {row['amplification']:.2f}")
    if row["fast_bytes_per_vector"] is not None:
        parts.append(f"{row['fast_bytes_per_vector']:.0f} B fast")
    if row["cpu_us_per_query"] is not None:
        parts.append(f"{row['cpu_us_per_query']:.0f} us CPU")
    return ", ".join(parts)


if __name__ == "__main__":
    from tiervec.bench.figures.command import main

    main("kinds")
