"""Which design an index is of."""

from __future__ import annotations

from pathlib import Path

import tiervec
from tiervec.bench.advisor.checking import design_of
from tiervec.bench.advisor.design import Design


def test_an_index_has_a_design(data: Path, tmp_path: Path) -> None:
    tiervec.build(data, tmp_path / "clusters", kind="cluster", params={"layout": "replicated", "replicas": 2})
    assert design_of(tmp_path / "clusters") == Design(kind="cluster", params={"layout": "replicated", "replicas": 2})
