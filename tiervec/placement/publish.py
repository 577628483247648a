"""Puts the tier sections of an index into the memory of other machines.

    check the file against the manifest, extent by extent
    on every node at once:   create -> send the extents it lacks -> seal, which verifies them in its memory
                             -> compare its checksums with ours -> read some of it through the data plane
    when all nodes have it:  switch the name to the new version on each -> remove versions beyond `keep`

A version is named after the checksum of its content. A reader asks for the version that its manifest names, so it never
sees a mixture, and a new version beside the old one disturbs nobody. Publishing again sends only what is missing.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from tiervec.arguments.parameter_checks import check_callback, check_path, check_switch, check_text, check_whole, shown
from tiervec.errors import DataLossError, InvalidArgumentError, UnsupportedError
from tiervec.index_files.directory import IndexDirectory, Section
from tiervec.machine.interruptible import BuildProgress
from tiervec.rdma.memory_node.names import EXTENT_BYTES, extents_of
from tiervec.rdma.remote_url import RemoteUrl

__all__ = ["NodeReceipt", "PublishReceipt", "publish"]


@dataclass(frozen=True, kw_only=True)
class NodeReceipt:
    """What happened on one memory node.

    Attributes:
        node: Its control plane.
        replica: Which copy.
        stripe: Which part of the copy.
        stripes: Parts of the copy.
        version: Version of the region there.
        size_bytes: Size of the region there, in bytes.
        extents: In all.
        sent_extents: By this call; the others were there.
        sampled_bytes: Read back through the data plane and compared.
        note: What was not done, and why; empty mostly.
    """

    node: str
    replica: int
    stripe: int
    stripes: int
    version: str
    size_bytes: int
    extents: int
    sent_extents: int
    sampled_bytes: int
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class PublishReceipt:
    """What publishing did.

    Attributes:
        url: What to open the index on.
        region: Name of the region.
        version: Version, named by the content.
        size_bytes: Size of one copy, in bytes.
        sent_bytes: By this call, to all nodes.
        nodes: One entry per node.
        removed: ``NODE VERSION`` of old versions that were removed.
        stripped_bytes: Freed in the index directory.
        seconds: The call took.
    """

    url: str
    region: str
    version: str
    size_bytes: int
    sent_bytes: int
    nodes: tuple[NodeReceipt, ...]
    removed: tuple[str, ...] = ()
    stripped_bytes: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return dataclasses.asdict(self)


def publish(
    path: str | os.PathLike[str],
    to: str | Sequence[str],
    *,
    keep: int | None = None,
    strip: bool = False,
    node_path: str | None = None,
    progress: BuildProgress | None = None,
) -> PublishReceipt:
    """Publishes an index to memory nodes, so that compute nodes can open it there.

    Args:
        path: The index directory.
        to: One or several URLs such as ``tcp://HOST:PORT/REGION``, each a replica (or several, separated by commas; a
            replica may be striped: ``tcp://A:1+B:1/REGION``). A URL without a region gets the name of the directory.
        keep: Remove older versions of the region beyond this many, the new one among them; None: remove nothing.
        strip: Remove the tier sections from the directory when they are published.
        node_path: The section's file below the data directory of every node: nothing is sent. Not for stripes.
        progress: Called with (stage, bytes done, bytes in all, seconds left or None).

    Returns:
        What was done; its ``url`` is what to open the index on.

    Raises:
        InvalidArgumentError: A URL is wrong, or the URLs do not go together.
        PermissionDeniedError: The node's write token is needed (TIERVEC_TOKEN or TIERVEC_TOKEN_FILE).
        ResourceExhaustedError: A node has not enough memory or disk.
        UnavailableError: A node does not answer. What it has stays, and a later call goes on there.
        DataLossError: The file is not what the manifest says, or a node does not have what was sent.
    """
    from tiervec.placement.upload import Part, Upload, greet  # gRPC is only imported where it is needed

    began = time.perf_counter()
    path = check_path("path", path)
    if not isinstance(to, (str, list, tuple)):
        raise InvalidArgumentError(f"to is {shown(to)}; it must be a URL such as tcp://HOST:PORT, or a list of them")
    urls = [check_text("a URL of to", text, "tcp://HOST:PORT") for text in ([to] if isinstance(to, str) else to)]
    url = _one_url(urls, Path(os.path.abspath(path)).name)
    if keep is not None:
        keep = check_whole("keep", keep, 1, 2**31 - 1)
    strip = check_switch("strip", strip)
    node_path = None if node_path is None else check_text("node_path", node_path, "regions/docs.bin")
    check_callback("progress", progress)
    stripes = max(len(replica) for replica in url.replicas)
    if node_path is not None and stripes > 1:
        raise InvalidArgumentError("a striped region cannot be loaded from a file of the nodes; send it")
    directory = IndexDirectory.open(path)
    section = _tier_section(directory)
    if extents_of(section.bytes) < stripes:
        raise InvalidArgumentError(
            f"{directory.section_path(section.name)} has {extents_of(section.bytes)} extents of 1 MiB; "
            f"it cannot be striped over {stripes} nodes"
        )
    parts = [
        Part(node=node, replica=replica, stripe=at, stripes=len(nodes))
        for replica, nodes in enumerate(url.replicas)
        for at, node in enumerate(nodes)
    ]
    greet(url, parts)  # before the file is read, which may take a while
    upload = Upload(
        path=directory.section_path(section.name),
        section=section,
        checksums=_extent_checksums(directory, section, progress),
        url=url,
        node_path=node_path,
    )
    receipts = upload.run(parts, progress)
    removed = upload.switch(parts, keep)
    return PublishReceipt(
        url=str(url),
        region=url.region,
        version=section.checksum,
        size_bytes=section.bytes,
        sent_bytes=upload.sent_bytes,
        nodes=tuple(receipts),
        removed=removed,
        stripped_bytes=directory.strip_tier(str(url)) if strip else 0,
        seconds=time.perf_counter() - began,
    )


def _one_url(to: Sequence[str], default_region: str) -> RemoteUrl:
    """All replicas of all URLs as one URL."""
    if not to:
        raise InvalidArgumentError("publish needs at least one URL, such as tcp://HOST:PORT")
    urls = [RemoteUrl.parse(text, default_region) for text in to]
    first = urls[0]
    for url in urls[1:]:
        if (url.transport, url.region, url.options) != (first.transport, first.region, first.options):
            raise InvalidArgumentError(
                f"{url} and {first} must have the same transport, region and options: they are replicas of one region"
            )
    joined = RemoteUrl(
        transport=first.transport,
        replicas=tuple(replica for url in urls for replica in url.replicas),
        region=first.region,
        options=first.options,
    )
    return RemoteUrl.parse(str(joined))  # a node that is in two of them is refused


def _tier_section(directory: IndexDirectory) -> Section:
    sections = [section for section in directory.manifest.sections if section.placement == "tier"]
    if len(sections) != 1:
        raise UnsupportedError(
            f"{directory.path} has {len(sections)} tier sections; this version publishes indexes that have one"
        )
    if sections[0].name in directory.remote_sections:
        raise InvalidArgumentError(
            f"{directory.path} was published to {directory.published_to} and stripped; publish from a whole copy"
        )
    return sections[0]


def _extent_checksums(
    directory: IndexDirectory, section: Section, progress: BuildProgress | None
) -> NDArray[np.uint64]:
    """Reads the section once: its extents' checksums, and that it is what the manifest says."""
    path = directory.section_path(section.name)
    whole, checksums, done = xxhash.xxh3_64(), [], 0
    with open(path, "rb", buffering=0) as file:
        while data := os.pread(file.fileno(), EXTENT_BYTES, done):
            whole.update(data)
            checksums.append(xxhash.xxh3_64_intdigest(data))
            done += len(data)
            if progress is not None:
                progress(f"checking {path.name}", min(done, section.bytes), section.bytes, None)
    if done != section.bytes or whole.hexdigest() != section.checksum:
        raise DataLossError(f"{path} is damaged: its checksum is not what the manifest says; it is not published")
    return np.array(checksums, np.uint64)
