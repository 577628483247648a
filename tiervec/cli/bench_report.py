"""``tiervec bench report``: figures and tables of finished runs."""

from __future__ import annotations

import argparse
from typing import Any

from tiervec.errors import UnsupportedError

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
    parser.add_argument("--out", metavar="DIR", required=True, help="where to write")
    parser.add_argument("--allow-mixed", action="store_true", help="put results of unlike machines together, labelled")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    raise UnsupportedError("`tiervec bench report` is not part of this version")
