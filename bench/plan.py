"""Plans: what to measure, as data. A plan is a TOML file; lists are grids, and every combination is one cell.

    title = "What it shows"
    repeats = 5                 # rounds that count, at least 1 (default 5)
    warmups = 1                 # rounds before them that do not
    control = true              # measure every cell twice a round: the A/A ratio beside every A/B
    seed = 1                    # of arrivals and of builds
    queries = 1000              # of each data set only the first so many; absent: all

    [limits]
    build_s = 7200              # a build that takes longer is recorded as hung
    search_s = 600              # one run over all queries

    [[experiment]]
    name = "recall"
    title = "Recall against queries per second"
    datasets = ["sample", "sift1m:100k"]     # NAME or NAME:FIRST_N
    k = 10                                   # all of these may be lists
    threads = 2                              # that search; 0: all allowed CPUs. Builds use all of `affinity`
    affinity = [0, 1]                        # CPUs of the measured processes; absent: those of this process
    batch = 0                                # queries of one call: 0 all of them, 1 one by one
    mode = "closed"                          # "open": queries arrive at fixed rates
    arrival_qps = [1000, 5000]               # with mode = "open"
    arrivals = "poisson"                     # or "fixed"
    seconds = 10                             # length of an open run
    target_recall = 0.95                     # what [experiment.system.tune] aims at
    repeats = 7                              # these four may be set for one experiment
    [[experiment.system]]
    system = "tiervec-graph"                 # `tiervec bench list` has the names
    label = "graph"                          # as figures and comparisons call it; default: the system's name
    tiers = ["dram:", "emulated:rdma-200g"]
    build = { graph_degree = [32, 64] }
    search = { search_list = [32, 64, 128] }
    tune = { beam_width = [1, 2, 4] }        # of this one parameter only the first value that reaches target_recall

    [[experiment]]
    name = "devices"
    kind = "profile"                         # reads of 64 B to 64 KiB on each tier; no index
    tiers = ["dram:", "tcp://loopback"]      # the latter is a memory node that is started for it

    [[experiment]]
    name = "advice"
    kind = "advice"                          # what the advisor predicts for each of our indexes, and what that one does
    datasets = ["sift1m:300k"]
    tiers = ["emulated:rdma-200g"]           # of this machine, or models
    k = 10
    target_recall = 0.95                     # default 0.95
    systems = ["tiervec-graph"]              # with their default parameters; default: this and tiervec-cluster

Values of `tune` go from the least to the most thorough; recall is taken to grow with them. The cells of one experiment
that share data set, k and threads are measured in turn, round by round: a *group*.
"""

from __future__ import annotations

import itertools
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from tiervec.errors import InvalidArgumentError, NotFoundError
from tiervec.machine.durable_files import storage_errors

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["STUDIES", "Experiment", "Group", "Limits", "Plan", "Setting", "SystemEntry", "load_plan", "parse_plan"]

STUDIES: Final = Path(__file__).parent / "studies"
"""The plans that come with the package: `tiervec bench run NAME`."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Seconds after which something counts as hung."""

    build_s: float = 7200.0
    search_s: float = 600.0


