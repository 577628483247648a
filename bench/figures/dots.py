"""A drawing that several figures share: one row per setting, its median as a dot, its repeats as a line."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.figure import Figure

from tiervec.bench.figures.run_data import Row, ordered
from tiervec.bench.figures.style import THOUSANDS, colour_of, new_figure

__all__ = ["dot_panels"]

_ROW_INCHES = 0.27


def dot_panels(
    rows: Sequence[Row],
    *,
    panel: Callable[[Row], str],
    name: Callable[[Row], str],
    group: Callable[[Row], str],
    note: Callable[[Row], str],
) -> Figure:
    """Panels below each other.

    Args:
        rows: What to draw.
        panel: Which panel a row is in.
        name: Its name on the left.
        group: Rows of one group share a colour.
        note: Text to the right of the dot.
    """
    panels = ordered(panel(row) for row in rows)
    groups = ordered(group(row) for row in rows)
    sizes = [sum(panel(row) == each for row in rows) for each in panels]
    height = sum(size * _ROW_INCHES + 0.95 for size in sizes)
    figure, grid = new_figure(
        len(panels),
        1,
        width=9.5,
        height=height / len(panels),
        gridspec_kw={"height_ratios": [size + 1 for size in sizes]},
    )
    for each, axes in zip(panels, grid.flat, strict=True):
        here = [row for row in rows if panel(row) == each]
        for at, row in enumerate(here):
            colour = colour_of(groups.index(group(row)))
            emulated = row["provenance"] == "emulated"
            axes.plot([row["qps_low"], row["qps_high"]], [at, at], color=colour, linewidth=2, alpha=0.5)
            axes.plot(row["qps"], at, "o", color=colour, markerfacecolor="white" if emulated else colour)
            axes.annotate(
                note(row),
                (row["qps_high"], at),
                xytext=(7, 0),
                textcoords="offset points",
                va="center",
                fontsize=7.5,
                color="#333333",
                annotation_clip=False,
            )
        axes.set_yticks(range(len(here)), [name(row) for row in here], fontsize=8)
        axes.set_ylim(len(here) - 0.5, -0.5)
        axes.set_xlim(0, 1.45 * max(row["qps_high"] for row in here))
        axes.xaxis.set_major_formatter(THOUSANDS)
        axes.grid(visible=False, axis="y")
        axes.set_title(each)
        axes.set_xlabel("queries per second")
    return figure
