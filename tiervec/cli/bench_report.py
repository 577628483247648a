"""``tiervec bench report``: figures and tables of finished runs."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["add_report"]


def add_report(commands: Any) -> None:
    """Adds the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "report",
        help="write the report of finished runs",
        description="Writes one HTML file, and its figures and tables as files, from the results of one or more runs.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="folder of a run")
    parser.add_argument("--out", metavar="DIR", help="where to write (default: RUN-report, of the first run)")
    parser.add_argument("--allow-mixed", action="store_true", help="put results of unlike machines together, labelled")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from tiervec.bench.report import write_report

    out = arguments.runs[0].rstrip("/") + "-report" if arguments.out is None else arguments.out
    print(write_report(arguments.runs, out, allow_mixed=arguments.allow_mixed))
    return 0
