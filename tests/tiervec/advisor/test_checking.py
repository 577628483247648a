"""What was predicted beside what an index did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tiervec
from tiervec import _core
from tiervec.advisor import Request, advise, advising, check
from tiervec.advisor.design import Design
from tiervec.advisor.device import Device
from tiervec.errors import InvalidArgumentError


@pytest.mark.usefixtures("flat_memory")
def test_the_index_is_measured_with_its_own_queries(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when its design is none of those that would have been tried."""
    monkeypatch.setattr(advising, "designs", lambda *_: [Design(kind="graph", params={"code_bits": 4.0})])
    tiervec.build(data, tmp_path / "index", kind="cluster", params={"layout": "replicated", "replicas": 2})
    vectors = np.load(data)
    queries = vectors[:40]
    truth = _core.exact_search(vectors, "l2", queries, 10, None, 1, _core.WorkMonitor())[0]
    request = Request(
        data=data,
        device=Device.of_tier("emulated:cxl-x8"),
        sample=1000,
        threads=1,
        work=tmp_path / "work",
        check=tmp_path / "index",
        check_queries=queries,
    )
    advice = advise(request)
    assert advice.checked is not None
    assert all(receipt.queries == len(queries) for receipt in advice.checked.receipts)
    checked = check(advice, truth)
    assert checked.design == Design(kind="cluster", params={"layout": "replicated", "replicas": 2})
    assert checked.recall is not None
    assert checked.recall > 0.8
    receipt = advice.checked.receipts[0]
    assert checked.figures["reads per query"][1] == receipt.reads_per_query
    assert checked.error("reads per query") == pytest.approx(
        checked.figures["reads per query"][0] / receipt.reads_per_query - 1
    )
    assert "replicated" in str(checked)
    assert set(checked.as_dict()["figures"]) == set(checked.figures)


def test_index_and_queries_need_each_other(data: Path, tmp_path: Path) -> None:
    device = Device.of_tier("emulated:cxl-x8")
    with pytest.raises(InvalidArgumentError, match="need each other"):
        advise(Request(data=data, device=device, check=tmp_path))
    with pytest.raises(InvalidArgumentError, match="need each other"):
        advise(Request(data=data, device=device, check_queries=np.zeros((1, 16), np.float32)))


def test_an_index_of_something_else_is_refused(data: Path, tmp_path: Path) -> None:
    small = {"graph_degree": 8, "build_list": 16}
    tiervec.build(np.load(data)[:500], tmp_path / "slice", params=small)
    tiervec.build(data, tmp_path / "cosine", params=small, metric="cosine")
    device, queries = Device.of_tier("emulated:cxl-x8"), np.load(data)[:5]
    for name, says in (
        ("slice", "has the number of vectors 500, but .* with 3000"),
        ("cosine", "has the metric cosine, but .* with l2"),
    ):
        with pytest.raises(InvalidArgumentError, match=says):
            advise(Request(data=data, device=device, check=tmp_path / name, check_queries=queries))
