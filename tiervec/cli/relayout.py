"""``tiervec relayout``: a cluster index in another layout, with the same clusters."""

from __future__ import annotations

import argparse
from typing import Any

from tiervec.cli.options import add_json, add_settings, add_threads, settings

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "relayout",
        help="write a cluster index in another layout",
        description="Writes a cluster index in another layout, with the same clusters: nothing is clustered again. "
        "Without --out the new index takes the place of the old one when it is complete. layout, code, code_bits and "
        "align can change; everything else needs a new build.",
        allow_abbrev=False,
    )
    parser.add_argument("directory", metavar="DIR", help="a cluster index")
    parser.add_argument("--out", metavar="DIR", help="the index directory to create (default: replace DIR)")
    add_settings(parser, "layout=grouped, layout=coded, code_bits=4, align=4096")
    add_threads(parser)
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    import tiervec
    from tiervec.cli.info import info_text
    from tiervec.cli.output import print_json
    from tiervec.cli.progress import ProgressReport
    from tiervec.parameters import build_parameters_class, parse_parameters

    params = parse_parameters(build_parameters_class("cluster"), settings(arguments), "relayout of a cluster index")
    with ProgressReport() as progress:
        info = tiervec.relayout(
            arguments.directory,
            arguments.out,
            params=params,
            threads=arguments.threads,
            progress=progress,
        )
    if arguments.json:
        print_json(info.as_dict())
    else:
        print(info_text(info))
    return 0
