"""What the paper found (arXiv 2405.03267), our numbers beside it, and whether it held.

Only what is certain is cited: the abstract, and the figures that the project's documentation takes from the paper. A
finding that these runs do not speak about is "not measured", never guessed.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from tiervec.bench.figures.run_data import Row, RunData, ordered, tier_text

__all__ = ["Finding", "findings", "verdicts_text"]

Verdict = Literal["held", "did not hold", "not measured"]

_SSD = ("ssd:", "emulated:ssd-p5520")
_SECOND_TIER = ("emulated:rdma-200g", "emulated:cxl-x8", "emulated:nvm-optane", "tcp:", "rdma:", "numa:", "dax:")
_GRAPH, _CLUSTER = "tiervec-graph", "tiervec-cluster"
_NOTICEABLE = 1.2  # a gain that costs bytes must be more than noise
_NEARLY_BEST = 0.9
_LISTS = ("replicated", "decoupled", "grouped")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One finding.

    Attributes:
        figure: The figure that shows it.
        statement: In our words.
        paper: The paper's numbers, and where they stand.
        ours: Our numbers, tier by tier.
        verdict: Whether it held here.
        emulated: True when a number of ours is of an emulated device.
    """

    figure: str
    statement: str
    paper: str
    ours: str
    verdict: Verdict
    emulated: bool


def findings(data: RunData) -> list[Finding]:
    """All of them, measured or not."""
    dilemma = [row for row in data.of("dilemma") if row["amplification"]]
    kinds = [*data.of("kinds"), *dilemma]
    return [
        _amplification_buys(dilemma, _GRAPH, "5.7x the throughput at an amplification of 5.8x (abstract)"),
        _amplification_buys(dilemma, _CLUSTER, "1.7x the throughput at an amplification of 7.7x (abstract)"),
        _little_is_enough(dilemma, _GRAPH),
        _little_is_enough(dilemma, _CLUSTER),
        _other_choice(kinds),
        _cpu_binds(kinds),
        _pipeline_pays(data.of("ablation-pipeline")),
        _sharing_is_cheap(data.of("ablation-cluster")),
    ]


def verdicts_text(found: Sequence[Finding]) -> str:
    """Which of the paper's findings held, in a few sentences for the foot of a figure."""
    if not found:
        return "What is cited of arXiv 2405.03267 says nothing about this."
    parts = []
    for verdict in typing.get_args(Verdict):
        said = [each.statement.rstrip(".") for each in found if each.verdict == verdict]
        if said:
            parts.append(f"{verdict}: {'; '.join(said)}.")
    return "Of the findings of arXiv 2405.03267, " + " ".join(parts)


def _amplification_buys(rows: Sequence[Row], system: str, paper: str) -> Finding:
    """On SSD, throughput costs bytes."""
    found, held = [], []
    for tier, group in _by_tier(rows, _SSD, system):
        least, best = min(group, key=lambda row: row["amplification"]), max(group, key=lambda row: row["qps"])
        gain = best["qps"] / least["qps"]
        held.append(gain >= _NOTICEABLE and best["amplification"] > least["amplification"])
        found.append(
            f"{tier}: {gain:.1f}x the throughput from amplification {least['amplification']:.2f} to "
            f"{best['amplification']:.2f}"
        )
    return _finding(
        f"On SSD, a faster {_name(system)} index costs bytes: throughput grows with amplification.",
        paper,
        found,
        held,
        rows,
        _SSD,
        figure="dilemma",
    )


def _little_is_enough(rows: Sequence[Row], system: str) -> Finding:
    """On second-tier memory the least amplification is nearly as fast as the best."""
    found, held = [], []
    for tier, group in _by_tier(rows, _SECOND_TIER, system):
        best = max(group, key=lambda row: row["qps"])
        enough = min(
            (row for row in group if row["qps"] >= _NEARLY_BEST * best["qps"]), key=lambda row: row["amplification"]
        )
        least = min(group, key=lambda row: row["amplification"])
        held.append(enough["amplification"] <= 1.25 * least["amplification"])
        found.append(
            f"{tier}: {enough['qps'] / best['qps']:.0%} of the best throughput at amplification "
            f"{enough['amplification']:.2f}; the least is {least['amplification']:.2f}, the best one's "
            f"{best['amplification']:.2f}"
        )
    return _finding(
        f"On second-tier memory, the {_name(system)} index reaches its best throughput with little amplification.",
        "optimal performance with an amplification that is orders of magnitude smaller (abstract)",
        found,
        held,
        rows,
        _SECOND_TIER,
        figure="dilemma",
    )


def _other_choice(rows: Sequence[Row]) -> Finding:
    """Which kind wins is another question on memory than on SSD."""
    found: list[str] = []
    ratios: dict[str, list[float]] = {}
    for name, tiers in (("SSD", _SSD), ("second tier", _SECOND_TIER)):
        for place, here in _by_place(rows, tiers):
            graph, cluster = (
                max((float(row["qps"]) for row in here if row["system"] == system), default=0.0)
                for system in (_GRAPH, _CLUSTER)
            )
            if graph > 0 and cluster > 0:
                ratio = graph / cluster
                ratios.setdefault(name, []).append(ratio)
                found.append(f"{place}: graph / cluster {ratio:.2f}")
    held = []
    if len(ratios) == 2:
        held = [
            min(ratios["second tier"]) > max(ratios["SSD"]) * _NOTICEABLE
            or max(ratios["second tier"]) * _NOTICEABLE < min(ratios["SSD"])
        ]
    return _finding(
        "Which index to choose on second-tier memory is not what it is on SSD.",
        "the findings on second-tier memory contradict the ones on SSDs (abstract)",
        found,
        held,
        rows,
        (*_SSD, *_SECOND_TIER),
        figure="kinds",
    )