@dataclass(frozen=True, kw_only=True)
class SystemEntry:
    """One ``[[experiment.system]]``."""

    system: str
    label: str
    tiers: tuple[str | None, ...] = (None,)
    build: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    search: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    tune: tuple[str, tuple[Any, ...]] | None = None


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One cell to be, before its data set is open and its tuned parameter is known.

    Attributes:
        tune: The parameter and its values in order, or None.
    """

    system: str
    label: str
    tier: str | None
    build: Mapping[str, Any]
    search: Mapping[str, Any]
    tune: tuple[str, tuple[Any, ...]] | None
    arrival_qps: float | None


@dataclass(frozen=True, kw_only=True)
class Group:
    """Settings that are measured in turn."""

    experiment: Experiment
    dataset: str
    k: int
    threads: int
    batch: int
    settings: tuple[Setting, ...]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One ``[[experiment]]``; the module's head says what the keys mean."""

    name: str
    title: str = ""
    kind: Literal["search", "profile", "advice"] = "search"
    datasets: tuple[str, ...] = ()
    k: tuple[int, ...] = (10,)
    threads: tuple[int, ...] = (0,)
    affinity: tuple[int, ...] | None = None
    batch: tuple[int, ...] = (0,)
    mode: Literal["closed", "open"] = "closed"
    arrival_qps: tuple[float, ...] = ()
    arrivals: Literal["poisson", "fixed"] = "poisson"
    seconds: float = 10.0
    target_recall: float | None = None
    repeats: int = 5
    warmups: int = 1
    control: bool = True
    queries: int | None = None
    systems: tuple[SystemEntry, ...] = ()
    tiers: tuple[str, ...] = ()

    def groups(self) -> list[Group]:
        """The groups of a ``search`` or ``advice`` experiment, in the order of the plan."""
        return [
            Group(experiment=self, dataset=dataset, k=k, threads=threads, batch=batch, settings=self._settings())
            for dataset, k, threads, batch in itertools.product(self.datasets, self.k, self.threads, self.batch)
        ]

    def _settings(self) -> tuple[Setting, ...]:
        rates: tuple[float | None, ...] = self.arrival_qps if self.mode == "open" else (None,)
        return tuple(
            Setting(
                system=entry.system,
                label=entry.label,
                tier=tier,
                build=build,
                search=search,
                tune=entry.tune,
                arrival_qps=rate,
            )
            for entry in self.systems
            for tier in entry.tiers
            for build in _grid(entry.build)
            for search in _grid(entry.search)
            for rate in rates
        )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A whole plan.

    Attributes:
        name: The file's name without its suffix.
        text: The TOML as it was.
    """

    name: str
    title: str
    text: str
    seed: int
    limits: Limits
    experiments: tuple[Experiment, ...]


def load_plan(name: str | os.PathLike[str]) -> Plan:
    """Loads a plan that comes with the package, or a file.

    Args:
        name: ``smoke``, ``study``, ..., or the path of a .toml file.

    Raises:
        NotFoundError: There is no such plan.
        InvalidArgumentError: It says something that it cannot say; the sentence names the place.
    """
    path = Path(name)
    if path.suffix != ".toml":
        path = STUDIES / f"{os.fspath(name)}.toml"
        if not path.is_file():
            known = ", ".join(sorted(file.stem for file in STUDIES.glob("*.toml")))
            raise NotFoundError(f"there is no plan {os.fspath(name)!r}; use {known}, or the path of a .toml file")
    with storage_errors(f"reading the plan {path}", path.parent):
        content = path.read_bytes()
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(f"{path} is not UTF-8: {error}") from None
    return parse_plan(text, path.stem, str(path))


def parse_plan(text: str, name: str, source: str = "the plan") -> Plan:
    """The plan that a TOML text describes.

    Args:
        text: TOML.
        name: Name of the plan.
        source: How errors call it.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidArgumentError(f"{source} is not TOML: {error}") from None
    table = _Table(document, source)
    defaults = {key: table.take(key, kind, default) for key, (kind, default) in _DEFAULTS.items()}
    limits = table.table("limits")
    plan = Plan(
        name=name,
        title=table.take("title", str, ""),
        text=text,
        seed=table.take("seed", int, 1),
        limits=Limits(
            build_s=limits.positive("build_s", Limits.build_s), search_s=limits.positive("search_s", Limits.search_s)
        ),
        experiments=tuple(_experiment(each, defaults) for each in table.tables("experiment")),
    )
    limits.finish()
    table.finish()
    if not plan.experiments:
        raise InvalidArgumentError(f"{source} has no [[experiment]]")
    names = [experiment.name for experiment in plan.experiments]
    if len(set(names)) < len(names):
        raise InvalidArgumentError(f"{source} has two experiments {max(names, key=names.count)!r}")
    return plan


_ADVISED: Final = ("tiervec-graph", "tiervec-cluster")  # the kinds of index that the advisor knows

