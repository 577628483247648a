"""``tiervec profile``: measures what a tier can do."""

from __future__ import annotations

import argparse
from typing import Any

from tiervec.cli.options import add_json

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "profile",
        help="measure a tier: latency, reads/s and GB/s by read size",
        description="Measures latency, reads/s and GB/s of a tier over read sizes 64 B to 64 KiB; takes some seconds.",
        allow_abbrev=False,
    )
    parser.add_argument("url", metavar="URL", help="a tier, for example dram: or emulated:rdma-200g")
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from tiervec.cli.output import print_json
    from tiervec.cli.progress import ProgressReport
    from tiervec.rdma.profile import profile

    with ProgressReport() as progress:
        measured = profile(
            arguments.url, progress=lambda done, total: progress(f"measuring {arguments.url}", done, total, None)
        )
    if arguments.json:
        print_json(measured.as_dict())
    else:
        print(measured.table())
    return 0
