"""How much of each device a search uses: the share of what its measured or modelled limit allows."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tiervec.bench.figures.run_data import Row, RunData, ordered, tier_text
from tiervec.bench.figures.style import colour_of, new_figure

NAME = "limits"
TITLE = "Share of the device's limit"
READING = (
    "Throughput over the queries per second that the device could serve if it were busy all the time, the best setting "
    "of each index on each tier. Far left: the CPU binds, and a faster device would change nothing. Near 100 %: the "
    "device binds; above, it did better than when it was measured. The limit on ssd: is what the disk gave right after "
    "each run, in random reads. Hollow dots are on emulated devices."
)
_ROW_INCHES = 0.27


def rows(data: RunData) -> list[Row]:
    """The best closed-loop cell of each label and tier."""
    found = data.rows(lambda each: each.cell.mode == "closed")
    best: dict[tuple[str, str, str], Row] = {}
    for row in found:
        key = (row["dataset"], row["tier"], row["label"])
        share = row["fraction_of_limit"]
        if share is not None and (key not in best or share > best[key]["fraction_of_limit"]):
            best[key] = row
    return [best[key] for key in sorted(best)]


def draw(rows: Sequence[Row]) -> Figure:
    """One row per label, tier and data set."""
    figure, grid = new_figure(1, 1, width=9.5, height=len(rows) * _ROW_INCHES + 1.0)
    axes = grid[0][0]
    groups = ordered(row["label"] for row in rows)
    for at, row in enumerate(rows):
        colour = colour_of(groups.index(row["label"]))
        face = "white" if row["provenance"] == "emulated" else colour
        axes.plot([0, row["fraction_of_limit"]], [at, at], color=colour, linewidth=1, alpha=0.5)
        axes.plot(row["fraction_of_limit"], at, "o", color=colour, markerfacecolor=face)
        axes.annotate(
            f"{row['fraction_of_limit']:.1%}" + _cpu(row),
            (row["fraction_of_limit"], at),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
        )
    axes.set_yticks(
        range(len(rows)), [f"{row['label']}, {tier_text(row)}, {row['dataset']}" for row in rows], fontsize=8
    )
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, max(1.0, 1.3 * max(row["fraction_of_limit"] for row in rows)))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("share of the device's limit")
    return figure


def _cpu(row: Row) -> str:
    return "" if row["cpu_us_per_query"] is None else f", {row['cpu_us_per_query']:.0f} us CPU per query"


if __name__ == "__main__":
    from tiervec.bench.figures.command import main

    main("limits")
