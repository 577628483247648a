"""One graph that DiskANN built, imported: on every device, and beside DiskANN's own search of it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from matplotlib.figure import Figure

from tiervec.bench.figures.ablations import what_a_query_costs
from tiervec.bench.figures.dots import dot_panels
from tiervec.bench.figures.run_data import Row, RunData, tier_text
from tiervec.bench.interleaved import Spread
from tiervec.bench.machines import machine_of
from tiervec.bench.results import Cell, Result

NAME = "same_graph"
TITLE = "One graph that DiskANN built, on every device"
READING = (
    "The same graph and the same vectors everywhere, at the recall that was asked for: DiskANN's own search of its "
    "files on the disk, and ours of the imported graph, in sectors on the disk and packed on memory. Dots are medians, "
    "lines span the repeats; hollow dots are on emulated devices. The text gives reads, rounds and CPU time of a query."
)
_OURS, _DISKANN = "tiervec-diskann", "diskannpy-disk"
_ALIKE = ("dataset", "k", "threads", "mode", "batch", "arrival_qps")
_ON_DISK, _OF_DISKANN = "over_ssd", "over_diskann"


def rows(data: RunData) -> list[Row]:
    """Cells of the experiments `same-graph...`, with their ratios to ours on the disk and to DiskANN's own search."""
    measured = data.measured(lambda result: result.experiment.startswith("same-graph"))
    results = [result for _, result in measured]
    for row, result in measured:
        if result.cell.system == _OURS:
            row |= _ratio(_ON_DISK, result, [each for each in results if _is_ours_on_disk(each.cell)])
            row |= _ratio(_OF_DISKANN, result, [each for each in results if each.cell.system == _DISKANN])
    return [row for row, _ in measured]


def remarks(rows: Sequence[Row]) -> list[str]:
    """How much faster than the disk each other device is, and than DiskANN's own search ours on the disk."""
    ours = [row for row in rows if row["system"] == _OURS]
    return [
        *(_remark(row, _ON_DISK, "imported, sectors, ssd:") for row in ours if row["tier"] != "ssd:"),
        *(_remark(row, _OF_DISKANN, "DiskANN's own search") for row in ours if row["tier"] == "ssd:"),
    ] or ["The imported graph was not measured."]


def draw(rows: Sequence[Row]) -> Figure:
    """One panel per data set."""
    return dot_panels(
        rows,
        panel=lambda row: str(row["dataset"]),
        name=lambda row: f"{row['label']}, {tier_text(row)}",
        group=lambda row: str(row["label"]),
        note=what_a_query_costs,
    )


def _is_ours_on_disk(cell: Cell) -> bool:
    return cell.system == _OURS and cell.tier == "ssd:" and cell.build.get("layout") == "sectors"


def _ratio(name: str, over: Result, candidates: Sequence[Result]) -> Row:
    """QPS of one cell over that of another: round by round when they took turns, otherwise of medians."""
    found = [each for each in candidates if each is not over and _is_alike(over, each)]
    if len(found) != 1:
        return {}
    rounds, under = over.rounds("qps"), found[0].rounds("qps")
    if over.group and over.group == found[0].group:
        ratio = Spread.of([rounds[number] / under[number] for number in sorted(rounds.keys() & under.keys())])
        return {name: ratio.median, f"{name}_low": ratio.low, f"{name}_high": ratio.high}
    return {name: statistics.median(rounds.values()) / statistics.median(under.values())}


def _is_alike(one: Result, other: Result) -> bool:
    of_one, of_other = one.cell, other.cell
    places = [(each.run, each.experiment, machine_of(each.environment)) for each in (one, other)]
    return places[0] == places[1] and all(getattr(of_one, key) == getattr(of_other, key) for key in _ALIKE)


def _remark(row: Row, ratio: str, under: str) -> str:
    what = f"{row['dataset']}: {row['label']}, {tier_text(row)} / {under}"
    if row.get(ratio) is None:
        return f"{what} was not measured."
    if row.get(f"{ratio}_low") is None:
        return f"{what} {row[ratio]:.2f}, of medians, which were not measured in turn."
    return f"{what} {row[ratio]:.2f} ({row[f'{ratio}_low']:.2f} to {row[f'{ratio}_high']:.2f})."


if __name__ == "__main__":
    from tiervec.bench.figures.command import main

    main("same_graph")
