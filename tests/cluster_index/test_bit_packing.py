from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiervec.cluster_index.bit_packing import PADDING_BYTES, bits_for, pack, packed_bytes, unpack


def slow_pack(values: list[int], bits: int) -> bytes:
    whole = sum(value << (place * bits) for place, value in enumerate(values))
    return whole.to_bytes((len(values) * bits + 7) // 8 + PADDING_BYTES, "little")


@given(bits=st.integers(1, 56) | st.just(64), data=st.data())
def test_packing_is_one_long_number(bits: int, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(0, min(2**bits, 2**63) - 1), max_size=40))
    packed = pack(np.array(values, np.uint64), bits)
    assert packed.tobytes() == slow_pack(values, bits)
    assert len(packed) == packed_bytes(len(values), bits)
    assert unpack(packed, len(values), bits).tolist() == values


def test_more_values_than_one_block() -> None:
    values = np.random.default_rng(1).integers(0, 2**20, 150_001)
    np.testing.assert_array_equal(unpack(pack(values, 20), len(values), 20), values)


@pytest.mark.parametrize(
    ("largest", "bits"), [(0, 1), (1, 1), (2, 2), (255, 8), (256, 9), (2**55, 56), (2**56, 64), (2**63 - 1, 64)]
)
def test_bits_that_a_number_needs(largest: int, bits: int) -> None:
    assert bits_for(largest) == bits
