"""The page: HTML with everything in it, for the screen and for paper."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from tiervec.bench.figures.files import Written
from tiervec.bench.figures.findings import Finding
from tiervec.bench.figures.run_data import Row, RunData, columns

__all__ = ["page"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #111; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; border-bottom: 1px solid #bbb; }
p, li { max-width: 46rem; } .sources { font-size: 0.85rem; color: #444; }
.warning { border: 2px solid #D55E00; padding: 0.5rem 1rem; }
table { border-collapse: collapse; font-size: 0.8rem; margin: 0.8rem 0; }
th, td { border-bottom: 1px solid #ddd; padding: 0.2rem 0.6rem; text-align: left; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.wide { overflow-x: auto; } svg { max-width: 100%; height: auto; }
.held { color: #006B4E; font-weight: bold; } .did-not-hold { color: #B34700; font-weight: bold; }
.not-measured { color: #555; }
@media print {
  body { font-size: 10pt; max-width: none; margin: 0; } figure, tr { break-inside: avoid; } h2 { break-after: avoid; }
  details.data { display: none; } .wide { overflow: visible; }
}
figure { margin: 1rem 0; } summary { cursor: pointer; }
"""
_SHOWN = (
    "label",
    "dataset",
    "tier",
    "provenance",
    "build",
    "search",
    "recall",
    "qps",
    "qps_low",
    "qps_high",
    "aa_ratio",
    "aa_low",
    "aa_high",
    "latency_us_p50",
    "latency_us_p99",
    "cpu_us_per_query",
    "reads_per_query",
    "rounds_per_query",
    "fraction_of_limit",
    "amplification",
    "fast_bytes_per_vector",
    "memory_bytes",
    "search_peak_mib",
    "build_seconds",
    "peak_mib",
    "disk_mib",
)


def page(
    data: RunData, written: Sequence[Written], without: Sequence[str], found: Sequence[Finding], began: Sequence[str]
) -> str:
    """The whole document.

    Args:
        data: What was measured.
        written: Figures, in order.
        without: Titles of figures that these runs have nothing for.
        found: The paper's findings.
        began: When each run began.
    """
    title = f"TierVec: {', '.join(data.names)}"
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title>',
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>',
        f"<h1>{_text(title)}</h1>",
        *_head(data, began),
        *_mixed(data),
        "<h2>What is real and what is emulated</h2>",
        "<p>Recall, reads, bytes, rounds and CPU time are counted and real everywhere. Throughput and latency on an "
        "<code>emulated:</code> tier are those of a model that holds each read back until the device would have "
        "delivered it; they are marked EMULATED, drawn hollow and dashed. Everything else ran on what this machine "
        "has. Every figure below says which of its tiers are which.</p>",
        "<h2>The paper's findings</h2>",
        _findings(found),
        *(part for each in written for part in _figure(each)),
        "<h2>Not measured</h2>",
        *_absent(data, without),
        "<h2>Notes</h2>",
        *_notes(data),
        "<h2>How it was measured</h2>",
        f"<p>{_text(_turns(data))} A figure is the median of the repeats, with the lowest and the highest; warm-ups do "
        "not count. <code>aa_ratio</code> is the median ratio of a second, equal run of the same cell in the same "
        "rounds, with the lowest and the highest: 1 but for noise. <code>all.csv</code> has every cell.</p>"
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _head(data: RunData, began: Sequence[str]) -> list[str]:
    runs = ", ".join(f"{name} (began {when})" for name, when in zip(data.names, began, strict=True))
    machines = "".join(f"<li>{_text(each)}</li>" for each in data.environments())
    measured = sum(each.status == "ok" for each in data.results)
    cells = len(data.results)
    return [f"<p>Runs: {_text(runs)}. {measured} of {cells} cells were measured.</p>", f"<ul>{machines}</ul>"]


def _turns(data: RunData) -> str:
    said = "Systems of one experiment that share data set, k and threads ran in turn, round by round"
    others = data.out_of_turn()
    return f"{said}; not all of {', '.join(others)} did." if others else f"{said}."


