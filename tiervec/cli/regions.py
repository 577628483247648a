"""``tiervec regions``: what a memory node holds, and what it has done."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from tiervec.cli.options import add_json

if TYPE_CHECKING:
    from tiervec.rdma.memory_node.client import MemoryNodeClient

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "regions",
        help="list or delete the regions of a memory node",
        description="Lists the regions of a memory node with its memory and counters, or deletes a version of one.",
        allow_abbrev=False,
    )
    parser.add_argument("node", metavar="HOST:PORT", help="control plane of a memory node")
    parser.add_argument("--delete", metavar="REGION/VERSION", help="remove this version; its readers are refused then")
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from tiervec.cli.output import print_json
    from tiervec.rdma.memory_node.client import MemoryNodeClient

    with MemoryNodeClient(arguments.node) as client:
        if arguments.delete is not None:
            return _delete(client, arguments)
        document = _document(client)
    if arguments.json:
        print_json(document)
    else:
        print(_text(document))
    return 0


def _delete(client: MemoryNodeClient, arguments: argparse.Namespace) -> int:
    from tiervec.arguments.sizes import format_size
    from tiervec.cli.output import print_json

    name, _, version = arguments.delete.partition("/")
    freed = client.delete(name, version)
    if arguments.json:
        print_json({"node": arguments.node, "deleted": arguments.delete, "freed_bytes": freed})
    else:
        print(f"{arguments.node}: {arguments.delete} deleted, {format_size(freed)} free again")
    return 0


def _document(client: MemoryNodeClient) -> dict[str, Any]:
    from tiervec.rdma.memory_node._generated.memory_node_pb2 import RegionState

    node, stats, regions = client.describe(), client.stats(), client.list()
    return {
        "node": client.address,
        "version": node.version,
        "transports": list(node.transports),
        "persistent": node.persistent,
        "capacity_bytes": stats.capacity_bytes,
        "used_bytes": stats.used_bytes,
        "locked_bytes": stats.locked_bytes,
        "uptime_s": stats.uptime_s,
        "cpu_s": stats.cpu_s,
        "damaged_regions": stats.damaged_regions,
        "uploaded_extents": stats.uploaded_extents,
        "refused_extents": stats.refused_extents,
        "attaches": stats.attaches,
        "refused_calls": stats.refused_calls,
        "scrub": {
            "bytes_per_s": stats.scrub.bytes_per_s,
            "extents_verified": stats.scrub.extents_verified,
            "passes": stats.scrub.passes,
            "extents_damaged": stats.scrub.extents_damaged,
            "extents_repaired": stats.scrub.extents_repaired,
        },
        "data_planes": [
            {"transport": plane.transport, "port": plane.port, **dict(sorted(plane.counters.items()))}
            for plane in stats.data_planes
        ],
        "regions": [
            {
                "name": region.name,
                "version": region.version,
                "state": RegionState.Name(region.state).removeprefix("REGION_STATE_").lower(),
                "current": region.current,
                "size_bytes": region.size_bytes,
                "extents": region.extents,
                "extents_present": region.extents_present,
                "locked": region.locked,
                "sealed_at_s": region.sealed_at_s,
                "damage": region.damage,
            }
            for region in regions
        ],
    }


def _text(document: dict[str, Any]) -> str:
    from tiervec.arguments.sizes import format_size
    from tiervec.cli.output import table_text

    scrub = document["scrub"]
    lines = [
        f"{document['node']}: tiervec {document['version']}, {', '.join(document['transports'])}, "
        f"{format_size(document['used_bytes'])} of {format_size(document['capacity_bytes'])} in use "
        f"({format_size(document['locked_bytes'])} locked), up {document['uptime_s']:,.0f} s, "
        f"{document['cpu_s']:.1f} s of CPU",
        f"  verified in the background: {scrub['extents_verified']:,} extents in {scrub['passes']:,} passes, "
        f"{scrub['extents_damaged']:,} damaged, {scrub['extents_repaired']:,} repaired",
    ]
    for plane in document["data_planes"]:
        counters = ", ".join(
            f"{key} {value:,.0f}" if value == int(value) else f"{key} {value:,.3f}"
            for key, value in plane.items()
            if key not in ("transport", "port")
        )
        lines.append(f"  {plane['transport']} on port {plane['port']}: {counters}")
    rows = [
        (
            region["name"],
            region["version"],
            region["state"] + (", current" if region["current"] else ""),
            format_size(region["size_bytes"]),
            f"{region['extents_present']:,} of {region['extents']:,}",
        )
        for region in document["regions"]
    ]
    if rows:
        lines += ["", table_text(("region", "version", "state", "size", "extents"), rows, right=("size", "extents"))]
    lines += [
        f"  {region['name']} {region['version']}: {region['damage']}"
        for region in document["regions"]
        if region["damage"]
    ]
    return "\n".join(lines)
