"""``tiervec import``: an index of another system becomes an index directory."""

from __future__ import annotations

import argparse
from typing import Any

from tiervec.cli.options import add_json, add_settings, add_threads, count, settings

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "import",
        help="make an index of one that another system built",
        description="Makes an index of one that another system built.",
        allow_abbrev=False,
    )
    systems = parser.add_subparsers(title="systems", metavar="SYSTEM", required=True)
    diskann: argparse.ArgumentParser = systems.add_parser(
        "diskann",
        help="Microsoft's DiskANN, an index on disk",
        description="Imports an index on disk of Microsoft's DiskANN (*_disk.index): its graph and its vectors, with "
        "codes trained here. Its PQ codes are not used.",
        allow_abbrev=False,
    )
    diskann.add_argument("directory", metavar="DIR", help="the folder of its files, or their common prefix")
    diskann.add_argument("--out", metavar="DIR", required=True, help="the index directory to create; must not exist")
    diskann.add_argument("--layout", choices=("packed", "plain", "sectors"), default="packed", help="(default: packed)")
    diskann.add_argument("--dtype", help="float32, int8 or uint8; needed only where there is no *_metadata.bin")
    diskann.add_argument("--metric", help="l2 or cosine; likewise")
    add_settings(diskann, "code_bits=4")
    add_threads(diskann)
    diskann.add_argument("--seed", metavar="N", type=count, default=0, help="seed of everything random (default: 0)")
    diskann.add_argument(
        "--calibration-queries",
        metavar="FILE",
        help="vectors like the queries to come, to calibrate --target-recall on (default: some of the data)",
    )
    add_json(diskann)
    diskann.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    import tiervec
    from tiervec.cli.info import info_text
    from tiervec.cli.output import print_json
    from tiervec.cli.progress import ProgressReport
    from tiervec.kinds.parameters import build_parameters_class, parse_parameters

    params = parse_parameters(build_parameters_class("graph"), settings(arguments), "build of a graph index")
    with ProgressReport() as progress:
        info = tiervec.import_diskann(
            arguments.directory,
            arguments.out,
            params={"layout": arguments.layout, **params},
            dtype=arguments.dtype,
            metric=arguments.metric,
            threads=arguments.threads,
            seed=arguments.seed,
            progress=progress,
            calibration_queries=arguments.calibration_queries,
        )
    if arguments.json:
        print_json(info.as_dict())
    else:
        print(info_text(info))
    return 0
