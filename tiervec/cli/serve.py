"""``tiervec serve``: answers searches over gRPC until it is told to stop."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

from tiervec.cli.options import add_threads, add_tier, index_directory

if TYPE_CHECKING:
    from tiervec.api import Index
    from tiervec.service.configuration import IndexEntry, ServeConfig

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "serve",
        help="serve indexes over gRPC",
        description="Serves indexes over gRPC until SIGTERM or SIGINT. Prints its address on stderr when it is ready.",
        epilog="docs/serve.example.toml documents the configuration file. Options win over it.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="FILE", help="TOML file")
    parser.add_argument(
        "--index",
        metavar="NAME=DIR",
        dest="indexes",
        type=index_directory,
        action="append",
        default=[],
        help="an index to serve; may be repeated; without NAME= the folder's name is used",
    )
    add_tier(parser, default=None)
    parser.add_argument("--listen", metavar="HOST:PORT", help="port 0 picks a free one (default: 127.0.0.1:7700)")
    add_threads(parser)
    parser.add_argument(
        "--tls-cert", metavar="FILE", help="PEM certificate chain; with --tls-key the server speaks TLS"
    )
    parser.add_argument("--tls-key", metavar="FILE", help="PEM private key")
    parser.set_defaults(run=_run, parser=parser)


def _run(arguments: argparse.Namespace) -> int:
    if (arguments.tls_cert is None) != (arguments.tls_key is None):
        return _usage_error(arguments, "--tls-cert and --tls-key need each other")
    # gRPC's own log lines would come beside our one line about an error.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    config = _config(arguments)
    if not config.indexes:
        return _usage_error(arguments, "nothing to serve: give --index NAME=DIR, or --config FILE with an [[index]]")
    _serve(config)
    return 0


def _serve(config: ServeConfig) -> None:
    import logging

    from tiervec.service.catalogue import IndexCatalogue
    from tiervec.service.server import Server

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with contextlib.ExitStack() as opened:
        indexes = {entry.name: opened.enter_context(_open(entry, config)) for entry in config.indexes}
        server = Server(IndexCatalogue(indexes), config)
        opened.pop_all()  # the server closes them
    server.run_until_signalled(lambda: print(f"listening on {server.address}", file=sys.stderr, flush=True))


def _open(entry: IndexEntry, config: ServeConfig) -> Index:
    import logging
    import time

    import numpy as np

    import tiervec
    from tiervec.rdma.remote_url import is_remote

    began, tier = time.perf_counter(), entry.tier or config.tier
    index = tiervec.open(entry.path, tier=tier, fast_memory=entry.fast_memory, threads=config.threads)
    if is_remote(tier):
        opened_s = time.perf_counter() - began
        query = np.ones((1, index.info.dim), dtype=index.info.dtype)
        try:
            index.search(query, 1)
        except BaseException:
            index.close()
            raise
        logging.getLogger(__name__).info(
            "%s: attached to %s and loaded the codes in %.3f s; first query answered after %.3f s",
            entry.name,
            index.tier,
            opened_s,
            time.perf_counter() - began,
        )
    return index


def _config(arguments: argparse.Namespace) -> ServeConfig:
    import dataclasses
    from pathlib import Path

    from tiervec.service.configuration import IndexEntry, ServeConfig, TlsFiles, load_config

    config = ServeConfig() if arguments.config is None else load_config(Path(arguments.config))
    given = [IndexEntry(name=name, path=Path(path)) for name, path in arguments.indexes]
    changes: dict[str, Any] = {"indexes": (*config.indexes, *given)}
    if arguments.listen is not None:
        changes["listen"] = arguments.listen
    if arguments.tier is not None:
        changes["tier"] = arguments.tier
    if arguments.threads:
        changes["threads"] = arguments.threads
    if arguments.tls_cert is not None:
        changes["tls"] = TlsFiles(cert=Path(arguments.tls_cert), key=Path(arguments.tls_key))
    return dataclasses.replace(config, **changes)


def _usage_error(arguments: argparse.Namespace, text: str) -> int:
    arguments.parser.print_usage(sys.stderr)
    print(f"tiervec serve: error: {text}", file=sys.stderr)
    return 2