_DEFAULTS: Final[dict[str, tuple[Any, Any]]] = {
    "repeats": (int, 5),
    "warmups": (int, 1),
    "control": (bool, True),
    "queries": (int, None),
}


def _experiment(table: _Table, defaults: Mapping[str, Any]) -> Experiment:
    name = table.take("name", str)
    table.where = f"{table.where} {name!r}"
    kind = table.choice("kind", ("search", "profile", "advice"), "search")
    if kind == "profile":
        experiment = Experiment(
            name=name, title=table.take("title", str, ""), kind="profile", tiers=table.several("tiers", str)
        )
        table.finish()
        return experiment
    if kind == "advice":
        return _advice(name, table, defaults)
    systems = tuple(_system(each) for each in table.tables("system"))
    mode = table.choice("mode", ("closed", "open"), "closed")
    experiment = Experiment(
        name=name,
        title=table.take("title", str, ""),
        datasets=table.several("datasets", str),
        k=table.several("k", int, (10,), least=1),
        threads=table.several("threads", int, (0,), least=0),
        affinity=table.several("affinity", int, (), least=0) or None,
        batch=table.several("batch", int, (1,) if mode == "open" else (0,), least=0),
        mode=mode,
        arrival_qps=table.several("arrival_qps", float, (), least=1e-3),
        arrivals=table.choice("arrivals", ("poisson", "fixed"), "poisson"),
        seconds=table.positive("seconds", 10.0),
        target_recall=table.take("target_recall", float, None),
        systems=systems,
        **{key: table.take(key, kind, defaults[key]) for key, (kind, _) in _DEFAULTS.items()},
    )
    table.finish()
    _check(experiment, table.where)
    return experiment


def _advice(name: str, table: _Table, defaults: Mapping[str, Any]) -> Experiment:
    tiers = table.several("tiers", str)
    systems = table.several("systems", str, _ADVISED)
    for system in systems:
        if system not in _ADVISED:
            raise InvalidArgumentError(
                f"{table.where}: systems has {system!r}; the advisor knows {' and '.join(_ADVISED)}"
            )
    experiment = Experiment(
        name=name,
        title=table.take("title", str, ""),
        kind="advice",
        datasets=table.several("datasets", str),
        k=table.several("k", int, (10,), least=1),
        target_recall=table.take("target_recall", float, 0.95),
        queries=defaults["queries"],
        systems=tuple(SystemEntry(system=system, label=system, tiers=tiers) for system in systems),
    )
    table.finish()
    if not tiers:
        raise InvalidArgumentError(f"{table.where} needs tiers")
    _check(experiment, table.where)
    return experiment


def _check(experiment: Experiment, where: str) -> None:
    if not experiment.datasets or not experiment.systems:
        raise InvalidArgumentError(f"{where} needs datasets and at least one system")
    for key, least in (("repeats", 1), ("warmups", 0), ("queries", 1)):
        value = getattr(experiment, key)
        if value is not None and value < least:
            raise InvalidArgumentError(f"{where}: {key} is {value}; it must be at least {least}")
    if (experiment.mode == "open") != bool(experiment.arrival_qps):
        raise InvalidArgumentError(f'{where}: mode = "open" and arrival_qps need each other')
    if experiment.mode == "open" and 0 in experiment.batch:
        raise InvalidArgumentError(
            f"{where}: batch is 0; queries that arrive one by one are answered 1 or more at a time"
        )
    recall = experiment.target_recall
    if recall is not None:
        _check_recall(recall, where)
    if recall is None and any(entry.tune is not None for entry in experiment.systems):
        raise InvalidArgumentError(f"{where}: tune needs a target_recall to aim at")


