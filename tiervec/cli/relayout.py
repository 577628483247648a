"""``tiervec relayout``: an index in another layout, with the same clusters or graph."""

from __future__ import annotations

import argparse
from typing import Any

from tiervec.cli.options import add_json, add_settings, add_threads, byte_size, settings

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "relayout",
        help="write an index in another layout",
        description="Writes an index in another layout, with the same clusters or graph: nothing is built again. "
        "Without --out the new index takes the place of the old one when it is complete. What can change: layout; of "
        "clusters also code, code_bits, spill and align.",
        allow_abbrev=False,
    )
    parser.add_argument("directory", metavar="DIR", help="an index")
    parser.add_argument("--out", metavar="DIR", help="the index directory to create (default: replace DIR)")
    add_settings(parser, "layout=grouped, layout=coded, code_bits=4, align=4096; of a graph layout=sectors")
    add_threads(parser)
    parser.add_argument(
        "--memory-limit", metavar="SIZE", type=byte_size, help="refuse a conversion that needs more: 8GiB"
    )
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    import tiervec
    from tiervec.cli.info import info_text
    from tiervec.cli.output import print_json
    from tiervec.cli.progress import ProgressReport
    from tiervec.index_files.directory import IndexDirectory
    from tiervec.kinds.parameters import build_parameters_class, parse_parameters

    kind = IndexDirectory.open(arguments.directory).manifest.kind
    params = parse_parameters(build_parameters_class(kind), settings(arguments), f"relayout of a {kind} index")
    with ProgressReport() as progress:
        info = tiervec.relayout(
            arguments.directory,
            arguments.out,
            params=params,
            memory_limit=arguments.memory_limit,
            threads=arguments.threads,
            progress=progress,
        )
    if arguments.json:
        print_json(info.as_dict())
    else:
        print(info_text(info))
    return 0
