"""``tiervec bench``: measures TierVec and other systems on the same data, and compares them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiervec.cli.bench_report import add_report
from tiervec.cli.options import add_json, recall_target

if TYPE_CHECKING:
    from tiervec.bench.compare import Comparison
    from tiervec.bench.results import AdviceResult, Result
    from tiervec.bench.runner import RunSummary
    from tiervec.bench.systems.registry import SystemSpec

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Adds the command with its subcommands."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "bench",
        help="measure and compare: data sets, systems, runs, reports",
        description="Measures TierVec and other systems on the same data, and compares them.",
        epilog="bench/README.md of the sources says how it measures.",
        allow_abbrev=False,
    )
    inner = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (_add_list, _add_fetch, _add_setup, _add_run, _add_compare, add_report):
        add(inner)


def _add_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cache",
        metavar="DIR",
        type=Path,
        help="data sets, built indexes and environments (default: $TIERVEC_CACHE, or ~/.cache/tiervec)",
    )


def _cache(arguments: argparse.Namespace) -> Path:
    from tiervec.bench.datasets import default_cache

    return arguments.cache or default_cache()


def _add_list(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "list",
        help="data sets, systems and plans",
        description="Lists the data sets, the systems and the plans that the harness knows, and what is at hand.",
        allow_abbrev=False,
    )
    _add_cache(parser)
    add_json(parser)
    parser.set_defaults(run=_list)


def _add_fetch(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "fetch",
        help="download a data set, or give files of your own a name",
        description="Downloads a data set, or its first vectors: NAME:10M. An interrupted download goes on. With "
        "--path it downloads nothing and gives files of your own the name.",
        allow_abbrev=False,
    )
    parser.add_argument("dataset", metavar="NAME", help="a data set of `list`, or NAME:FIRST_N, such as bigann:10M")
    parser.add_argument("--path", metavar="FILE", help="vectors of your own, in any format of `tiervec build`")
    parser.add_argument("--queries", metavar="FILE", help="with --path: queries (default: some vectors, taken out)")
    parser.add_argument("--ground-truth", metavar="FILE", help="with --path: true neighbours (default: computed)")
    parser.add_argument(
        "--metric", help="with --path: l2, ip or cosine (default: that of a data set of `list`, else l2)"
    )
    _add_cache(parser)
    parser.set_defaults(run=_fetch, parser=parser)


def _add_setup(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "setup",
        help="install a system that needs a virtual environment of its own",
        description="Makes a virtual environment for a system whose requirements clash with ours, in the cache.",
        allow_abbrev=False,
    )
    parser.add_argument("system", metavar="SYSTEM", help="such as diskannpy-disk")
    parser.add_argument("--accept-licence", action="store_true", help="you have read the terms that it names")
    _add_cache(parser)
    parser.set_defaults(run=_setup)


def _add_run(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "run",
        help="measure what a plan says",
        description="Measures what a plan says. Interrupted, the same command goes on: finished cells and built "
        "indexes are kept. A system that crashes, hangs or is missing is recorded as such, and the run goes on.",
        allow_abbrev=False,
    )
    parser.add_argument("plan", metavar="PLAN", help="smoke, another plan of `list`, or the path of a .toml file")
    parser.add_argument("--quick", action="store_true", help="with the plan study: the shorter plan quick")
    parser.add_argument("--name", metavar="NAME", help="name of the run (default: the plan's)")
    parser.add_argument(
        "--results", metavar="DIR", type=Path, default=Path("results"), help="folder of runs (default: results)"
    )
    parser.add_argument(
        "--dataset", metavar="NAME", dest="datasets", action="append", default=[], help="instead of those of the plan"
    )
    parser.add_argument(
        "--experiment",
        metavar="NAME",
        dest="experiments",
        action="append",
        default=[],
        help="only this one of the plan; may be repeated. The same run may take others later",
    )
    parser.add_argument("--setup", action="store_true", help="make virtual environments that are missing")
    parser.add_argument(
        "--retry-failed", action="store_true", help="measure again what crashed, hung, failed or missed"
    )
    parser.add_argument("--reuse-indexes", action="store_true", help="take indexes that another version built")
    _add_cache(parser)
    add_json(parser)
    parser.set_defaults(run=_run)


def _add_compare(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "compare",
        help="two systems at equal recall",
        description="Divides a figure of two systems at equal recall, round by round, and shows beside it what the "
        "same system against itself gave (A/A).",
        allow_abbrev=False,
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="folder of a run")
    parser.add_argument("--a", metavar="SYSTEM", required=True, help="a label or a system; with @TIER for one tier")
    parser.add_argument("--b", metavar="SYSTEM", required=True, help="against what")
    parser.add_argument("--figure", default="qps", help="qps, cpu_us_per_query, latency_us.p99, ... (default: qps)")
    parser.add_argument(
        "--recall",
        metavar="R",
        dest="recalls",
        type=recall_target,
        action="append",
        default=[],
        help="at this recall; may be repeated (default: usual ones that both reach)",
    )
    parser.add_argument("--allow-mixed", action="store_true", help="compare results of unlike machines, labelled")
    add_json(parser)
    parser.set_defaults(run=_compare)


def _list(arguments: argparse.Namespace) -> int:
    import dataclasses

    from tiervec.bench.datasets import is_at_hand, load_registry
    from tiervec.bench.plan import STUDIES, load_plan
    from tiervec.bench.systems.registry import SYSTEMS
    from tiervec.cli.output import print_json, table_text

    cache = _cache(arguments)
    datasets = [
        {**dataclasses.asdict(entry), "at_hand": is_at_hand(entry, cache)} for entry in load_registry().values()
    ]
    systems = [{"name": spec.name, "title": spec.title, "state": _state_of(spec, cache)} for spec in SYSTEMS.values()]
    plans = [{"name": path.stem, "title": load_plan(path).title} for path in sorted(STUDIES.glob("*.toml"))]
    if arguments.json:
        print_json({"datasets": datasets, "systems": systems, "plans": plans})
        return 0
    dataset_rows = [
        [entry["name"], "here" if entry["at_hand"] else _how_to_get(entry), _shape(entry), entry["title"]]
        for entry in datasets
    ]
    system_rows = [[system["name"], system["state"], system["title"]] for system in systems]
    print(table_text(["data set", "at hand", "vectors", "what"], dataset_rows, right=["vectors"]) + "\n")
    print(table_text(["system", "at hand", "what"], system_rows) + "\n")
    print(table_text(["plan", "what"], [[plan["name"], plan["title"]] for plan in plans]))
    return 0


def _state_of(spec: SystemSpec, cache: Path) -> str:
    import importlib.util

    from tiervec.bench.systems.environments import python_of

    if spec.imports is not None:
        return _state_of(spec.imports, cache)
    if spec.environment is not None:
        return "`setup`" if python_of(spec, cache / "venvs") is None else "here"
    return "here" if importlib.util.find_spec(spec.module) is not None else "not installed"


def _how_to_get(entry: dict[str, Any]) -> str:
    return {"download": "`fetch`", "local": "TIERVEC_DATA"}.get(entry["source"], "by hand")


def _shape(entry: dict[str, Any]) -> str:
    if entry["dim"] is None:
        return "as you like"
    count = "" if entry["n"] is None else f"{entry['n']:,} "
    return f"{count}x {entry['dim']} {entry['dtype']}"


def _fetch(arguments: argparse.Namespace) -> int:
    from tiervec.bench.datasets import LocalFiles, load_registry, remember_files
    from tiervec.bench.datasets.fetch import fetch
    from tiervec.cli.progress import ProgressReport

    if arguments.path is None:
        if arguments.queries is not None or arguments.ground_truth is not None:
            arguments.parser.print_usage(sys.stderr)
            print("tiervec bench fetch: error: --queries and --ground-truth need --path", file=sys.stderr)
            return 2
        with ProgressReport() as progress:
            paths = fetch(arguments.dataset, cache=_cache(arguments), progress=progress)
        print("\n".join(map(str, paths)) or f"{arguments.dataset} is at hand: nothing to fetch")
        return 0
    entry = load_registry().get(arguments.dataset)
    files = LocalFiles(
        base=arguments.path,
        queries=arguments.queries,
        ground_truth=arguments.ground_truth,
        metric=arguments.metric or ("l2" if entry is None else entry.metric),
    )
    remember_files(arguments.dataset, files, _cache(arguments))
    print(f"{arguments.dataset} is {arguments.path}")
    return 0


def _setup(arguments: argparse.Namespace) -> int:
    from tiervec.bench.systems.environments import make_environment
    from tiervec.bench.systems.registry import find_system

    spec = find_system(arguments.system)
    spec = spec.imports or spec
    python = make_environment(
        spec,
        _cache(arguments) / "venvs",
        accept_licence=arguments.accept_licence,
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    print(f"{spec.name} runs in {python}" + ("" if spec.environment else " (this environment)"))
    return 0


def _run(arguments: argparse.Namespace) -> int:
    from tiervec.bench.plan import load_plan
    from tiervec.bench.runner import RunOptions, run_plan
    from tiervec.cli.output import print_json
    from tiervec.cli.progress import ProgressReport
    from tiervec.errors import InvalidArgumentError

    if arguments.quick and arguments.plan != "study":
        raise InvalidArgumentError(f"--quick is the shorter form of the plan study, not of {arguments.plan}")
    plan = load_plan("quick" if arguments.quick else arguments.plan)
    options = RunOptions(
        folder=arguments.results / (arguments.name or plan.name),
        cache=_cache(arguments),
        setup=arguments.setup,
        retry_failed=arguments.retry_failed,
        reuse_indexes=arguments.reuse_indexes,
        datasets=tuple(arguments.datasets),
        experiments=tuple(arguments.experiments),
    )
    try:
        with ProgressReport() as progress:
            summary = run_plan(plan, options, progress=progress)
    except KeyboardInterrupt:
        print("finished cells are kept; the same command goes on", file=sys.stderr)
        raise
    if arguments.json:
        print_json(
            {
                "run": options.folder.name,
                "folder": str(summary.folder),
                "measured": summary.measured,
                "cells": [_cell_document(result) for result in summary.results],
                "profiles": [
                    {"tier": each.tier, "status": each.status, "reason": each.reason} for each in summary.profiles
                ],
                "advice": [_advice_document(result) for result in summary.advice],
            }
        )
    else:
        print(_summary_text(summary))
    return 0


def _cell_document(result: Result) -> dict[str, Any]:
    return {
        **_outcome(result),
        "build": dict(result.cell.build),
        "search": dict(result.cell.search),
        "recall": result.median("recall"),
        "qps": result.median("qps"),
        "latency_us_p99": result.median("latency_us.p99"),
    }


def _advice_document(result: AdviceResult) -> dict[str, Any]:
    return {**_outcome(result), "check": result.check}


def _outcome(result: Result | AdviceResult) -> dict[str, Any]:
    """What was measured, and what became of it."""
    cell = result.cell
    return {
        "experiment": result.experiment,
        "label": cell.label,
        "dataset": cell.dataset.name,
        "n": cell.dataset.n,
        "tier": cell.tier,
        "provenance": result.provenance,
        "status": result.status,
        "reason": result.reason,
    }


def _summary_text(summary: RunSummary) -> str:
    from tiervec.bench.interleaved import Spread
    from tiervec.cli.output import table_text

    rows = []
    for result in summary.results:
        cell, qps, recall = result.cell, list(result.rounds("qps").values()), result.median("recall")
        params = " ".join(f"{key}={value}" for key, value in {**cell.build, **cell.search}.items())
        name = cell.label if cell.tier in (None, "dram:") else f"{cell.label}@{cell.tier}"
        emulated = " (emulated)" if result.provenance == "emulated" else ""
        rows.append(
            [
                result.experiment,
                name + emulated,
                params,
                "" if recall is None else f"{recall:.4f}",
                f"{Spread.of(qps):,.0f}" if qps else "",
                "" if result.status == "ok" else f"{result.status}: {result.reason}",
            ]
        )
    for advice in summary.advice:
        rows.append(_advice_row(advice))
    for profile in summary.profiles:
        failed = "" if profile.status == "ok" else f"{profile.status}: {profile.reason}"
        rows.append([profile.experiment, profile.tier, "reads by size", "", "", failed])
    header = ["experiment", "system", "parameters", "recall", "queries/s", ""]
    return f"{summary.folder}: {len(summary.results)} cells\n{table_text(header, rows, right=['queries/s'])}"


def _advice_row(result: AdviceResult) -> list[str]:
    emulated = " (emulated)" if result.provenance == "emulated" else ""
    name = f"{result.cell.label}@{result.cell.tier}{emulated}"
    if result.check is None:
        return [result.experiment, name, "", "", "", f"{result.status}: {result.reason}"]
    qps = result.check["figures"]["QPS"]
    predicted = f"predicted {qps['predicted']:,.0f} queries/s ({qps['error']:+.0%})"
    return [result.experiment, name, predicted, f"{result.check['recall']:.4f}", f"{qps['measured']:,.0f}", ""]


def _compare(arguments: argparse.Namespace) -> int:
    import dataclasses

    from tiervec.bench.compare import compare
    from tiervec.bench.machines import environment_label, machine_letters, machine_of
    from tiervec.bench.result_files import load_results
    from tiervec.cli.output import print_json

    results = load_results(arguments.runs, allow_mixed=arguments.allow_mixed)
    found = compare(results, arguments.a, arguments.b, figure=arguments.figure, recalls=arguments.recalls)
    letters = machine_letters(result.environment for result in results)
    labels = {letters[machine_of(result.environment)]: environment_label(result.environment) for result in results}
    machines = labels if len(labels) > 1 else {}
    if arguments.json:
        print_json(
            {
                "a": arguments.a,
                "b": arguments.b,
                "figure": arguments.figure,
                "machines": machines,
                "comparisons": [dataclasses.asdict(each) for each in found],
            }
        )
    else:
        for letter, label in machines.items():
            print(f"[{letter}] {label}")
        print(_comparison_text(found, arguments))
    return 0


def _comparison_text(found: list[Comparison], arguments: argparse.Namespace) -> str:
    from tiervec.cli.output import table_text

    rows = [
        [
            each.experiment,
            each.dataset,
            str(each.k),
            str(each.threads),
            each.mode,
            " / ".join(f"[{letter}]" for letter in each.machines),
            f"{each.recall:.3f}",
            f"{each.a:.4g}",
            f"{each.b:.4g}",
            f"{each.ratio:.2f}",
            "" if each.control is None else f"{each.control:.2f}",
            {"none": "no difference"}.get(each.difference, each.difference) + (f"; {each.note}" if each.note else ""),
        ]
        for each in found
    ]
    figures = ["recall", arguments.a, arguments.b, "A/B", "A/A", ""]
    header = ["experiment", "data", "k", "threads", "mode", "A / B on", *figures]
    if not any(each.machines for each in found):  # of one machine nobody needs the column
        header, rows = [*header[:5], *header[6:]], [[*row[:5], *row[6:]] for row in rows]
    return f"{arguments.figure}, median (least to most); A = {arguments.a}, B = {arguments.b}\n" + table_text(
        header, rows
    )
