"""What each part of the design is worth: the same index with and without it."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from tiervec.bench.figures.dots import dot_panels
from tiervec.bench.figures.run_data import Row, RunData, tier_text

NAME = "ablations"
TITLE = "What each part of the design is worth"
READING = (
    "One panel per part; within it one row per setting and tier, at the recall that was asked for. Dots are medians, "
    "lines span the repeats; hollow dots are on emulated devices. The text gives reads and dependent rounds of a query "
    "and its CPU time, which tell why."
)


def rows(data: RunData) -> list[Row]:
    """Cells of the experiments `ablation...`."""
    return data.of("ablation")


def draw(rows: Sequence[Row]) -> Figure:
    """One panel per experiment and data set."""
    return dot_panels(
        rows,
        panel=lambda row: f"{row['experiment'].removeprefix('ablation-')}, {row['dataset']}",
        name=lambda row: f"{row['label']}, {tier_text(row)}",
        group=lambda row: str(row["label"]),
        note=what_a_query_costs,
    )


def what_a_query_costs(row: Row) -> str:
    """Counts of a query, those that are known."""
    parts = [f"{row['qps']:,.0f}"]
    if row["reads_per_query"] is not None:
        parts.append(f"{row['reads_per_query']:.1f} reads")
    if row["rounds_per_query"] is not None:
        parts.append(f"{row['rounds_per_query']:.1f} rounds")
    if row["cpu_us_per_query"] is not None:
        parts.append(f"{row['cpu_us_per_query']:.0f} us CPU")
    return ", ".join(parts)


if __name__ == "__main__":
    from tiervec.bench.figures.command import main

    main("ablations")
