"""Graph against cluster index on every device, and what either costs in bytes."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from tiervec.bench.figures.dots import dot_panels
from tiervec.bench.figures.run_data import Row, RunData, tier_text

NAME = "kinds"
TITLE = "Graph index and cluster index on every device"
READING = (
    "One panel per device, each with its own scale, at the recall that was asked for. The text gives amplification "
    "(bytes on the tier over raw bytes), fast memory per vector, and the CPU time of a query: bytes that are moved to "
    "fast memory are not free. Hollow dots are on emulated devices."
)


def rows(data: RunData) -> list[Row]:
    """Cells of the experiments `kinds...`."""
    return data.of("kinds")


def draw(rows: Sequence[Row]) -> Figure:
    """One panel per tier and data set."""
    return dot_panels(
        rows,
        panel=lambda row: f"{tier_text(row)}, {row['dataset']}",
        name=lambda row: f"{row['label']}  {row['build']}",
        group=lambda row: str(row["label"]),
        note=_note,
    )


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
