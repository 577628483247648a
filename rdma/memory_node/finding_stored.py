"""What a node that starts finds in its data directory."""

from __future__ import annotations

import logging

from tiervec.arguments.sizes import format_size
from tiervec.errors import ResourceExhaustedError
from tiervec.rdma.memory_node.memory import memory_bytes
from tiervec.rdma.memory_node.region import Region, RegionState
from tiervec.rdma.memory_node.region_table import RegionTable
from tiervec.rdma.memory_node.storage import RegionStorage, StoredRegion

__all__ = ["find_stored"]

_log = logging.getLogger(__name__)


def find_stored(storage: RegionStorage, table: RegionTable, capacity_bytes: int) -> tuple[list[Region], bool]:
    """Puts the stored regions, and which are current, into a table that is empty.

    A region that cannot be served is DAMAGED there and says why.

    Args:
        storage: The data directory.
        table: Where they are listed from now on.
        capacity_bytes: Most bytes for all regions together.

    Returns:
        The regions to load, and whether current versions are stored that are not there.

    Raises:
        ResourceExhaustedError: The regions do not fit the capacity.
    """
    to_load = []
    for stored in sorted(storage.stored(), key=lambda found: bool(found.damage)):  # the whole copy of two
        need = table.used_bytes + memory_bytes(stored.size_bytes)
        if need > capacity_bytes:
            raise ResourceExhaustedError(
                f"the regions in {storage.folder} take more than the capacity of {format_size(capacity_bytes)}; "
                f"give at least {format_size(need)}, or remove regions"
            )
        region = _region(stored)
        if not table.add_stored(region):
            _log.error("regions/%016x is a second copy of %s; it is left alone", stored.region_id, region.label)
        elif stored.damage:
            _log.error("%s is not served: %s", region.label, stored.damage)
        else:
            to_load.append(region)
    held = {(region.name, region.version) for region in table.list()}
    current = storage.current()
    table.current = {name: version for name, version in current.items() if (name, version) in held}
    return to_load, len(table.current) < len(current)


def _region(stored: StoredRegion) -> Region:
    region = Region(
        name=stored.name,
        version=stored.version,
        size_bytes=stored.size_bytes,
        memory=None,
        region_id=stored.region_id,
        token=stored.token,
        state=RegionState.LOADING,
        sealed_at_s=stored.sealed_at_s,
    )
    region.checksums[:] = stored.checksums
    if stored.damage:
        region.lose(stored.damage)
    return region
