"""What each tier gives by read size, and its knee."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from tiervec.bench.figures.run_data import Row, RunData, ordered, tier_text
from tiervec.bench.figures.style import appearance, colour_of, label_ends, new_figure, plain_log
from tiervec.bench.machines import machine_of

NAME = "devices"
TITLE = "Read size against throughput of each tier"
READING = (
    "Random reads by all threads, many in flight, without the search engine. The tick on the right panel's curve is "
    "the knee, best bytes/s over the reads/s of the smallest size: below it fewer reads beat smaller reads. Emulated "
    "curves show the model as far as this machine can drive it."
)


def rows(data: RunData) -> list[Row]:
    """One row per tier and read size."""
    found = []
    for each in data.profiles:
        if each.status != "ok" or each.profile is None:
            continue
        letter = f" [{data.machines[machine_of(each.environment)]}]" if data.is_mixed else ""
        found += [
            {
                "tier": each.tier + letter,
                "provenance": each.provenance,
                "read_bytes": size["read_bytes"],
                "reads_per_s": size["reads_per_s"]["median"],
                "spread": size["reads_per_s"]["spread"],
                "bytes_per_s": size["bytes_per_s"],
                "device_reads_per_s": size["device_reads_per_s"],
                "knee_bytes": each.profile["knee_bytes"],
                "latency_us_p50": each.profile["latency_us"]["p50"]["median"],
            }
            for size in each.profile["sizes"]
        ]
    return found


def draw(rows: Sequence[Row]) -> Figure:
    """Reads/s on the left, bytes/s on the right."""
    figure, grid = new_figure(1, 2, width=10.5, height=4.2)
    for axes, key, unit, name in (
        (grid[0][0], "reads_per_s", 1e6, "million reads per second"),
        (grid[0][1], "bytes_per_s", 1e9, "GB per second"),
    ):
        ends = []
        for at, tier in enumerate(ordered(row["tier"] for row in rows)):
            line = sorted((row for row in rows if row["tier"] == tier), key=lambda row: row["read_bytes"])
            x, y = [row["read_bytes"] for row in line], [row[key] / unit for row in line]
            axes.plot(x, y, **appearance(at, emulated=line[0]["provenance"] == "emulated"))
            ends.append((x[-1], y[-1], tier_text(line[0]), colour_of(at)))
            if key == "bytes_per_s":
                axes.axvline(line[0]["knee_bytes"], ymin=0, ymax=0.04, color=colour_of(at), linewidth=2)
        plain_log(axes, "y")
        axes.set_xscale("log", base=2)
        sizes = ordered(sorted(row["read_bytes"] for row in rows))[::2]
        axes.set_xticks(sizes, [str(size) if size < 1024 else f"{size // 1024}K" for size in sizes])
        axes.set_xlabel(
            "bytes of one read (ticks above the axis: knee)" if key == "bytes_per_s" else "bytes of one read"
        )
        axes.set_ylabel(name)
        label_ends(axes, ends)
    return figure


if __name__ == "__main__":
    from tiervec.bench.figures.command import main

    main("devices")
