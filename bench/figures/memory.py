"""Fast memory against throughput: what a byte of local DRAM per vector buys."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from tiervec.bench.figures.run_data import Row, RunData, ordered, series_text
from tiervec.bench.figures.style import THOUSANDS, appearance, colour_of, label_ends, new_figure, spread

NAME = "memory"
TITLE = "Fast memory against throughput"
READING = (
    "Each point is one index at the recall that was asked for, with codes of another size, or with more of its most "
    "read records in fast memory, too; this counts everything that the index keeps in this machine's DRAM. Lines span "
    "the slowest and the fastest repeat."
)


def rows(data: RunData) -> list[Row]:
    """Cells of the experiments `memory...`."""
    return [row for row in data.of("memory") if row["fast_bytes_per_vector"] is not None]


def draw(rows: Sequence[Row]) -> Figure:
    """One panel per data set."""
    datasets = ordered(row["dataset"] for row in rows)
    figure, grid = new_figure(len(datasets), 1, width=8.5, height=4.2)
    for dataset, axes in zip(datasets, grid.flat, strict=True):
        here = [row for row in rows if row["dataset"] == dataset]
        ends = []
        for at, series in enumerate(ordered(map(series_text, here))):
            line = sorted(
                (row for row in here if series_text(row) == series), key=lambda row: row["fast_bytes_per_vector"]
            )
            x, y = [row["fast_bytes_per_vector"] for row in line], [row["qps"] for row in line]
            axes.plot(x, y, **appearance(at, emulated=line[0]["provenance"] == "emulated"))
            for row in line:
                spread(axes, row["fast_bytes_per_vector"], row, colour_of(at))
            ends.append((x[-1], y[-1], series, colour_of(at)))
        axes.set_xlim(0, 1.05 * max(row["fast_bytes_per_vector"] for row in here))
        axes.set_ylim(0, 1.1 * max(row["qps_high"] for row in here))
        axes.set_title(dataset)
        axes.set_xlabel("fast memory in bytes per vector")
        axes.yaxis.set_major_formatter(THOUSANDS)
        axes.set_ylabel("queries per second")
        label_ends(axes, ends)
    return figure


if __name__ == "__main__":
    from tiervec.bench.figures.command import main

    main("memory")
