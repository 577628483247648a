"""Latency under load: queries arrive at fixed rates and count from their arrival."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from tiervec.bench.figures.run_data import Row, RunData, ordered, series_text
from tiervec.bench.figures.style import appearance, colour_of, label_ends, new_figure, plain_log

NAME = "latency"
TITLE = "Latency at fixed arrival rates"
READING = (
    "Queries arrive at times fixed before the run; latency counts from the arrival, so a system that stalls is charged "
    "for all that waited (no coordinated omission). Left the median, right the 99th percentile. A curve ends with the "
    "last rate that was tried; where it turns up the system is saturated. A cross: queries were left unanswered when "
    "the run was stopped, and the latency is a lower bound."
)


def rows(data: RunData) -> list[Row]:
    """Cells of the open loop."""
    found = data.rows(lambda each: each.cell.mode == "open")
    return [row for row in found if row["latency_us_p50"] is not None]


def draw(rows: Sequence[Row]) -> Figure:
    """Two panels per data set."""
    datasets = ordered(row["dataset"] for row in rows)
    figure, grid = new_figure(len(datasets), 2, width=10.5, height=3.8, sharey="row")
    for dataset, pair in zip(datasets, grid, strict=True):
        here = [row for row in rows if row["dataset"] == dataset]
        for axes, percentile in zip(pair, ("p50", "p99"), strict=True):
            ends = []
            for at, series in enumerate(ordered(map(series_text, here))):
                line = sorted((row for row in here if series_text(row) == series), key=lambda row: row["arrival_qps"])
                x, y = [row["arrival_qps"] for row in line], [row[f"latency_us_{percentile}"] for row in line]
                axes.plot(x, y, **appearance(at, emulated=line[0]["provenance"] == "emulated"))
                cut = [place for place, row in enumerate(line) if row["unanswered"]]
                axes.plot([x[place] for place in cut], [y[place] for place in cut], "x", color="black", markersize=9)
                ends.append((x[-1], y[-1], series, colour_of(at)))
            plain_log(axes, "x")
            plain_log(axes, "y")
            axes.set_title(f"{percentile}, {dataset}")
            axes.set_xlabel("arrivals per second")
            axes.set_ylabel("latency in microseconds")
            label_ends(axes, ends)
    return figure


if __name__ == "__main__":
    from tiervec.bench.figures.command import main

    main("latency")
