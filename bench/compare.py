"""Two systems at equal recall: the ratio of a figure, with its spread and beside what no difference looks like.

Of each system the cells of one data set, k, number of threads and mode form a curve; at a recall the figure is read off
between the two cells of the fastest front around it (linear in recall, and in the logarithm of the figure), round by
round. The ratio of a round divides figures of the same round; A/A divides each system's control by its own repeat.
Cells of unlike machines never form one curve: each machine's curve is compared with each other's, and says so.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tiervec.bench.interleaved import Spread
from tiervec.bench.machines import machine_letters, machine_of
from tiervec.bench.results import Repeat, Result
from tiervec.errors import InvalidArgumentError, NotFoundError

__all__ = ["Comparison", "compare", "is_named"]

_LEVELS: Final = (0.8, 0.9, 0.95, 0.98, 0.99)
_ROUNDS: Final = ("repeats", "control")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A against B at one recall.

    Attributes:
        experiment: Name.
        dataset: Name, and slice.
        k: Neighbours.
        threads: Threads.
        mode: ``closed``, ``closed batch 1``, ``open 200/s``, ...
        recall: At which.
        a: Spread of A's figure.
        b: Spread of B's figure.
        ratio: A / B, of each round.
        control: The A/A ratios of both, of each round; None when the plan asked for none.
        interleaved: False when the two were not measured in turn: their rounds then do not belong together.
        difference: ``none`` when the ratio's spread contains 1, or its median is no farther from 1 than the farthest of
            the control; else ``higher`` or ``lower``.
        machines: Letters of A's and of B's machine when the results are of several, else empty.
        note: What else one must know.
    """

    experiment: str
    dataset: str
    k: int
    threads: int
    mode: str
    recall: float
    a: Spread
    b: Spread
    ratio: Spread
    control: Spread | None
    interleaved: bool
    difference: str
    machines: tuple[str, ...] = ()
    note: str = ""


def is_named(result: Result, name: str) -> bool:
    """Whether a result is of what a user calls `name`: LABEL, SYSTEM, LABEL@TIER or SYSTEM@TIER."""
    cell = result.cell
    label, at, tier = name.partition("@")
    return label in (cell.label, cell.system) and (not at or cell.tier == tier)


def compare(
    results: Iterable[Result], a: str, b: str, *, figure: str = "qps", recalls: Sequence[float] = ()
) -> list[Comparison]:
    """Compares two systems wherever both were measured.

    Args:
        results: Of `load_results`.
        a: LABEL, SYSTEM, or either with ``@TIER``.
        b: The same.
        figure: ``qps``, ``cpu_us_per_query``, ``latency_us.p99``, ...: see `Repeat`.
        recalls: At which recalls; none: usual ones that both reach.

    Raises:
        NotFoundError: Nothing was measured under a name; or the two never on the same data.
        InvalidArgumentError: A name stands for several tiers, or the figure is not known.
    """
    every = list(results)
    letters = machine_letters(result.environment for result in every)
    usable = [result for result in every if result.status == "ok" and result.repeats]
    sides = [_side(usable, name, letters) for name in (a, b)]
    shared = [key for key in sides[0] if key in sides[1]]
    if not shared:
        raise NotFoundError(f"{a} and {b} were not measured on the same data, k, threads and mode in one experiment")
    found = []
    for key in shared:
        for of_a, of_b in itertools.product(*(side[key].items() for side in sides)):
            if a == b and of_a[0] > of_b[0]:
                continue  # the same two curves, the other way round
            machines = (of_a[0], of_b[0]) if len(letters) > 1 else ()
            levels = recalls or _levels([of_a[1], of_b[1]])
            found += [_at(key, machines, of_a[1], of_b[1], figure, level) for level in levels]
    return found


def _side(
    results: Sequence[Result], name: str, letters: Mapping[tuple[Any, ...], str]
) -> dict[tuple[Any, ...], dict[str, list[Result]]]:
    """Conditions to the curve of each machine's letter."""
    chosen = [result for result in results if is_named(result, name)]
    if not chosen:
        known = sorted({result.cell.label for result in results})
        raise NotFoundError(f"there is no finished cell of {name!r}; measured: {', '.join(known) or 'nothing'}")
    curves: dict[tuple[Any, ...], dict[str, list[Result]]] = {}
    for result in chosen:
        letter = letters[machine_of(result.environment)]
        curves.setdefault(_conditions(result), {}).setdefault(letter, []).append(result)
    for curve in (each for of_machines in curves.values() for each in of_machines.values()):
        tiers = sorted({str(result.cell.tier) for result in curve})
        if len(tiers) > 1:
            raise InvalidArgumentError(f"{name!r} was measured on {', '.join(tiers)}; choose one as {name}@{tiers[0]}")
    return curves


def _conditions(result: Result) -> tuple[Any, ...]:
    cell = result.cell
    mode = cell.mode if cell.mode == "open" else f"closed batch {cell.batch}" if cell.batch else "closed"
    rate = "" if cell.arrival_qps is None else f" {cell.arrival_qps:g}/s"
    dataset = cell.dataset.name if cell.dataset.slice is None else f"{cell.dataset.name}:{cell.dataset.slice}"
    return result.experiment, dataset, cell.k, cell.threads, f"{mode}{rate}"


def _recall(result: Result) -> float:
    return result.median("recall") or 0.0


