"""How figures look: colours that stay apart for every kind of colour vision, labels beside what they name, print first.

What is emulated is drawn hollow and dashed, what is real filled and solid, so that the difference survives a copier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")  # files only; no window system is needed
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

__all__ = [
    "COLOURS",
    "THOUSANDS",
    "appearance",
    "colour_of",
    "label_ends",
    "new_figure",
    "plain_log",
    "spread",
    "thousands",
]

# Okabe and Ito's palette (jfly.uni-koeln.de/color), without its yellow, which is too light on paper.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_SETTINGS: Any = {  # keys of matplotlib, which has a type of its own for them
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "lines.markersize": 5,
    "legend.frameon": False,
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "svg.hashsalt": "tiervec",
}
_WIDE_RANGE = 1000
_LABEL_POINTS = 9.5  # height of a line of labels


def new_figure(
    rows: int, columns: int, *, width: float = 0.0, height: float = 3.2, **kwargs: Any
) -> tuple[Figure, Any]:
    """A figure with a grid of axes: (figure, array of axes); `height` is that of one row in inches."""
    matplotlib.rcParams.update(_SETTINGS)
    figure = Figure(figsize=(width or min(3.6 * columns + 1.0, 11.0), height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **kwargs)


def appearance(at: int, *, emulated: bool) -> dict[str, Any]:
    """Colour, marker and line of the `at`-th series."""
    colour = COLOURS[at % len(COLOURS)]
    return {
        "color": colour,
        "marker": _MARKERS[(at + at // len(COLOURS)) % len(_MARKERS)],  # the second blue is no circle again
        "linestyle": "--" if emulated else "-",
        "markerfacecolor": "white" if emulated else colour,
        "markeredgecolor": colour,
    }


def colour_of(at: int) -> str:
    """Colour of the `at`-th series."""
    return COLOURS[at % len(COLOURS)]


def spread(axes: Axes, x: float, row: Mapping[str, Any], colour: str) -> None:
    """A thin line from the slowest to the fastest repeat."""
    axes.plot([x, x], [row["qps_low"], row["qps_high"]], color=colour, linewidth=1, marker="", zorder=1)


def label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Writes (x, y, text, colour) to the right of each point, moved apart so that no text covers another one."""
    if not ends:
        return
    axes.get_figure().draw_without_rendering()  # type: ignore[union-attr]
    to_points = 72 / axes.get_figure().dpi  # type: ignore[union-attr]
    wanted = [(axes.transData.transform((x, y))[1] * to_points, x, y, text, colour) for x, y, text, colour in ends]
    lowest = -1e9
    for height, x, y, text, colour in sorted(wanted, key=lambda each: each[0]):
        placed = max(height, lowest + _LABEL_POINTS)
        lowest = placed
        axes.annotate(
            text,
            (x, y),
            xytext=(7, placed - height),
            textcoords="offset points",
            color=colour,
            fontsize=8,
            va="center",
            annotation_clip=False,
        )


def thousands(value: float, _position: object = None) -> str:
    """1200000 as 1.2M, 25000 as 25k."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def plain_log(axes: Axes, which: str) -> None:
    """A logarithmic axis whose numbers are written out: 1, 2 and 5 of each power of ten, or the powers alone."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    low, high = sorted(axis.get_view_interval())
    few = high / low > _WIDE_RANGE
    axis.set_major_locator(LogLocator(subs=(1.0,) if few else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(THOUSANDS)
    axis.set_minor_formatter(NullFormatter())


THOUSANDS = FuncFormatter(thousands)
"""For axes of large numbers."""
