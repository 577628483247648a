"""Recall against throughput, with all systems that ran."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from tiervec.bench.figures.run_data import Row, RunData, ordered, series_text
from tiervec.bench.figures.style import appearance, colour_of, label_ends, new_figure, plain_log

NAME = "recall"
TITLE = "Recall against throughput"
READING = (
    "Up and to the right is better. One point is one search setting, medians of the repeats; a line joins the settings "
    "of one index. All systems of a panel have the same vectors, queries, k and threads. Dashed and hollow: emulated "
    "devices. Settings below a recall of 0.8 are in all.csv only."
)
_LOWEST = 0.8
_OWN_FIGURE = ("dilemma", "ablation", "kinds", "memory", "growth", "same-graph", "battery")


def rows(data: RunData) -> list[Row]:
    """Cells of the closed loop that have no figure of their own and know their recall."""
    found = data.rows(lambda each: each.cell.mode == "closed" and not each.experiment.startswith(_OWN_FIGURE))
    known = [row for row in found if row["recall"] is not None]
    return [row for row in known if row["recall"] >= _LOWEST] or known


def draw(rows: Sequence[Row]) -> Figure:
    """One panel per experiment, data set and k."""
    panels = ordered(map(_panel, rows))
    figure, grid = new_figure(len(panels), 1, width=8.5, height=4.6)
    for panel, axes in zip(panels, grid.flat, strict=True):
        here = [row for row in rows if _panel(row) == panel]
        ends = []
        for at, series in enumerate(ordered(map(_series, here))):
            line = sorted((row for row in here if _series(row) == series), key=lambda row: (row["recall"], -row["qps"]))
            look = appearance(at, emulated=line[0]["provenance"] == "emulated")
            axes.plot([row["recall"] for row in line], [row["qps"] for row in line], **look)
            ends.append((line[-1]["recall"], line[-1]["qps"], series, colour_of(at)))
        plain_log(axes, "y")
        low, high = min(row["recall"] for row in here), max(row["recall"] for row in here)
        margin = 0.03 * (high - low) or 0.003
        axes.set_xlim(low - margin, min(high + margin, 1 + margin))
        axes.ticklabel_format(axis="x", useOffset=False)
        experiment, dataset, k, threads, batch = panel
        at_once = f", {batch} at a time" if batch else ""
        axes.set_title(
            f"{dataset}, k={k}, {threads} {'thread' if threads == 1 else 'threads'}{at_once}  ({experiment})"
        )
        axes.set_xlabel(f"recall@{k}")
        axes.set_ylabel("queries per second")
        label_ends(axes, ends)
    return figure


def _panel(row: Row) -> tuple[str, str, int, int, int]:
    return row["experiment"], row["dataset"], row["k"], row["threads"], row["batch"]


def _series(row: Row) -> str:
    return series_text(row) + (f" [{row['build']}]" if row["build"] else "")


if __name__ == "__main__":
    from tiervec.bench.figures.command import main

    main("recall")
