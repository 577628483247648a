"""A figure as files: SVG for the page and for print, PNG for slides, CSV with the numbers in it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from tiervec.bench.figures.findings import Finding, findings, verdicts_text
from tiervec.bench.figures.run_data import Row, RunData, columns, ordered, tier_text
from tiervec.machine.durable_files import replacing_file

__all__ = ["Written", "csv_text", "provenance_text", "write_figure"]


@dataclass(frozen=True, kw_only=True)
class Written:
    """A figure that was written.

    Attributes:
        name: Name of the files, without suffix.
        title: Title of the figure.
        reading: How it is read.
        sources: What in it is real and what is emulated, and where it was measured.
        verdicts: Which of the paper's findings held in it.
        found: Those findings, with the paper's numbers and ours.
        remarks: What the figure's module says about its numbers beside the picture.
        svg: The picture.
        rows: Its numbers.
    """

    name: str
    title: str
    reading: str
    sources: str
    verdicts: str
    found: Sequence[Finding]
    remarks: Sequence[str]
    svg: str
    rows: Sequence[Row]


def write_figure(module: ModuleType, data: RunData, folder: Path) -> Written | None:
    """Writes ``NAME.svg``, ``NAME.png`` and ``NAME.csv``; None, and none there, when the runs have nothing for it."""
    rows: list[Row] = module.rows(data)
    if not rows:
        for suffix in ("svg", "png", "csv"):
            (folder / f"{module.NAME}.{suffix}").unlink(missing_ok=True)
        return None
    sources = f"{provenance_text(rows)} Measured on {'; '.join(data.environments())}."
    found = [each for each in findings(data) if each.figure == module.NAME]
    verdicts = verdicts_text(found)
    figure = module.draw(rows)
    figure.suptitle(module.TITLE, fontsize=11, fontweight="bold", x=0.01, ha="left")
    figure.supxlabel(f"{_wrapped(sources)}\n{_wrapped(verdicts)}", fontsize=6.5, color="#555555", x=0.01, ha="left")
    svg, png = io.StringIO(), io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None})
    figure.savefig(png, format="png")
    for suffix, content in (
        ("svg", svg.getvalue().encode()),
        ("png", png.getvalue()),
        ("csv", csv_text(rows).encode()),
    ):
        with replacing_file(folder / f"{module.NAME}.{suffix}", len(content)) as file:
            file.write(content)
    return Written(
        name=module.NAME,
        title=module.TITLE,
        reading=module.READING,
        sources=sources,
        verdicts=verdicts,
        found=found,
        remarks=module.remarks(rows) if hasattr(module, "remarks") else (),
        svg=svg.getvalue()[svg.getvalue().index("<svg") :],
        rows=rows,
    )


def provenance_text(rows: Sequence[Row]) -> str:
    """Which tiers of these rows are real and which are models."""
    parts = []
    for provenance, what in (
        ("real", "Real devices"),
        ("memory", "Real, in this machine's memory"),
        ("guest", "Devices of a virtual machine"),
        ("emulated", "EMULATED (a model of the device; its throughput and latency are the model's)"),
    ):
        tiers = ordered(tier_text(row).removesuffix(" (emulated)") for row in rows if row["provenance"] == provenance)
        if tiers:
            parts.append(f"{what}: {', '.join(tiers)}.")
    return " ".join(parts)


def csv_text(rows: Sequence[Row]) -> str:
    """Rows as CSV; columns without a value are left out."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns(rows), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _wrapped(text: str, width: int = 150) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width))
