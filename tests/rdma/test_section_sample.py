"""What an open compares of a tier that it does not read whole."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiervec.errors import DataLossError
from tiervec.index_files.directory import IndexDescription, IndexDirectory, IndexDirectoryWriter
from tiervec.placement.section_tier import MAX_SAMPLED, compare_sample
from tiervec.rdma.extents import EXTENT_BYTES

EXTENTS = 12
RECORDS = np.random.default_rng(1).bytes((EXTENTS - 1) * EXTENT_BYTES + 100)


class FakeTier:
    """Copies of a region, one for each attempt."""

    url = "tcp://a,b/x"

    def __init__(self, *copies: bytes) -> None:
        self.copies, self.replicas = copies, len(copies)
        self.reads: list[tuple[int, int]] = []

    def read(self, offset: int, length: int, attempt: int) -> bytes:
        self.reads.append((offset, length))
        return self.copies[attempt][offset : offset + length]


@pytest.fixture
def directory(tmp_path: Path) -> IndexDirectory:
    with IndexDirectoryWriter(tmp_path / "index") as writer:
        writer.write_section("records", RECORDS, placement="tier")
        writer.commit(
            IndexDescription(kind="graph", metric="l2", dtype="uint8", dim=4, vectors=2, dataset_bytes=8, params={})
        )
    return IndexDirectory.open(tmp_path / "index")


def compare(directory: IndexDirectory, tier: Any) -> None:
    compare_sample(directory, "records", tier)


def test_an_open_reads_the_ends_and_a_few_others(directory: IndexDirectory) -> None:
    seen = set()
    for _ in range(50):
        tier = FakeTier(RECORDS)
        compare(directory, tier)
        offsets = [offset // EXTENT_BYTES for offset, _ in tier.reads]
        assert offsets[0] == 0
        assert tier.reads[-1] == ((EXTENTS - 1) * EXTENT_BYTES, 100)
        assert len(offsets) == len(set(offsets)) <= MAX_SAMPLED
        seen.update(offsets)
    assert seen == set(range(EXTENTS))


@pytest.mark.parametrize("extent", [0, EXTENTS - 1])
def test_a_foreign_head_or_tail_is_always_noticed(directory: IndexDirectory, extent: int) -> None:
    content = bytearray(RECORDS)
    content[extent * EXTENT_BYTES] ^= 1
    with pytest.raises(DataLossError, match=rf"records\.bin on tier tcp://a,b/x: extent {extent} \("):
        compare(directory, FakeTier(bytes(content)))


def test_a_right_replica_is_enough(directory: IndexDirectory, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        compare(directory, FakeTier(bytes(len(RECORDS)), RECORDS))
    assert "extent 0 is damaged on a replica of tcp://a,b/x" in caplog.text
    with pytest.raises(DataLossError):
        compare(directory, FakeTier(bytes(len(RECORDS)), bytes(len(RECORDS))))
