"""One version of a region: its bytes in the node's memory, and what is known of each extent.

    created --extents arrive--> receiving --sealed--> ready <--repaired-- damaged
    found on disk ------------> loading --verified--> ready    --scrubbed-^

The bytes of a region never change once it is ready, except when a damaged extent is repaired.
"""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from tiervec.errors import DataLossError, InvalidArgumentError
from tiervec.rdma.memory_node.names import EXTENT_BYTES, extents_of

__all__ = ["Region", "RegionState", "RemoteKey", "digest_of"]


class RegionState(Enum):
    """Where a region is in its life; the values are those of the protocol, which never sees a deleted one."""

    RECEIVING = 1
    LOADING = 2
    READY = 3
    DAMAGED = 4
    DELETED = 5


@dataclass(frozen=True, kw_only=True)
class RemoteKey:
    """What a data plane needs to find a region: nothing for tcp, address and key for rdma."""

    remote_address: int = 0
    remote_key: int = 0


@dataclass(kw_only=True, eq=False)
class Region:
    """A region and its bytes.

    Attributes:
        name: Name of the region, shared by its versions.
        version: Version, named by the content.
        size_bytes: Size of the content, in bytes.
        memory: The bytes; ``_core.NodeMemory``, at least `size_bytes` of it; None until a stored region is loaded.
        region_id: What the data plane calls it; no other version has it.
        token: 16 bytes that grant reads on the data plane.
        state: Changed under `lock`.
        present: Which extents are there.
        checksums: XXH3 (64 bits) of each that is.
        damaged: Extents found to be wrong and not repaired.
        loss: Why a stored region cannot be served at all; it then has no memory and no extents. Empty otherwise.
        keys: By transport: where the data planes have it.
        sealed_at_s: Seconds since 1970, or 0.
        touched_at: Monotonic time of the last extent that arrived.
    """

    name: str
    version: str
    size_bytes: int
    memory: Any
    region_id: int = field(default_factory=lambda: secrets.randbits(63) | 1)
    token: bytes = field(default_factory=lambda: secrets.token_bytes(16), repr=False)
    state: RegionState = RegionState.RECEIVING
    present: NDArray[np.bool_] = field(init=False, repr=False)
    checksums: NDArray[np.uint64] = field(init=False, repr=False)
    damaged: set[int] = field(default_factory=set)
    loss: str = ""
    keys: dict[str, RemoteKey] = field(default_factory=dict, repr=False)
    sealed_at_s: float = 0.0
    touched_at: float = field(default_factory=time.monotonic)
    is_sealing: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def __post_init__(self) -> None:
        self.present = np.zeros(self.extents, np.bool_)
        self.checksums = np.zeros(self.extents, np.uint64)

    @property
    def extents(self) -> int:
        """Extents in all."""
        return extents_of(self.size_bytes)

    @property
    def is_locked(self) -> bool:
        """Whether its memory is never swapped."""
        return self.memory is not None and bool(self.memory.locked)

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"region {self.name} version {self.version}"

    def extent(self, index: int) -> memoryview:
        """The memory of one extent."""
        first = index * EXTENT_BYTES
        return memoryview(self.memory)[first : min(first + EXTENT_BYTES, self.size_bytes)]

    @property
    def damage(self) -> str:
        """Why readers are refused; empty unless it is damaged."""
        if self.state is not RegionState.DAMAGED:
            return ""
        return f"damaged: {self.loss}" if self.loss else f"damaged in {len(self.damaged):,} of {self.extents:,} extents"

    def lose(self, reason: str) -> None:
        """A stored region cannot be served at all: it stays to be seen, to be deleted, and to be published again."""
        with self.lock:
            self.memory, self.loss, self.state = None, reason, RegionState.DAMAGED
            self.size_bytes = 0
            self.damaged.clear()
            self.__post_init__()

    def check(self, index: int, data: bytes, checksum: int) -> None:
        """Checks an extent that arrived, before anything is written. A sealed region takes only what repairs it.

        Raises:
            InvalidArgumentError: There is no such extent, it has another size, or the region takes no extents any more.
            DataLossError: Its bytes do not have this checksum.
        """
        if not 0 <= index < self.extents:
            raise InvalidArgumentError(f"{self.label} has {self.extents:,} extents; there is no extent {index:,}")
        expected = min(EXTENT_BYTES, self.size_bytes - index * EXTENT_BYTES)
        if len(data) != expected:
            raise InvalidArgumentError(
                f"extent {index:,} of {self.label} arrived with {len(data):,} bytes; it has {expected:,}"
            )
        actual = xxhash.xxh3_64_intdigest(data)
        if actual != checksum:
            raise DataLossError(
                f"extent {index:,} of {self.label} arrived with checksum {actual:016x}, sent as {checksum:016x}"
            )
        with self.lock:
            repairs = (
                self.state is RegionState.DAMAGED and index in self.damaged and checksum == int(self.checksums[index])
            )
            if (self.state is not RegionState.RECEIVING and not repairs) or self.is_sealing:
                state = "being sealed" if self.is_sealing else self.state.name.lower()
                raise InvalidArgumentError(
                    f"{self.label} is {state} and takes no extents; a sealed region never changes"
                )

    def write(self, index: int, data: bytes, checksum: int) -> None:
        """Puts an extent that was checked into its place."""
        with self.lock:
            self.extent(index)[:] = data
            self.checksums[index] = checksum
            self.present[index] = True
            self.touched_at = time.monotonic()

    def whole(self) -> NDArray[np.bool_]:
        """Which extents are there and not known to be damaged."""
        whole: NDArray[np.bool_] = self.present.copy()
        whole[list(self.damaged)] = False
        return whole

    def wrong_extents(self) -> list[int]:
        """Computes the checksum of every extent from memory; returns those that are not what was written."""
        return [index for index in range(self.extents) if not self.is_right(index)]

    def is_right(self, index: int) -> bool:
        """Whether an extent in memory has its checksum."""
        return bool(xxhash.xxh3_64_intdigest(self.extent(index)) == int(self.checksums[index]))

    def digest(self) -> int:
        """The checksum over all extents' checksums."""
        return digest_of(self.checksums)


def digest_of(checksums: NDArray[np.uint64]) -> int:
    """XXH3 (64 bits) over checksums of extents, each as 8 bytes, little-endian."""
    return xxhash.xxh3_64_intdigest(np.ascontiguousarray(checksums, "<u8").tobytes())