def _levels(curves: Sequence[Sequence[Result]]) -> list[float]:
    """The recalls to compare at: what was aimed at, or usual ones that both reach, or the highest that both do."""
    targets = {result.cell.target_recall for curve in curves for result in curve}
    if None not in targets:
        return sorted(target for target in targets if target is not None)
    levels = [level for level in _LEVELS if all(_reaches(curve, level) for curve in curves)]
    return levels or [min(max(_recall(result) for result in curve) for curve in curves)]


def _reaches(curve: Sequence[Result], recall: float) -> bool:
    recalls = [_recall(result) for result in curve]
    return min(recalls) <= recall <= max(recalls)


def _at(
    key: tuple[Any, ...], machines: tuple[str, ...], a: list[Result], b: list[Result], figure: str, recall: float
) -> Comparison:
    sides = [_Reading(curve, figure, recall) for curve in (a, b)]
    groups = {result.group for reading in sides for result in reading.used}
    interleaved = len(groups) == 1 and "" not in groups
    rounds = [reading.rounds("repeats") for reading in sides]
    if interleaved:
        shared = sorted(rounds[0].keys() & rounds[1].keys())
        ratios = [rounds[0][number] / rounds[1][number] for number in shared]
    else:
        ratios = [x / statistics.median(rounds[1].values()) for x in rounds[0].values()]
    control = [ratio for reading in sides for ratio in reading.control_ratios()]
    ratio_spread = Spread.of(ratios)
    control_spread = Spread.of(control) if control else None
    notes = [reading.note for reading in sides if reading.note]
    if not interleaved:
        notes.append("not measured in turn")
    if len(set(machines)) > 1:
        notes.append("unlike machines")
    experiment, dataset, k, threads, mode = key
    return Comparison(
        experiment=experiment,
        dataset=dataset,
        k=k,
        threads=threads,
        mode=mode,
        recall=recall,
        a=Spread.of(list(rounds[0].values())),
        b=Spread.of(list(rounds[1].values())),
        ratio=ratio_spread,
        control=control_spread,
        interleaved=interleaved,
        difference=_difference(ratio_spread, control_spread),
        machines=machines,
        note="; ".join(notes),
    )


class _Reading:
    """A curve read off at one recall."""

    def __init__(self, curve: Sequence[Result], figure: str, recall: float) -> None:
        self._figure, self.note = figure, ""
        front = _front([result for result in curve if _value_of(result, figure) is not None], figure)
        if not front:
            raise InvalidArgumentError(f"{curve[0].cell.label} has no figure {figure!r} in {curve[0].experiment}")
        above = [result for result in front if _recall(result) >= recall]
        below = [result for result in front if _recall(result) < recall]
        label = front[0].cell.label
        if not above:
            self.used, self._share = [below[-1]], 0.0
            self.note = f"{label} reaches only recall {_recall(below[-1]):.4f}"
        elif not below or math.isclose(_recall(above[0]), recall):
            self.used, self._share = [above[0]], 0.0
            if _recall(above[0]) - recall > 0.005:
                self.note = f"{label} is read at recall {_recall(above[0]):.4f}, the least that was measured"
        else:
            self.used = [below[-1], above[0]]
            self._share = (recall - _recall(below[-1])) / (_recall(above[0]) - _recall(below[-1]))

    def rounds(self, which: str) -> dict[int, float]:
        """Round to the figure at the recall."""
        each = [_rounds(result, which, self._figure) for result in self.used]
        shared = set(each[0]).intersection(*each)
        return {number: self._between([values[number] for values in each]) for number in sorted(shared)}

    def control_ratios(self) -> list[float]:
        """Control over repeat, of each round."""
        repeats, control = (self.rounds(which) for which in _ROUNDS)
        return [control[number] / repeats[number] for number in repeats.keys() & control.keys()]

    def _between(self, values: Sequence[float]) -> float:
        if len(values) == 1:
            return values[0]
        return math.exp((1 - self._share) * math.log(values[0]) + self._share * math.log(values[1]))


def _front(curve: Sequence[Result], figure: str) -> list[Result]:
    """The cells that no other beats in both, by recall."""
    sign = 1 if figure in ("qps", "fraction_of_limit") else -1
    front: list[Result] = []
    for result in sorted(curve, key=lambda each: (-_recall(each), -sign * (_value_of(each, figure) or 0.0))):
        value = sign * (_value_of(result, figure) or 0.0)
        if not front or value > sign * (_value_of(front[-1], figure) or 0.0):
            front.append(result)
    return front[::-1]


def _value_of(result: Result, figure: str) -> float | None:
    try:
        value = result.median(figure)
    except (AttributeError, TypeError):
        raise InvalidArgumentError(f"{figure!r} is no figure; use qps, cpu_us_per_query, latency_us.p99, ...") from None
    if value is not None and min(result.rounds(figure).values()) <= 0:
        raise InvalidArgumentError(f"{figure} of {result.cell.label} is 0 in a round; there is no ratio to it")
    return value


def _rounds(result: Result, which: str, figure: str) -> Mapping[int, float]:
    repeats: tuple[Repeat, ...] = getattr(result, which)
    return dataclasses.replace(result, repeats=repeats).rounds(figure)


def _difference(ratio: Spread, control: Spread | None) -> str:
    noise = 0.0 if control is None else max(abs(math.log(control.low)), abs(math.log(control.high)))
    if ratio.low <= 1 <= ratio.high or abs(math.log(ratio.median)) <= noise:
        return "none"
    return "higher" if ratio.median > 1 else "lower"
