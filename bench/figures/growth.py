"""Growth with the number of vectors: throughput, reads, build time, memory."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tiervec.bench.figures.run_data import Row, RunData, ordered, series_text
from tiervec.bench.figures.style import appearance, colour_of, label_ends, new_figure, plain_log

NAME = "growth"
TITLE = "Growth with the number of vectors"
READING = (
    "The same systems and build parameters on the first 100 thousand, 300 thousand, ... vectors, at the recall that "
    "was asked for. Both axes are logarithmic: a straight line is a power law."
)
_PANELS = (
    ("qps", "queries per second"),
    ("reads_per_query", "reads per query"),
    ("build_seconds", "build time in seconds"),
    ("peak_mib", "peak memory of the build in MiB"),
)


def rows(data: RunData) -> list[Row]:
    """Cells of the experiments `growth...`."""
    return data.of("growth")


def draw(rows: Sequence[Row]) -> Figure:
    """Four panels."""
    figure, grid = new_figure(2, 2, width=10.5, height=3.4)
    names = ordered(map(series_text, rows))
    for (key, title), axes in zip(_PANELS, grid.flat, strict=True):
        ends = []
        for at, series in enumerate(names):
            line = sorted(
                (row for row in rows if series_text(row) == series and row[key] is not None),
                key=lambda row: row["vectors"],
            )
            if line:
                x, y = [row["vectors"] for row in line], [row[key] for row in line]
                axes.plot(x, y, **appearance(at, emulated=line[0]["provenance"] == "emulated"))
                ends.append((x[-1], y[-1], series, colour_of(at)))
        axes.set_title(title)
        axes.set_xlabel("vectors")
        if ends:
            plain_log(axes, "x")
            plain_log(axes, "y")
            _widen(axes)
            label_ends(axes, ends)
        else:
            axes.text(0.5, 0.5, "not counted by these systems", ha="center", transform=axes.transAxes, fontsize=8)
            axes.set_xticks([])
            axes.set_yticks([])
    return figure


def _widen(axes: Axes) -> None:
    """No small change fills a panel: the axis spans a factor of two at least."""
    low, high = axes.get_ylim()
    if high < 2 * low:
        middle = (low * high) ** 0.5
        axes.set_ylim(middle / 2**0.5, middle * 2**0.5)


if __name__ == "__main__":
    from tiervec.bench.figures.command import main

    main("growth")
