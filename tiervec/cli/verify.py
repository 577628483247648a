"""``tiervec verify``: compares every byte of an index directory with its checksums."""

from __future__ import annotations

import argparse
import time
from typing import Any

from tiervec.cli.options import add_json

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "verify",
        help="check an index against its checksums",
        description="Reads every file of an index and compares its checksum; the first damaged one is an error.",
        allow_abbrev=False,
    )
    parser.add_argument("directory", metavar="DIR", help="an index directory")
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from tiervec.cli.output import print_json
    from tiervec.cli.progress import ProgressReport
    from tiervec.index_files.directory import IndexDirectory

    directory = IndexDirectory.open(arguments.directory)
    start_s = time.monotonic()

    with ProgressReport() as progress:

        def report(done: int, total: int) -> None:
            progress("verifying", done, total, (time.monotonic() - start_s) * (total - done) / done if done else None)

        sections = directory.verify(report)
    total_bytes = sum(section.bytes for section in sections)
    if arguments.json:
        verified = [
            {"name": section.name, "bytes": section.bytes, "checksum": section.checksum} for section in sections
        ]
        document = {"path": str(directory.path), "ok": True, "bytes": total_bytes, "sections": verified}
        print_json({**document, "remote": sorted(directory.remote_sections)})
    else:
        print(f"{directory.path}: {len(sections)} sections, {total_bytes:,} bytes, all as written")
        for name in sorted(directory.remote_sections):
            print(f"  {name} is remote, at {directory.published_to}, and was not read")
    return 0
