"""``tiervec bench``: measures TierVec and other systems on the same data, and compares them."""

from __future__ import annotations

import argparse
from typing import Any

from tiervec.cli.bench_report import add_report
from tiervec.cli.options import add_json

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Adds the command with its subcommands."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "bench",
        help="measure and compare: data sets, systems, runs, reports",
        description="Measures TierVec and other systems on the same data, and compares them.",
        allow_abbrev=False,
    )
    inner = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (_add_list, _add_fetch, _add_setup, _add_run, _add_compare, add_report):
        add(inner)


def _add_list(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "list",
        help="data sets, systems and plans",
        description="Lists the data sets, the systems and the plans that the harness knows, and what is at hand.",
        allow_abbrev=False,
    )
    add_json(parser)
    parser.set_defaults(run=_list)


def _add_fetch(commands: Any) -> None:
    del commands


def _add_setup(commands: Any) -> None:
    del commands


def _add_run(commands: Any) -> None:
    del commands


def _add_compare(commands: Any) -> None:
    del commands


def _list(arguments: argparse.Namespace) -> int:
    import dataclasses

    from tiervec.bench.datasets import load_registry
    from tiervec.cli.output import print_json, table_text

    entries = load_registry().values()
    if arguments.json:
        print_json({"datasets": [dataclasses.asdict(entry) for entry in entries]})
    else:
        print(table_text(["data set", "what"], [[entry.name, entry.title] for entry in entries]))
    return 0
