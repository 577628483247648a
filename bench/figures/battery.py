"""Recall of a default search on data of every shape, beside other systems with their usual settings."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from tiervec.bench.figures.run_data import Row, RunData, ordered
from tiervec.bench.figures.style import colour_of, new_figure

NAME = "battery"
TITLE = "Recall on data of every shape"
READING = (
    "One line per data set, one dot per system: recall of the neighbours asked for, where a vector as far as the last "
    "one stands for another that is as far. TierVec builds and searches with its defaults, which aim at 0.95 (dashed); "
    "the others with their usual settings. The text gives the lowest recall, and reads per query where they are "
    "counted."
)
_ROW_INCHES = 0.3
_TARGET = 0.95
_FLOOR, _PEER_MARGIN = 0.93, 0.02


def rows(data: RunData) -> list[Row]:
    """Cells of the experiments `battery...`."""
    return [row for row in data.of("battery") if row["recall"] is not None]


def remarks(rows: Sequence[Row]) -> list[str]:
    """Every data set on which a search of ours is below 0.93 and below the best peer by more than 0.02."""
    below = []
    for dataset in ordered(row["dataset"] for row in rows):
        here = [row for row in rows if row["dataset"] == dataset]
        best = max((row["recall"] for row in here if not _is_ours(row)), default=1.0)
        below += [
            f"{dataset}, {row['label']}: recall {row['recall']:.3f}, best peer {best:.3f}."
            for row in here
            if _is_ours(row) and row["recall"] < min(_FLOOR, best - _PEER_MARGIN)
        ]
    return below or ["No search of ours is below 0.93 and below the best peer by more than 0.02."]


def draw(rows: Sequence[Row]) -> Figure:
    """One line per data set."""
    datasets, systems = ordered(row["dataset"] for row in rows), ordered(row["label"] for row in rows)
    figure, grid = new_figure(1, 1, width=9.5, height=len(datasets) * _ROW_INCHES + 1.2)
    axes = grid.flat[0]
    axes.axvline(_TARGET, color="#999999", linewidth=1, linestyle="--")
    for at, system in enumerate(systems):
        here = [row for row in rows if row["label"] == system]
        places = [datasets.index(row["dataset"]) for row in here]
        axes.plot([row["recall"] for row in here], places, "o", color=colour_of(at), label=system, alpha=0.8)
    for place, dataset in enumerate(datasets):
        note = _note([row for row in rows if row["dataset"] == dataset])
        axes.annotate(note, (1.0, place), xytext=(9, 0), textcoords="offset points", va="center", fontsize=7.5)
    axes.set_yticks(range(len(datasets)), datasets, fontsize=8)
    axes.set_ylim(len(datasets) - 0.5, -0.5)
    axes.set_xlim(0, 1.45)
    axes.set_xticks([0, 0.25, 0.5, 0.75, _TARGET])
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("recall")
    axes.legend(loc="lower left", fontsize=8)
    return figure


def _is_ours(row: Row) -> bool:
    return str(row["system"]).startswith("tiervec-")


def _note(rows: Sequence[Row]) -> str:
    lowest = min(rows, key=lambda row: row["recall"])
    reads = [f"{row['label']} {row['reads_per_query']:.0f} reads" for row in rows if row["reads_per_query"]]
    return ", ".join([f"{lowest['recall']:.3f} {lowest['label']}", *reads])


if __name__ == "__main__":
    from tiervec.bench.figures.command import main

    main("battery")
