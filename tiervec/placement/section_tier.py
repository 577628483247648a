"""Opens a section of an index on the tier that a URL names: this machine's memory, or memory nodes."""

from __future__ import annotations

import logging
import random
from typing import Final

import xxhash

from tiervec import _core
from tiervec.errors import DataLossError, NotFoundError
from tiervec.index_files.directory import IndexDirectory
from tiervec.rdma.dax import open_dax_region
from tiervec.rdma.extents import EXTENT_BYTES
from tiervec.rdma.remote_url import is_remote

__all__ = ["compare_sample", "default_region_name", "open_section"]

_logger = logging.getLogger(__name__)

#: Extents that an open compares at most, where the tier does not verify all.
MAX_SAMPLED: Final = 8


def open_section(directory: IndexDirectory, name: str, url: str) -> _core.Tier:
    """Opens a tier section.

    A tier that loads the section is compared with its checksum here. Of any other the first, the last and a random
    sample of its extents are, 8 MiB at most, and the reader checks what it reads. The section's file is needed only
    where the tier is of this machine.

    Raises:
        NotFoundError: The file is not here, because the index was published and stripped.
        DataLossError: It is damaged.
    """
    section = directory.section(name)
    if is_remote(url):
        from tiervec.rdma.attach import Content, open_remote  # gRPC is only imported where it is needed

        content = Content(size_bytes=section.bytes, checksum=section.checksum)
        tier: _core.Tier = open_remote(url, content, default_region_name(directory))
        compare_sample(directory, name, tier)
        return tier
    if name in directory.remote_sections:
        where = directory.published_to or "a memory node"
        raise NotFoundError(
            f"{directory.section_path(name)} is not here, it was published to {where}; open the index on that tier"
        )
    if _core.check_tier_url(url)["scheme"] == "dax":
        tier = open_dax_region(
            url,
            directory.section_path(name),
            size_bytes=section.bytes,
            checksum=section.checksum,
            name=default_region_name(directory),
        )
        compare_sample(directory, name, tier)
        return tier
    tier = _core.open_tier(url, directory.section_path(name))
    if url == "ssd:" and tier.profile["note"]:
        _logger.warning("%s on tier %s: %s", directory.path, url, tier.profile["note"])
    if tier.verified_at_open:
        directory.verify_bytes(name, tier.loaded_bytes)
    else:
        compare_sample(directory, name, tier)
    return tier


def compare_sample(directory: IndexDirectory, name: str, tier: _core.Tier) -> None:
    """Compares some extents of a tier with their checksums: the first, the last, and others drawn anew at each open.

    Raises:
        DataLossError: One is not that of the index, on any replica.
    """
    size_bytes, expected = directory.section(name).bytes, directory.extent_checksums(name)
    chosen = random.sample(range(len(expected)), min(len(expected), MAX_SAMPLED - 2))
    for extent in sorted({0, len(expected) - 1, *chosen} if len(expected) > 0 else ()):
        first = extent * EXTENT_BYTES
        length = min(EXTENT_BYTES, size_bytes - first)
        for attempt in range(tier.replicas):
            if xxhash.xxh3_64_intdigest(tier.read(first, length, attempt)) == expected[extent]:
                if attempt > 0:
                    _logger.warning("%s: extent %d is damaged on a replica of %s", directory.path, extent, tier.url)
                break
        else:
            raise DataLossError(
                f"{directory.section_path(name)} on tier {tier.url}: extent {extent} ({length:,} bytes at {first:,}) "
                f"is not that of this index; it is damaged, or of another build: see `tiervec verify {directory.path}`"
            )


def default_region_name(directory: IndexDirectory) -> str:
    """The region name of an index whose URL names none: that of its folder."""
    return directory.path.name
