"""``tiervec info``: what an index directory holds."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from tiervec.cli.options import add_json
from tiervec.cli.output import pairs_text, print_json, table_text

if TYPE_CHECKING:
    from tiervec.api import IndexInfo

__all__ = ["add_parser", "info_text"]


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "info",
        help="describe an index",
        description="Describes an index: what it holds, and what it costs on the tier and in fast memory.",
        allow_abbrev=False,
    )
    parser.add_argument("directory", metavar="DIR", help="an index directory")
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from tiervec.api import IndexInfo
    from tiervec.index_files.directory import IndexDirectory

    directory = IndexDirectory.open(arguments.directory)
    info = IndexInfo.from_manifest(directory.path, directory.manifest)
    if arguments.json:
        print_json(info.as_dict())
    else:
        print(info_text(info))
    return 0


def _recall_facts(info: IndexInfo) -> list[tuple[str, str]]:
    from tiervec.engine.calibration import DEFAULT_TARGET_RECALL, reached

    if info.calibration is None:
        return []
    target, best = info.params.get("target_recall", DEFAULT_TARGET_RECALL), reached(info.calibration)
    text = ", ".join(f"{recall:.3f} for k={k}" for k, recall in best.items())
    missed = [f"k={k}" for k, recall in best.items() if recall < target]
    return [
        ("recall", f"a search aims at {target:g}; calibration reached {text}"),
        *([("warning", f"recall {target:g} is out of reach for {', '.join(missed)}")] if missed else []),
    ]


def info_text(info: IndexInfo) -> str:
    """The description of an index for people."""
    from tiervec.arguments.sizes import format_size
    from tiervec.kinds.registry import index_kind

    document = info.as_dict()
    settings = " ".join(f"{key}={value}" for key, value in document["params"].items())
    on_tier = f"{format_size(info.tier_bytes)} (amplification {info.amplification:.2f})"
    in_fast = f"{format_size(info.fast_bytes)} ({info.fast_bytes_per_vector:.1f} bytes per vector)"
    head = pairs_text(
        [
            ("holds", f"{info.vectors:,} vectors of {info.dim} x {info.dtype}, metric {info.metric}"),
            ("raw vectors", format_size(info.dataset_bytes)),
            ("on the tier", on_tier),
            ("in fast memory", in_fast),
            *index_kind(info.kind).facts(info.details),
            ("built with", settings),
            *_recall_facts(info),
        ]
    )
    rows = [
        [section["name"], section["placement"], f"{section['bytes']:,}", section["checksum"]]
        for section in document["sections"]
    ]
    sections = table_text(["section", "placement", "bytes", "checksum"], rows, right=["bytes"])
    return f"{info.path}: {info.kind} index, format {info.format_version}\n{head}\n\n{sections}"
