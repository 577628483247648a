"""``tiervec memory-node``: lends this machine's memory until it is told to stop."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from tiervec.cli.options import byte_size, positive

if TYPE_CHECKING:
    from tiervec.rdma.memory_node.configuration import MemoryNodeConfig
    from tiervec.rpc.limits import CallLimits

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "memory-node",
        help="lend this machine's memory to indexes that others search",
        description="Lends memory until SIGTERM or SIGINT. Prints its address on stderr when it is ready.",
        epilog="docs/remote-memory.md says how to run it on Ethernet, RoCE and InfiniBand, and what is secret.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--listen", metavar="HOST:PORT", required=True, help="address of the control plane; port 0 picks a free one"
    )
    parser.add_argument("--capacity", metavar="SIZE", type=byte_size, required=True, help="memory to lend: 8GiB")
    parser.add_argument("--data-dir", metavar="DIR", help="keep regions here, and serve them again after a restart")
    parser.add_argument("--transports", metavar="LIST", default="tcp", help="of tcp and rdma: rdma,tcp (default: tcp)")
    parser.add_argument("--device", metavar="NAME", help="RDMA device (default: the one with the data plane's address)")
    parser.add_argument("--data-host", metavar="HOST", help="address that readers read at (default: that of --listen)")
    parser.add_argument(
        "--data-port",
        metavar="PORT",
        type=_port,
        default=0,
        help="port that readers read at (default: 0, a free one; with --data-dir the same one after a restart)",
    )
    parser.add_argument(
        "--data-threads", metavar="N", type=positive, default=1, help="threads that answer tcp reads (default: 1)"
    )
    parser.add_argument(
        "--max-readers-per-address",
        metavar="N",
        type=positive,
        default=0,
        help="tcp connections of readers that one address may have (default: three quarters of all)",
    )
    parser.add_argument("--tls-cert", metavar="FILE", help="PEM certificate chain; with --tls-key: TLS only")
    parser.add_argument("--tls-key", metavar="FILE", help="PEM private key")
    parser.add_argument(
        "--client-ca", metavar="FILE", help="PEM authorities: clients must show a certificate of theirs"
    )
    parser.add_argument(
        "--token-file", metavar="FILE", help="one token, or two lines write=TOKEN and read=TOKEN; clients must show one"
    )
    parser.add_argument(
        "--allow-anonymous", action="store_true", help="serve without tokens on an address that other machines reach"
    )
    parser.add_argument(
        "--lock",
        choices=("try", "require", "no"),
        default="try",
        help="lock regions into memory so that they are never swapped (default: try)",
    )
    parser.add_argument(
        "--scrub-rate",
        metavar="SIZE",
        type=byte_size,
        default=16 << 20,
        help="memory verified per second in the background; 0: none (default: 16MiB)",
    )
    _add_limits(parser)
    parser.set_defaults(run=_run, parser=parser)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    bounds = parser.add_argument_group("bounds on clients", "a client is a host: an address without its port")
    for name, text in (
        ("--max-connections", "connections of all clients (default: a quarter of `ulimit -n`, at most 4096)"),
        ("--max-calls-per-peer", "calls of one client that run or wait (default: three quarters of all that may)"),
        ("--max-streams", "health Watches of all clients, and as many reflection streams (default: 256)"),
        ("--max-streams-per-peer", "the same of one client (default: 64)"),
        ("--message-timeout", "seconds within which the message of a call must be there (default: 20)"),
    ):
        bounds.add_argument(name, metavar="N", type=positive, help=text)


def _run(arguments: argparse.Namespace) -> int:
    if (arguments.tls_cert is None) != (arguments.tls_key is None):
        arguments.parser.print_usage(sys.stderr)
        print("tiervec memory-node: error: --tls-cert and --tls-key need each other", file=sys.stderr)
        return 2
    # gRPC's own log lines would come beside our one line about an error.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import logging

    from tiervec.rdma.memory_node.data_planes import raise_descriptor_limit
    from tiervec.rdma.memory_node.server import MemoryNodeServer

    raise_descriptor_limit()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    server = MemoryNodeServer(_config(arguments))
    server.run_until_signalled(lambda: print(f"listening on {server.address}", file=sys.stderr, flush=True))
    return 0


def _config(arguments: argparse.Namespace) -> MemoryNodeConfig:
    from pathlib import Path

    from tiervec.rdma.memory_node.configuration import MemoryNodeConfig
    from tiervec.rpc.listening import TlsFiles
    from tiervec.rpc.tokens import read_token_file

    def path(text: str | None) -> Path | None:
        return None if text is None else Path(text)

    cert, key = path(arguments.tls_cert), path(arguments.tls_key)
    return MemoryNodeConfig(
        listen=arguments.listen,
        capacity_bytes=arguments.capacity,
        data_dir=path(arguments.data_dir),
        transports=tuple(arguments.transports.split(",")),
        device=arguments.device,
        data_host=arguments.data_host,
        data_port=arguments.data_port,
        data_threads=arguments.data_threads,
        max_readers_per_address=arguments.max_readers_per_address,
        tls=None if cert is None or key is None else TlsFiles(cert=cert, key=key),
        client_ca=path(arguments.client_ca),
        tokens=None if arguments.token_file is None else read_token_file(Path(arguments.token_file)),
        allow_anonymous=arguments.allow_anonymous,
        lock_memory=arguments.lock,
        scrub_bytes_per_s=arguments.scrub_rate,
        limits=_limits(arguments),
    )


def _limits(arguments: argparse.Namespace) -> CallLimits:
    from tiervec.rpc.limits import CallLimits

    given = {
        "max_connections": arguments.max_connections,
        "max_calls_per_peer": arguments.max_calls_per_peer,
        "max_streams": arguments.max_streams,
        "max_streams_per_peer": arguments.max_streams_per_peer,
        "message_timeout_s": arguments.message_timeout,
    }
    return CallLimits(**{name: value for name, value in given.items() if value is not None})


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} must be a port, 0 to 65535")
    return int(text)