def _system(table: _Table) -> SystemEntry:
    system = table.take("system", str)
    table.where = f"{table.where} ({system})"
    tune = {key: _values(value) for key, value in table.take("tune", dict, {}).items()}
    if len(tune) > 1:
        raise InvalidArgumentError(
            f"{table.where}: tune has {len(tune)} parameters; it chooses one, list others in search"
        )
    entry = SystemEntry(
        system=system,
        label=table.take("label", str, system),
        tiers=table.several("tiers", str, ()) or (None,),
        build={key: _values(value) for key, value in table.take("build", dict, {}).items()},
        search={key: _values(value) for key, value in table.take("search", dict, {}).items()},
        tune=next(iter(tune.items()), None),
    )
    table.finish()
    for key, values in [*entry.build.items(), *entry.search.items(), *tune.items()]:
        if not values or not all(isinstance(value, (bool, int, float, str)) for value in values):
            raise InvalidArgumentError(f"{table.where}: {key} must be a number, a text, on/off, or a list of these")
        if any(isinstance(value, float) and not math.isfinite(value) for value in values):
            raise InvalidArgumentError(f"{table.where}: {key} must be finite")
    for recall in entry.search.get("target_recall", ()):
        _check_recall(recall, table.where)
    return entry


def _check_recall(recall: Any, where: str) -> None:
    is_number = isinstance(recall, (int, float)) and not isinstance(recall, bool)
    if not is_number or not 0 < recall <= 1:
        raise InvalidArgumentError(f"{where}: target_recall is {recall!r}; it must be a number above 0 and at most 1")


def _values(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list) else (value,)


def _grid(values: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]


class _Table:
    """A TOML table whose keys are taken one by one; what is left at the end is unknown."""

    def __init__(self, content: Mapping[str, Any], where: str) -> None:
        self._content, self.where, self._asked = dict(content), where, list[str]()

    def take(self, key: str, kind: type, default: Any = ...) -> Any:
        """The value of `key`, which must be of this type."""
        self._asked.append(key)
        value = self._content.pop(key, default)
        if value is ...:
            raise InvalidArgumentError(f"{self.where} has no {key}")
        return value if value is default else self._checked(key, value, kind)

    def choice(self, key: str, choices: Sequence[str], default: str) -> Any:
        """One of several texts."""
        value = self.take(key, str, default)
        if value not in choices:
            raise InvalidArgumentError(f"{self.where}: {key} is {value!r}; it must be {' or '.join(choices)}")
        return value

    def positive(self, key: str, default: float) -> float:
        """A number above 0."""
        value = self.take(key, float, default)
        if not value > 0:
            raise InvalidArgumentError(f"{self.where}: {key} is {value}; it must be above 0")
        return float(value)

    def several(self, key: str, kind: type, default: Any = ..., least: float | None = None) -> tuple[Any, ...]:
        """A value or a list of them, as a tuple."""
        self._asked.append(key)
        value = self._content.pop(key, default)
        if value is ...:
            raise InvalidArgumentError(f"{self.where} has no {key}")
        if value == [] and default is not ... and default:
            raise InvalidArgumentError(f"{self.where}: {key} is []; it must have at least one value")
        values = tuple(
            self._checked(key, each, kind) for each in (value if isinstance(value, (list, tuple)) else [value])
        )
        for each in values:
            if least is not None and each < least:
                raise InvalidArgumentError(f"{self.where}: {key} is {each}; it must be at least {least}")
        return values

    def table(self, key: str) -> _Table:
        """A table, empty when it is absent."""
        return _Table(self.take(key, dict, {}), f"{self.where} [{key}]")

    def tables(self, key: str) -> list[_Table]:
        """A list of tables."""
        found = self.take(key, list, [])
        return [_Table(self._checked(key, each, dict), f"{self.where} [[{key}]]") for each in found]

    def finish(self) -> None:
        """Refuses what nobody asked for."""
        for key in self._content:
            raise InvalidArgumentError(f"{self.where} has an unknown key {key!r}; known: {', '.join(self._asked)}")

    def _checked(self, key: str, value: Any, kind: type) -> Any:
        accepted: tuple[type, ...] = (int, float) if kind is float else (kind,)
        if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
            raise InvalidArgumentError(f"{self.where}: {key} is {value!r}; it must be {_KINDS[kind]}")
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidArgumentError(f"{self.where}: {key} is {value}; it must be finite")
        return float(value) if kind is float and isinstance(value, (int, float)) else value


_KINDS: Final[dict[type, str]] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    dict: "a table",
    list: "a list of tables",
}
