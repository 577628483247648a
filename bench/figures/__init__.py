"""Figures of the report: one module each, drawn from rows that are also the figure's CSV file.

A module has ``NAME``, ``TITLE``, ``READING`` (how it is read), ``rows(data)`` and ``draw(rows)``. Each is a script too:
``python -m tiervec.bench.figures.dilemma RUN... --out DIR`` writes that figure alone.
"""

from __future__ import annotations

from types import ModuleType

__all__ = ["figures"]


def figures() -> tuple[ModuleType, ...]:
    """All figures, in the order of the report; importing them needs matplotlib."""
    from tiervec.bench.figures import (
        ablations,
        advice,
        battery,
        devices,
        dilemma,
        growth,
        kinds,
        latency,
        limits,
        memory,
        recall,
        same_graph,
    )

    return (dilemma, devices, same_graph, ablations, kinds, recall, battery, latency, memory, growth, advice, limits)