def _cpu_binds(rows: Sequence[Row]) -> Finding:
    """The graph index is bound by CPU time and leaves the network card idle."""
    found, held = [], []
    for tier, group in _by_tier(rows, ("emulated:rdma-200g", "rdma:"), _GRAPH):
        known = [row for row in group if row["fraction_of_limit"] is not None and row["cpu_us_per_query"] is not None]
        if known:
            best = max(known, key=lambda row: row["qps"])
            held.append(best["fraction_of_limit"] < 0.5)
            found.append(
                f"{tier}: {best['fraction_of_limit']:.1%} of the device with {best['threads']} threads, "
                f"{best['cpu_us_per_query']:.0f} us of CPU time per query"
            )
    return _finding(
        "A graph search on RDMA is bound by the CPU, not by the network card.",
        "5 to 8 % of the network card, about 1 ms of CPU time per query (ARCHITECTURE.md)",
        found,
        held,
        rows,
        ("emulated:rdma-200g", "rdma:"),
        figure="limits",
    )


def _pipeline_pays(rows: Sequence[Row]) -> Finding:
    """Many queries in flight hide the latency of reads."""
    found, held = [], []
    for place, here in _by_place(rows, _SECOND_TIER):
        on, off = (
            max((float(row["qps"]) for row in here if ("pipeline=False" in row["search"]) == is_off), default=0.0)
            for is_off in (False, True)
        )
        if on > 0 and off > 0:
            held.append(on / off >= _NOTICEABLE)
            found.append(f"{place}: {on / off:.1f}x with it")
    return _finding(
        "Many queries in flight on one core hide the latency of second-tier memory.",
        "its software pipeline; its gain is not cited here",
        found,
        held,
        rows,
        _SECOND_TIER,
        figure="ablations",
    )


def _sharing_is_cheap(rows: Sequence[Row]) -> Finding:
    """Vectors stored once and grouped: fewer reads than addresses alone, fewer bytes stored than copies."""
    found, held = [], []
    for place, here in _by_place(rows, _SECOND_TIER):
        whole = [row for row in here if row.get("build_ordered", True)]
        layouts = {layout: [row for row in whole if row.get("build_layout") == layout] for layout in _LISTS}
        if not all(layouts.values()):
            continue
        copies, addresses, groups = (layouts[layout][0] for layout in _LISTS)
        fewer = groups["reads_per_query"] / addresses["reads_per_query"]
        held.append(fewer < 1 / _NOTICEABLE and groups["amplification"] < copies["amplification"])
        found.append(
            f"{place}: {fewer:.0%} of the reads of addresses alone, "
            f"{groups['reads_per_query'] / copies['reads_per_query']:.1f} times those of copies, amplification "
            f"{groups['amplification']:.2f} where copies have {copies['amplification']:.2f}"
        )
    return _finding(
        "A cluster index that stores each vector once needs fewer reads in groups than by addresses alone, and fewer "
        "bytes than with copies.",
        "its decoupled layout with grouping; its gain is not cited here",
        found,
        held,
        rows,
        _SECOND_TIER,
        figure="ablations",
    )


def _by_tier(rows: Iterable[Row], tiers: tuple[str, ...], system: str) -> list[tuple[str, list[Row]]]:
    """Tier and data set to rows, where at least two settings were measured."""
    listed = [row for row in rows if row["system"] == system and row["tier"].startswith(tiers)]
    keys = ordered((row["tier"], row["dataset"], row["label"]) for row in listed)
    groups = [[row for row in listed if (row["tier"], row["dataset"], row["label"]) == key] for key in keys]
    return [
        (f"{group[0]['label']} on {tier_text(group[0])}, {group[0]['dataset']}", group)
        for group in groups
        if len(group) > 1
    ]


def _by_place(rows: Sequence[Row], tiers: tuple[str, ...]) -> list[tuple[str, list[Row]]]:
    """Tier, data set, machine, and what else differs, to rows."""
    listed = [row for row in rows if row["tier"].startswith(tiers)]
    keys = ordered(map(_place, listed))
    groups = [[row for row in listed if _place(row) == key] for key in keys]
    return [
        (f"{tier_text(group[0])}, {group[0]['dataset']}{also}" + (f" [{machine}]" if machine else ""), group)
        for (_, _, machine, also), group in zip(keys, groups, strict=True)
    ]


def _place(row: Row) -> tuple[str, str, str, str]:
    return row["tier"], row["dataset"], row["machine"], row["also"]


def _finding(
    statement: str,
    paper: str,
    found: Sequence[str],
    held: Sequence[bool],
    rows: Sequence[Row],
    tiers: tuple[str, ...],
    *,
    figure: str,
) -> Finding:
    verdict: Verdict = "not measured" if not held else "held" if all(held) else "did not hold"
    return Finding(
        figure=figure,
        statement=statement,
        paper=paper,
        ours="; ".join(found) if found else "these runs do not say",
        verdict=verdict,
        emulated=bool(found) and any(row["provenance"] == "emulated" for row in rows if row["tier"].startswith(tiers)),
    )


def _name(system: str) -> str:
    return system.removeprefix("tiervec-")
