"""What the programs of this folder share: their command line, and how they print.

parser = program("graph_figures", __doc__, needed=("base", "queries"))
parser.add_argument("--recall", type=float, default=0.95)
raise SystemExit(finish(parser, run, print_figures))
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from tiervec.errors import TiervecError

__all__ = ["finish", "program", "short"]


def program(name: str, doc: str, *, needed: Sequence[str]) -> argparse.ArgumentParser:
    """A parser with `needed` options and ``--json``.

    Args:
        name: Name of the module.
        doc: Its docstring, whose first line says what it does.
        needed: Names of options that must be given.
    """
    parser = argparse.ArgumentParser(prog=f"python -m tiervec.bench.{name}", description=doc.split("\n")[0])
    for option in needed:
        parser.add_argument(f"--{option}", required=True)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    return parser


def finish(
    parser: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace], dict[str, Any]],
    print_figures: Callable[[dict[str, Any]], None],
    *,
    failed: Callable[[dict[str, Any]], bool] = lambda _: False,
) -> int:
    """Parses the command line, runs, and prints; the exit status. An error of ours is one line.

    `failed` says of a result that it is wrong, which the exit status shows.
    """
    arguments = parser.parse_args()
    try:
        result = run(arguments)
    except TiervecError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        json.dump(result, sys.stdout, default=vars)
    else:
        print_figures(result)
    return int(failed(result))


def short(value: Any) -> str:
    """A value in a line of text: four digits of a number."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
