"""Throughput against amplification: what more bytes on the tier buy, on each tier."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from tiervec.bench.figures.run_data import Row, RunData, ordered, tier_text
from tiervec.bench.figures.style import THOUSANDS, appearance, colour_of, label_ends, new_figure, spread

NAME = "dilemma"
TITLE = "What amplification buys, on each tier"
READING = (
    "Each point is one index at the recall that was asked for; the number beside it is the graph's degree or the "
    "cluster index's replicas. Where a line rises to the right, throughput costs bytes on the tier. A panel has its "
    "own scale; lines span the slowest and the fastest repeat."
)
_COLUMNS = 3


def rows(data: RunData) -> list[Row]:
    """Cells of the experiments `dilemma...` that have an amplification."""
    return [row for row in data.of("dilemma") if row["amplification"] is not None]


def knob(row: Row) -> str:
    """The value that was varied."""
    for key in ("build_graph_degree", "build_replicas"):
        if row.get(key) is not None:
            return str(row[key])
    return ""


def draw(rows: Sequence[Row]) -> Figure:
    """One panel per data set and tier."""
    panels = ordered((row["dataset"], tier_text(row)) for row in rows)
    labels = ordered(row["label"] for row in rows)
    columns = min(_COLUMNS, len(panels))
    figure, grid = new_figure(-(-len(panels) // columns), columns)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for (dataset, tier), axes in zip(panels, grid.flat, strict=False):
        here = [row for row in rows if (row["dataset"], tier_text(row)) == (dataset, tier)]
        ends = []
        for at, label in enumerate(labels):
            line = sorted((row for row in here if row["label"] == label), key=lambda row: row["amplification"])
            if not line:
                continue
            look = appearance(at, emulated=line[0]["provenance"] == "emulated")
            axes.plot([row["amplification"] for row in line], [row["qps"] for row in line], **look)
            for point, row in enumerate(line):
                spread(axes, row["amplification"], row, colour_of(at))
                axes.annotate(
                    knob(row),
                    (row["amplification"], row["qps"]),
                    xytext=(0, -13 if point % 2 else 6),
                    textcoords="offset points",
                    ha="center",
                    fontsize=7,
                    color=colour_of(at),
                )
            ends.append((line[-1]["amplification"], line[-1]["qps"], label, colour_of(at)))
        axes.set_title(f"{tier}\n{dataset}")
        axes.set_ylim(0, 1.15 * max(row["qps_high"] for row in here))
        widest = max(row["amplification"] for row in here)
        least = min(row["amplification"] for row in here)
        span = max(widest - least, 0.2)
        axes.set_xlim(least - 0.15 * span, widest + 0.6 * span)
        axes.set_xlabel("amplification (bytes on the tier / raw bytes)")
        axes.yaxis.set_major_formatter(THOUSANDS)
        axes.set_ylabel("queries per second")
        label_ends(axes, ends)
    return figure


if __name__ == "__main__":
    from tiervec.bench.figures.command import main

    main("dilemma")
