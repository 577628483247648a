"""One figure by itself: ``python -m tiervec.bench.figures.NAME RUN... --out DIR``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tiervec.bench.figures import figures
from tiervec.bench.figures.files import write_figure
from tiervec.bench.figures.run_data import load
from tiervec.errors import TiervecError
from tiervec.machine.durable_files import storage_errors

__all__ = ["main"]


def main(name: str) -> None:
    """Writes one figure as SVG, PNG and CSV."""
    parser = argparse.ArgumentParser(prog=f"python -m tiervec.bench.figures.{name}", allow_abbrev=False)
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="folder of a run")
    parser.add_argument("--out", metavar="DIR", required=True, type=Path, help="where to write")
    parser.add_argument("--allow-mixed", action="store_true", help="put results of unlike machines together, labelled")
    arguments = parser.parse_args()
    try:
        module = next(each for each in figures() if name == each.NAME)
        data = load(arguments.runs, allow_mixed=arguments.allow_mixed)
        with storage_errors(f"writing the figure to {arguments.out}", arguments.out.parent):
            arguments.out.mkdir(parents=True, exist_ok=True)
            written = write_figure(module, data, arguments.out)
    except TiervecError as error:
        sys.exit(f"{parser.prog}: {error}")
    if written is None:
        sys.exit(f"{parser.prog}: these runs have nothing for this figure")
