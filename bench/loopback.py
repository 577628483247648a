"""``tcp://loopback`` and ``rdma://loopback``: a memory node that is started for an index, or for random bytes."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from tiervec.bench.node_process import NodeProcess
from tiervec.index_files.directory import IndexDirectory, IndexDirectoryWriter
from tiervec.index_files.manifest import IndexDescription
from tiervec.placement.publish import publish

__all__ = ["bytes_on_loopback", "index_on_loopback", "is_loopback"]

_SCRATCH_BYTES: Final = 256 << 20  # as much as `tiervec.rdma.profile` reads of other tiers
_ROOM_BYTES: Final = 64 << 20
_PATIENCE_MS: Final = 10_000  # a node that has no processor for a moment is not down


def is_loopback(url: str) -> bool:
    """Whether a tier of a plan is a memory node that is started for it."""
    return url in ("tcp://loopback", "rdma://loopback")


@contextlib.contextmanager
def index_on_loopback(index: Path, url: str) -> Iterator[str]:
    """Publishes an index to a memory node that ends with the block: where to read it.

    Args:
        index: Its directory.
        url: ``tcp://loopback`` or ``rdma://loopback``.
    """
    scheme = url.partition("://")[0]
    sections = IndexDirectory.open(index).manifest.sections
    size = sum(section.bytes for section in sections if section.placement == "tier")
    with (
        tempfile.TemporaryDirectory(prefix="tiervec-node-") as logs,
        NodeProcess(Path(logs), capacity_bytes=2 * size + _ROOM_BYTES, transports=scheme) as node,
    ):
        region = f"{scheme}://{node.address}/bench"
        publish(index, region)
        yield f"{region}?timeout_ms={_PATIENCE_MS}"


@contextlib.contextmanager
def bytes_on_loopback(url: str) -> Iterator[str]:
    """The same with random bytes in place of an index, to measure the tier itself."""
    with tempfile.TemporaryDirectory(prefix="tiervec-loopback-") as folder:
        index = Path(folder) / "index"
        with IndexDirectoryWriter(index) as writer:
            content = np.random.default_rng(1).integers(0, 256, _SCRATCH_BYTES, np.uint8)
            writer.write_section("records", content, placement="tier")
            writer.commit(
                IndexDescription(
                    kind="graph",
                    metric="l2",
                    dtype="uint8",
                    dim=1,
                    vectors=_SCRATCH_BYTES,
                    dataset_bytes=_SCRATCH_BYTES,
                    params={},
                )
            )
        with index_on_loopback(index, url) as region:
            yield region
