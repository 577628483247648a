"""Opens a section of an index on the tier that a URL names: this machine's memory, or memory nodes."""

from __future__ import annotations

import logging

from tiervec import _core
from tiervec.errors import NotFoundError
from tiervec.index_directory import IndexDirectory
from tiervec.rdma.dax import open_dax_region
from tiervec.rdma.remote_url import is_remote

__all__ = ["default_region_name", "open_section"]

_logger = logging.getLogger(__name__)


def open_section(directory: IndexDirectory, name: str, url: str) -> _core.Tier:
    """Opens a tier section.

    A tier that loads the section is compared with its checksum here; on any other the reader checks what it reads. The
    section's file is needed only where the tier is of this machine.

    Raises:
        NotFoundError: The file is not here, because the index was published and stripped.
        DataLossError: It is damaged.
    """
    section = directory.section(name)
    if is_remote(url):
        from tiervec.rdma.attach import Content, open_remote  # gRPC is only imported where it is needed

        content = Content(size_bytes=section.bytes, checksum=section.checksum)
        return open_remote(url, content, default_region_name(directory))
    if name in directory.remote_sections:
        where = directory.published_to or "a memory node"
        raise NotFoundError(
            f"{directory.section_path(name)} is not here, it was published to {where}; open the index on that tier"
        )
    if _core.check_tier_url(url)["scheme"] == "dax":
        return open_dax_region(
            url,
            directory.section_path(name),
            size_bytes=section.bytes,
            checksum=section.checksum,
            name=default_region_name(directory),
        )
    tier = _core.open_tier(url, directory.section_path(name))
    if url == "ssd:" and tier.profile["note"]:
        _logger.warning("%s on tier %s: %s", directory.path, url, tier.profile["note"])
    if tier.verified_at_open:
        directory.verify_bytes(name, tier.loaded_bytes)
    return tier


def default_region_name(directory: IndexDirectory) -> str:
    """The region name of an index whose URL names none: that of its folder."""
    return directory.path.name
