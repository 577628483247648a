"""``tiervec publish``: puts the big part of an index into the memory of other machines."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from tiervec.cli.options import add_json, positive

if TYPE_CHECKING:
    from tiervec.placement.publish import PublishReceipt

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "publish",
        help="put an index into the memory of memory nodes",
        description="Sends the tier sections of an index to memory nodes, verifies them there, and makes this version "
        "the current one. Interrupted, it goes on where it was when it is called again.",
        epilog="The token is in TIERVEC_TOKEN or the file TIERVEC_TOKEN_FILE; TIERVEC_CA, TIERVEC_CERT and TIERVEC_KEY "
        "name PEM files for TLS.",
        allow_abbrev=False,
    )
    parser.add_argument("directory", metavar="DIR", help="an index directory")
    parser.add_argument(
        "--to",
        metavar="URL",
        dest="to",
        action="append",
        required=True,
        help="tcp://HOST:PORT[/REGION]; repeat it, or separate nodes by ',', for replicas; join nodes by '+' for "
        "stripes; the region is named after the directory unless the URL names it",
    )
    parser.add_argument(
        "--keep", metavar="N", type=positive, help="remove older versions beyond N, this one among them (default: none)"
    )
    parser.add_argument(
        "--strip", action="store_true", help="remove the tier sections from DIR once they are published and verified"
    )
    parser.add_argument(
        "--node-path", metavar="FILE", help="the nodes take the section from this file below their --data-dir"
    )
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from tiervec.cli.output import print_json
    from tiervec.cli.progress import ProgressReport
    from tiervec.placement.publish import publish

    with ProgressReport() as progress:
        receipt = publish(
            arguments.directory,
            arguments.to,
            keep=arguments.keep,
            strip=arguments.strip,
            node_path=arguments.node_path,
            progress=progress,
        )
    if arguments.json:
        print_json(receipt.as_dict())
    else:
        print(_text(receipt))
    return 0


def _text(receipt: PublishReceipt) -> str:
    from tiervec.arguments.sizes import format_size

    lines = [
        f"{receipt.url}: version {receipt.version}, {format_size(receipt.size_bytes)}, "
        f"{format_size(receipt.sent_bytes)} sent in {receipt.seconds:.1f} s"
    ]
    for node in receipt.nodes:
        part = f"replica {node.replica}" + (f", stripe {node.stripe} of {node.stripes}" if node.stripes > 1 else "")
        lines.append(
            f"  {node.node}  {part}: {node.extents:,} extents verified in its memory, {node.sent_extents:,} sent, "
            f"{node.sampled_bytes:,} bytes read back"
        )
        if node.note:
            lines.append(f"    note: {node.note}")
    lines += [f"  removed {old}" for old in receipt.removed]
    if receipt.stripped_bytes:
        lines.append(f"  {format_size(receipt.stripped_bytes)} removed here; the index opens on that URL only")
    return "\n".join(lines)