def _notes(data: RunData) -> list[str]:
    lines = "".join(f"<tr><td>{_text(note)}</td><td>{_text(cells)}</td></tr>" for note, cells in data.notes())
    return [f"<table><tr><th>note</th><th>of</th></tr>{lines}</table>" if lines else "<p>None.</p>"]


def _mixed(data: RunData) -> list[str]:
    if not data.is_mixed:
        return []
    return [
        '<p class="warning"><strong>Mixed machines.</strong> These results are of unlike machines; a letter in '
        "brackets after each name says of which. Figures of speed of different machines must not be divided by each "
        "other.</p>"
    ]


def _findings(found: Sequence[Finding]) -> str:
    lines = []
    for each in found:
        mark = " <strong>EMULATED</strong>" if each.emulated else ""
        kind = each.verdict.replace(" ", "-")
        lines.append(
            f"<tr><td>{_text(each.statement)}</td><td>{_text(each.paper)}</td><td>{_text(each.ours)}{mark}</td>"
            f'<td class="{kind}">{each.verdict}</td></tr>'
        )
    return (
        "<p>The paper is R. Cheng et al., <em>Characterizing the Dilemma of Performance and Index Size in "
        "Billion-Scale Vector Search and Breaking It with Second-Tier Memory</em>, arXiv 2405.03267. It measured a "
        "billion vectors on servers with real devices; sizes here are smaller, so compare directions and not absolute "
        "numbers.</p>"
        "<table><tr><th>finding</th><th>paper</th><th>here</th><th>verdict</th></tr>" + "".join(lines) + "</table>"
    )


def _figure(each: Written) -> list[str]:
    return [
        f"<h2>{_text(each.title)}</h2>",
        f"<figure>{_embedded(each.svg, each.name)}</figure>",
        f"<p>{_text(each.reading)}</p>",
        *_lists(each),
        f"<p>{_text(each.verdicts)}</p>",
        f'<p class="sources">{_text(each.sources)} Files: {each.name}.svg, .png, .csv.</p>',
        f'<details class="data"><summary>the numbers</summary><div class="wide">{_table(each.rows)}</div></details>',
    ]


def _lists(each: Written) -> list[str]:
    """Remarks, and the paper's numbers beside ours where these runs have both."""
    remarks = [_text(remark) for remark in each.remarks]
    numbers = [
        f"{_text(found.statement)} Paper: {_text(found.paper)}. Here: {_text(found.ours)}."
        + (" <strong>EMULATED</strong>" if found.emulated else "")
        for found in each.found
        if found.verdict != "not measured"
    ]
    return [f"<ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>" for lines in (remarks, numbers) if lines]


def _absent(data: RunData, without: Sequence[str]) -> list[str]:
    parts = []
    listed = data.absent()
    if listed:
        cells = "".join(f"<tr><td>{'</td><td>'.join(map(_text, each))}</td></tr>" for each in listed)
        parts.append(f"<table><tr><th>experiment</th><th>cell</th><th>why</th></tr>{cells}</table>")
    else:
        parts.append("<p>Every cell of these runs was measured and reached its recall.</p>")
    if without:
        parts.append(f"<p>These runs have nothing for: {_text('; '.join(without))}.</p>")
    return parts


def _table(rows: Sequence[Row]) -> str:
    known = columns(rows)
    shown = [key for key in _SHOWN if key in known] if "qps" in known else known
    head = "".join(f"<th>{_text(key)}</th>" for key in shown)
    lines = ("".join(_cell(row.get(key)) for key in shown) for row in rows)
    return f"<table><tr>{head}</tr>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _cell(value: object) -> str:
    if value is None or isinstance(value, str | bool):
        return f"<td>{_text('' if value is None else str(value))}</td>"
    text = f"{value:,.0f}" if isinstance(value, int) or abs(float(str(value))) >= 1000 else f"{value:.4g}"
    return f'<td class="number">{text}</td>'


def _embedded(svg: str, name: str) -> str:
    """An SVG whose ids cannot meet those of another one on the page."""
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'((?:xlink:)?href="#)', rf"\1{name}-", svg)
    return svg.replace("url(#", f"url(#{name}-")


def _text(text: str) -> str:
    return html.escape(text)
