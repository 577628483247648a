"""Options that several commands share, and the types of their values. A wrong value is a usage error (exit 2)."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping

__all__ = [
    "add_json",
    "add_settings",
    "add_threads",
    "add_tier",
    "byte_size",
    "count",
    "index_directory",
    "positive",
    "recall_target",
    "repeats",
    "settings",
]


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")


def add_tier(parser: argparse.ArgumentParser, default: str | None = "dram:") -> None:
    """``--tier URL``."""
    parser.add_argument(
        "--tier",
        metavar="URL",
        default=default,
        help="where the big part of the index is read: dram:, mmap:, ssd:, emulated:rdma-200g, "
        "tcp://HOST:PORT/REGION, ... (default: dram:)",
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    """``--threads N``."""
    parser.add_argument("--threads", metavar="N", type=count, default=0, help="worker threads (default: 0, all CPUs)")


def add_settings(parser: argparse._ActionsContainer, examples: str) -> None:
    """``--set key=value``, repeatable."""
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        dest="settings",
        type=_setting,
        action="append",
        default=[],
        help=f"a parameter; may be repeated; for example {examples}",
    )


def settings(arguments: argparse.Namespace) -> Mapping[str, str]:
    """The ``--set`` options as a map; the last one of a key wins, as with other options."""
    return dict(arguments.settings)


def count(text: str) -> int:
    """An integer of at least 0."""
    return _whole(text, 0)


def positive(text: str) -> int:
    """An integer of at least 1."""
    return _whole(text, 1)


def repeats(text: str) -> int:
    """A number of runs that ends some day."""
    return _whole(text, 1, 100_000)


def recall_target(text: str) -> float:
    """A number above 0 and at most 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number above 0 and at most 1")
    return value


def byte_size(text: str) -> int:
    """A size such as ``8GiB``."""
    from tiervec.arguments.sizes import parse_size
    from tiervec.errors import InvalidArgumentError

    try:
        return parse_size(text)
    except InvalidArgumentError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def index_directory(text: str) -> tuple[str, str]:
    """``NAME=DIR``, or ``DIR`` whose folder name is the name."""
    from pathlib import Path

    name, equals, path = text.partition("=")
    if not equals or os.path.isdir(text):  # the folder's own name may have one
        name, path = Path(text).resolve().name, text
    if not name or not path:
        raise argparse.ArgumentTypeError(f"{text!r} must be NAME=DIR or DIR")
    return name, path


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} must be KEY=VALUE")
    return key, value


def _whole(text: str, least: int, most: int = 2**63 - 1) -> int:
    from tiervec.arguments.parameter_checks import shown

    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"{shown(text)} must be an integer of at least {least}")
    if value > most:
        raise argparse.ArgumentTypeError(f"{shown(text)} must be an integer of at most {most:,}")
    return value
