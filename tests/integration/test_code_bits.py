"""`code_bits=auto`: chosen at build, said by info, kept by conversions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiervec


@pytest.mark.parametrize("kind", ["graph", "cluster"])
def test_what_was_chosen_is_in_info(kind: str, tmp_path: Path) -> None:
    base: Any = np.random.default_rng(1).normal(size=(900, 24)).astype(np.float32)
    info = tiervec.build(base, tmp_path / "auto", kind=kind, threads=1)
    assert isinstance(info.params["code_bits"], (int, float))
    assert info.details["code_bits"] == "auto"
    again = tiervec.build(base, tmp_path / "again", kind=kind, threads=1)
    assert [section["checksum"] for section in info.sections] == [section["checksum"] for section in again.sections]
    given = tiervec.build(base, tmp_path / "given", kind=kind, params={"code_bits": info.params["code_bits"]})
    assert "code_bits" not in given.details
    assert given.fast_bytes == info.fast_bytes
    with tiervec.open(tmp_path / "auto") as index:
        assert (index.search(base[:50], k=1).ids[:, 0] == np.arange(50)).mean() > 0.9


def test_a_layout_without_codes_leaves_the_choice_to_a_conversion(tmp_path: Path) -> None:
    base: Any = np.random.default_rng(1).normal(size=(900, 24)).astype(np.float32)
    info = tiervec.build(base, tmp_path / "index", kind="cluster", params={"layout": "grouped"})
    assert info.params["code_bits"] == "auto"
    coded = tiervec.relayout(tmp_path / "index", tmp_path / "coded", params={"layout": "coded"})
    assert isinstance(coded.params["code_bits"], (int, float))
    assert coded.details["code_bits"] == "auto"
