"""What the advisor predicted for an index, beside what that index did."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from tiervec.bench.figures.run_data import Row, RunData, dataset_text, tier_text
from tiervec.bench.figures.style import colour_of, new_figure
from tiervec.bench.machines import machine_of
from tiervec.bench.results import AdviceResult

NAME = "advice"
TITLE = "What the advisor predicted, and what was measured"
READING = (
    "One row for each index, built with its defaults. Dots are predicted / measured: at 1 the prediction is right, "
    "left of it too low. The text gives both numbers. Predicted is from samples of the data; measured is the index of "
    "all of it, in turn with those samples. Queries per second are medians of the rounds in both. Hollow dots are on "
    "emulated devices."
)
_FIGURES = {
    "qps": ("QPS", "queries per second"),
    "latency_us_alone": ("latency alone us", "latency alone in us"),
    "reads_per_query": ("reads per query", "reads per query"),
    "amplification": ("amplification", "amplification"),
}
"""Column of the rows to the name in the advisor's check and the title of the panel."""
_ROW_INCHES = 0.45


def rows(data: RunData) -> list[Row]:
    """One row per data set, tier and system."""
    found = [_row(data, each) for each in data.advice if each.status == "ok" and each.check is not None]
    return sorted(found, key=lambda row: (row["vectors"], row["dataset"], row["tier"], row["label"]))


def remarks(rows: Sequence[Row]) -> list[str]:
    """The largest error of the throughput, and where little was extrapolated."""
    worst = max(rows, key=lambda row: abs(row["qps_ratio"] - 1))
    found = [
        f"The largest error of QPS is {worst['qps_ratio'] - 1:+.0%}: {_name(worst)}, predicted "
        f"{worst['qps_predicted']:,.0f}, measured {worst['qps_measured']:,.0f}. The error of its CPU time per query in "
        f"the best round, which load of others adds less to, is {worst['cpu_us_ratio'] - 1:+.0%}."
    ]
    return found + [
        f"{row['dataset']}: the sample has {row['sampled']:,} of {row['vectors']:,} vectors; little was extrapolated."
        for row in {row["dataset"]: row for row in rows if 2 * row["sampled"] > row["vectors"]}.values()
    ]


def draw(rows: Sequence[Row]) -> Figure:
    """One panel per figure, all with the same scale."""
    most = max(abs(row[f"{key}_ratio"] - 1) for row in rows for key in _FIGURES)
    half = max(1.5 * most, 0.2)
    systems = sorted({row["system"] for row in rows})
    figure, grid = new_figure(1, len(_FIGURES), width=11.0, height=len(rows) * _ROW_INCHES + 1.4, sharey=True)
    for (key, (_, title)), axes in zip(_FIGURES.items(), grid[0], strict=True):
        axes.axvline(1.0, color="#888888", linewidth=1)
        for at, row in enumerate(rows):
            colour = colour_of(systems.index(row["system"]))
            is_emulated = row["provenance"] == "emulated"
            axes.plot(row[f"{key}_ratio"], at, "o", color=colour, markerfacecolor="white" if is_emulated else colour)
            axes.annotate(
                f"{_number(row[f'{key}_predicted'])} / {_number(row[f'{key}_measured'])}",
                (row[f"{key}_ratio"], at),
                xytext=(0, 6),
                textcoords="offset points",
                ha="center",
                fontsize=7.5,
                color="#333333",
                annotation_clip=False,
            )
        axes.set_yticks(range(len(rows)), [_name(row) for row in rows], fontsize=8)
        axes.set_ylim(len(rows) - 0.5, -0.7)
        axes.set_xlim(max(1 - half, 0), 1 + half)
        axes.grid(visible=False, axis="y")
        axes.set_title(title)
        axes.set_xlabel("predicted / measured")
    return figure


def _row(data: RunData, result: AdviceResult) -> Row:
    assert result.check is not None
    cell, figures = result.cell, result.check["figures"]
    row: Row = {
        "experiment": result.experiment,
        "label": cell.label + (f" [{data.machines[machine_of(result.environment)]}]" if data.is_mixed else ""),
        "system": cell.system,
        "dataset": dataset_text(cell.dataset),
        "vectors": cell.dataset.n,
        "sampled": max(result.samples),
        "k": cell.k,
        "threads": cell.threads,
        "tier": cell.tier,
        "provenance": result.provenance,
        "target_recall": cell.target_recall,
        "recall": result.check["recall"],
        "recommended": result.recommended,
    }
    for key, (name, _) in _FIGURES.items():
        row[f"{key}_predicted"], row[f"{key}_measured"] = figures[name]["predicted"], figures[name]["measured"]
        row[f"{key}_ratio"] = 1 + figures[name]["error"]
    row["cpu_us_ratio"] = 1 + figures["CPU us per query"]["error"]
    return row


def _name(row: Row) -> str:
    return f"{row['label']}, {row['dataset']}, {tier_text(row)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    from tiervec.bench.figures.command import main

    main("advice")
