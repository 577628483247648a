"""Figures one by one, and the rows they are drawn from."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from synthetic_run import (
    CLUSTER,
    DISKANN,
    DRAM,
    GRAPH,
    IMPORTED,
    MACHINE,
    RDMA,
    advice,
    profiles,
    result,
    study,
    write_run,
)

pytest.importorskip("matplotlib", reason="figures need matplotlib")

from tiervec.bench.figures import figures
from tiervec.bench.figures.files import csv_text, provenance_text
from tiervec.bench.figures.findings import findings
from tiervec.bench.figures.run_data import load, tier_text
from tiervec.bench.figures.style import thousands
from tiervec.bench.results import Result
from tiervec.errors import InvalidArgumentError


@pytest.mark.parametrize("name", ["dilemma", "devices", "same_graph", "advice"])
def test_a_figure_is_a_script(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "run", study(), profiles(), [advice(GRAPH, 900, 1000), advice(CLUSTER, 1000, 900)])
    command = importlib.import_module("tiervec.bench.figures.command")
    monkeypatch.setattr(sys, "argv", [name, str(run), "--out", str(tmp_path / "out")])
    command.main(name)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{name}.csv", f"{name}.png", f"{name}.svg"]


def test_a_script_without_its_numbers_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "run", [result("recall", GRAPH, 1e4)])
    command = importlib.import_module("tiervec.bench.figures.command")
    monkeypatch.setattr(sys, "argv", ["growth", str(run), "--out", str(tmp_path / "out")])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "growth.svg").touch()  # of an earlier report
    with pytest.raises(SystemExit, match="nothing for this figure"):
        command.main("growth")
    assert not list((tmp_path / "out").iterdir())
    (tmp_path / "file").touch()
    monkeypatch.setattr(sys, "argv", ["recall", str(run), "--out", str(tmp_path / "file" / "out")])
    with pytest.raises(SystemExit, match=r"writing the figure to .* failed: Not a directory"):
        command.main("recall")
    monkeypatch.setattr(sys, "argv", ["growth", str(tmp_path / "no"), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match=r"run\.json"):
        command.main("growth")


def test_every_figure_says_what_it_is() -> None:
    names = [module.NAME for module in figures()]
    assert len(set(names)) == len(names)
    for module in figures():
        assert module.TITLE
        assert module.READING.endswith(".")
        assert module.__doc__
        assert f'main("{module.NAME}")' in Path(str(module.__file__)).read_text(encoding="utf-8")


def test_rows_are_medians_with_their_spread(tmp_path: Path) -> None:
    data = load([write_run(tmp_path / "run", [result("recall", GRAPH, 1000, fraction=0.5)])])
    row = data.rows()[0]
    assert (row["qps_low"], row["qps"], row["qps_high"]) == (960, 1000, 1040)
    assert row["repeats"] == 5
    assert [row[key] for key in ("aa_low", "aa_ratio", "aa_high")] == pytest.approx([1.01] * 3, abs=1e-3)
    odd = dataclasses.replace(data.results[0], control=data.results[0].repeats[:0])
    row = dataclasses.replace(data, results=(odd,)).rows()[0]
    assert [row[key] for key in ("aa_low", "aa_ratio", "aa_high")] == [None] * 3
    assert row["fraction_of_limit"] == 0.5


def test_measured_memory_is_in_the_rows_and_in_the_table(tmp_path: Path) -> None:
    from tiervec.bench.report.page import _table

    made = result("recall", GRAPH, 1000)
    repeats = [dataclasses.replace(each, peak_bytes=(40 + each.round) << 20) for each in made.repeats]
    build = dataclasses.replace(made.build, memory_bytes=12_345_678, peak_bytes=80 << 20, disk_bytes=30 << 20)
    cells = [dataclasses.replace(made, repeats=tuple(repeats), build=build)]
    rows = load([write_run(tmp_path / "run", cells)]).rows()
    expected = {"memory_bytes": 12_345_678, "search_peak_mib": 44, "peak_mib": 80, "disk_mib": 30}
    assert {key: rows[0][key] for key in expected} == expected
    assert all(key in csv_text(rows).splitlines()[0].split(",") for key in expected)
    assert all(f"<th>{key}</th>" in _table(rows) for key in expected)


def test_kinds_at_equal_amplification_are_paired(tmp_path: Path) -> None:
    cells = [
        result("kinds", GRAPH, 40_000, tier=RDMA, amplification=1.5),
        result("kinds", CLUSTER, 20_000, tier=RDMA, amplification=1.64),
        result("kinds", CLUSTER, 10_000, tier=RDMA, amplification=1.66, label="more than 10 %"),
        result("kinds", CLUSTER, 10_000, tier=DRAM, amplification=1.5, label="another tier"),
    ]
    kinds = importlib.import_module("tiervec.bench.figures.kinds")
    assert kinds.remarks(kinds.rows(load([write_run(tmp_path / "run", cells)]))) == [
        "Equal amplification, rdma-200g (emulated), sift1m, 100,000: graph at amplification 1.50 40,000 queries/s, "
        "cluster at amplification 1.64 20,000 queries/s, graph / cluster 2.00."
    ]
    (said,) = kinds.remarks(kinds.rows(load([write_run(tmp_path / "other", cells[2:] + cells[:1])])))
    assert said.startswith("Equal amplification: no graph and cluster index")


def test_one_graph_is_compared_with_the_disk_and_with_diskann(tmp_path: Path) -> None:
    sectors, packed = (
        {"build": {"layout": layout}, "label": f"imported, {layout}"} for layout in ("sectors", "packed")
    )
    cells = [
        result("same-graph", DISKANN, 1000, tier=None, label="DiskANN's own search", group="g"),
        result("same-graph", IMPORTED, 2500, tier="ssd:", group="g", **sectors),
        result("same-graph", IMPORTED, 500, tier="ssd:", group="g", **packed),
        result("same-graph", IMPORTED, 50_000, tier=DRAM, group="g", **packed),
        result("same-graph", IMPORTED, 40_000, tier=RDMA, group="other", **packed),
        result("same-graph", IMPORTED, 1, tier="emulated:cxl-x8", n=5, **packed),
    ]
    same_graph = importlib.import_module("tiervec.bench.figures.same_graph")
    rows = same_graph.rows(load([write_run(tmp_path / "run", cells)]))
    assert sorted(same_graph.remarks(rows)) == [
        "sift1m, 100,000: imported, packed, dram: / imported, sectors, ssd: 20.00 (20.00 to 20.00).",
        "sift1m, 100,000: imported, packed, rdma-200g (emulated) / imported, sectors, ssd: 16.00, of medians, which "
        "were not measured in turn.",
        "sift1m, 100,000: imported, packed, ssd: / DiskANN's own search 0.50 (0.50 to 0.50).",
        "sift1m, 100,000: imported, sectors, ssd: / DiskANN's own search 2.50 (2.50 to 2.50).",
        "sift1m, 5: imported, packed, cxl-x8 (emulated) / imported, sectors, ssd: was not measured.",
    ]
    header = csv_text(rows).splitlines()[0].split(",")
    assert [name for name in header if name.startswith("over_")] == [
        "over_ssd",
        "over_ssd_low",
        "over_ssd_high",
        "over_diskann",
        "over_diskann_low",
        "over_diskann_high",
    ]
    assert same_graph.remarks([]) == ["The imported graph was not measured."]
    assert importlib.import_module("tiervec.bench.figures.recall").rows(load([tmp_path / "run"])) == []


def test_the_advisors_largest_error_is_said(tmp_path: Path) -> None:
    found = [
        advice(GRAPH, 900, 1000),
        advice(CLUSTER, 1000, 800),
        advice(GRAPH, 1000, 1000, n=70_000, samples=(68_000,)),
        advice(CLUSTER, 1, 1, tier=DRAM, reason="no"),
    ]
    figure = importlib.import_module("tiervec.bench.figures.advice")
    data = load([write_run(tmp_path / "run", [], advice=found)])  # a run of advice alone
    rows = figure.rows(data)
    assert [(row["vectors"], row["system"], row["qps_ratio"]) for row in rows] == [
        (70_000, GRAPH, 1.0),
        (100_000, CLUSTER, 1.25),
        (100_000, GRAPH, pytest.approx(0.9)),
    ]
    assert (rows[1]["reads_per_query_predicted"], rows[1]["reads_per_query_measured"]) == (1000, 800)
    assert figure.remarks(rows) == [
        "The largest error of QPS is +25%: tiervec-cluster, sift1m, 100,000, rdma-200g (emulated), predicted 1,000, "
        "measured 800. The error of its CPU time per query in the best round, which load of others adds less to, is "
        "+25%.",
        "sift1m, 70,000: the sample has 68,000 of 70,000 vectors; little was extrapolated.",
    ]
    assert "1,000 / 800" in {text.get_text() for text in figure.draw(rows).axes[0].texts}


def test_a_tier_is_called_what_it_is() -> None:
    assert tier_text({"tier": "emulated:rdma-200g", "provenance": "emulated"}) == "rdma-200g (emulated)"
    assert tier_text({"tier": "rdma://x", "provenance": "guest"}) == "rdma://x (in a guest)"
    assert tier_text({"tier": "", "provenance": "memory"}) == "memory"
    assert tier_text({"tier": "", "provenance": "real"}) == "disk"
    assert tier_text({"tier": "ssd:", "provenance": "real"}) == "ssd:"
    assert tier_text({"tier": "tcp://loopback", "provenance": "real"}) == "tcp://loopback (a node on this machine)"
    assert tier_text({"tier": "tcp://other:1", "provenance": "real"}) == "tcp://other:1"
    assert tier_text({"tier": "numa:0", "provenance": "real"}) == "numa:0 (this machine's memory)"


def test_provenance_names_each_kind_once(tmp_path: Path) -> None:
    found = [result("kinds", GRAPH, 1, tier=tier) for tier in (DRAM, RDMA)] + [result("kinds", CLUSTER, 1, tier=RDMA)]
    rows = load([write_run(tmp_path / "run", found)]).rows()
    text = provenance_text(rows)
    assert text.count("rdma-200g") == 1
    assert text.index("dram:") < text.index("EMULATED") < text.index("rdma-200g")


def test_empty_columns_stay_out_of_the_csv(tmp_path: Path) -> None:
    rows = load([write_run(tmp_path / "run", [result("recall", "hnswlib", 1, tier=None)])]).rows()
    header = csv_text(rows).splitlines()[0].split(",")
    assert "qps" in header
    assert "reads_per_query" not in header
    assert "tier" not in header


def test_large_numbers_are_short() -> None:
    assert [thousands(value) for value in (950, 25_000, 1_200_000, 2.5e9, 0.1)] == ["950", "25k", "1.2M", "2.5G", "0.1"]


def test_one_cell_of_two_runs_is_refused(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / name, [result("recall", GRAPH, 1, run=name, search={"search_list": at})])
        for at, name in enumerate(("one", "two"))
    ]
    with pytest.raises(InvalidArgumentError, match=r"graph on sift1m.* measured twice .* in run one and in run two"):
        load(runs)
    one_curve = [result("recall", GRAPH, 1, search=search) for search in ({"search_list": 1}, {})]
    assert len(load([write_run(tmp_path / "curve", one_curve)]).rows()) == 2
    elsewhere = [result("recall", GRAPH, 1, run="three", environment={**MACHINE, "cpu": "Another"})]
    assert len(load([runs[0], write_run(tmp_path / "three", elsewhere)], allow_mixed=True).rows()) == 2


def test_one_tier_or_one_prediction_of_two_runs_is_refused(tmp_path: Path) -> None:
    tiers, said = profiles()[:1], [advice(GRAPH, 900, 1000)]
    first = write_run(tmp_path / "one", [], tiers, said)
    second = [dataclasses.replace(each, run="two") for each in tiers]
    with pytest.raises(InvalidArgumentError, match=r"dram: of experiment 'devices' was measured twice .* in run two"):
        load([first, write_run(tmp_path / "two", [], second)])
    third = [dataclasses.replace(each, run="three") for each in said]
    with pytest.raises(InvalidArgumentError, match=r"graph on sift1m.*'advice' was measured twice .* in run three"):
        load([first, write_run(tmp_path / "three", [], (), third)])
    elsewhere = [dataclasses.replace(each, environment={**MACHINE, "cpu": "Another"}) for each in second]
    assert len(load([first, write_run(tmp_path / "four", [], elsewhere)], allow_mixed=True).profiles) == 2


def test_speeds_of_unlike_machines_are_not_divided(tmp_path: Path) -> None:
    other = {**MACHINE, "cpu": "Another"}
    cells = [result("kinds", GRAPH, 40_000, tier=RDMA), result("kinds", CLUSTER, 20_000, tier=RDMA, environment=other)]
    data = load([write_run(tmp_path / "run", cells)], allow_mixed=True)
    kinds = importlib.import_module("tiervec.bench.figures.kinds")
    assert kinds.remarks(kinds.rows(data))[0].startswith("Equal amplification: no graph and cluster index")
    assert all(each.ours == "these runs do not say" for each in findings(data))


def test_all_commits_of_a_machine_are_named(tmp_path: Path) -> None:
    newer = dataclasses.replace(result("growth", GRAPH, 1), commit="f" * 40)
    data = load([write_run(tmp_path / "run", [result("recall", GRAPH, 1), newer])])
    assert data.environments() == ["A CPU, 2 CPUs, 8 GiB, Linux 6.1, commit ffffffffffff, 0123456789ab"]


def test_notes_and_turns_are_kept(tmp_path: Path) -> None:
    cells = [
        dataclasses.replace(result("recall", GRAPH, 1, group="a"), notes=("a thread pool read",)),
        dataclasses.replace(result("recall", CLUSTER, 1, group="b"), notes=("a thread pool read",)),
        result("kinds", GRAPH, 1, group="c"),
    ]
    data = load([write_run(tmp_path / "run", cells)])
    ((note, of),) = data.notes()
    assert note == "a thread pool read"
    assert sorted(of.split("; ")) == ["recall: cluster on sift1m, dram:", "recall: graph on sift1m, dram:"]
    assert data.out_of_turn() == ["recall"]
    assert sorted(row["notes"] for row in data.rows()) == ["", "a thread pool read", "a thread pool read"]


def test_cells_with_other_threads_or_neighbours_are_other_lines(tmp_path: Path) -> None:
    def cell(experiment: str, **changes: int) -> Result:
        made = result(experiment, GRAPH, 1e4)
        return dataclasses.replace(made, cell=dataclasses.replace(made.cell, **changes))

    threads = [cell("latency", threads=each) for each in (1, 2)]
    others = [cell("recall", k=each, batch=each) for each in (1, 10)]
    data = load([write_run(tmp_path / "run", [*threads, *others, cell("growth")])])
    assert sorted(row["label"] for row in data.rows()) == [
        "graph",
        "graph, 1 thread",
        "graph, 2 threads",
        "graph, k=1, batch 1",
        "graph, k=10, batch 10",
    ]


def test_unanswered_queries_are_marked(tmp_path: Path) -> None:
    made = result("latency", GRAPH, 1, mode="open", arrival_qps=100.0)
    cut = dataclasses.replace(made, repeats=tuple(dataclasses.replace(each, unanswered=3) for each in made.repeats))
    latency = importlib.import_module("tiervec.bench.figures.latency")
    for cell, marks in ((made, 0), (cut, 1)):
        rows = latency.rows(load([write_run(tmp_path / str(marks), [cell])]))
        assert rows[0]["unanswered"] == (15 if marks else None)
        crosses = [line for line in latency.draw(rows).axes[0].lines if line.get_marker() == "x"]
        assert sum(len(line.get_xdata()) for line in crosses) == marks
