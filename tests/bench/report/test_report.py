"""The report of made-up results: what it shows, what it refuses, what it lists."""

from __future__ import annotations

import csv
import dataclasses
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tiervec.bench.report import write_report
from tiervec.cli.main import main
from tiervec.errors import InvalidArgumentError, NotFoundError, UnsupportedError

sys.path.insert(0, str(Path(__file__).parents[1]))

from synthetic_run import CLUSTER, DRAM, GRAPH, MACHINE, RDMA, SSD, advice, profiles, result, study, write_run

pytest.importorskip("matplotlib", reason="the report needs matplotlib")

NAMES = (
    "dilemma",
    "devices",
    "same_graph",
    "ablations",
    "kinds",
    "recall",
    "battery",
    "latency",
    "memory",
    "growth",
    "advice",
    "limits",
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    predicted = [advice(GRAPH, 900, 1000), advice(CLUSTER, 1, 1, reason="no such <tier>")]
    return write_report([write_run(folder / "run", study(), profiles(), predicted)], folder / "out").parent


def page_of(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def verdicts(page: str) -> list[str]:
    return re.findall(r'<td class="(held|did-not-hold|not-measured)">', page)


def test_every_figure_is_written_as_picture_and_numbers(report: Path) -> None:
    for name in NAMES:
        assert (report / f"{name}.svg").read_text(encoding="utf-8").startswith("<?xml")
        assert (report / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert list(csv.DictReader((report / f"{name}.csv").read_text(encoding="utf-8").splitlines()))
    cells = list(csv.DictReader((report / "all.csv").read_text(encoding="utf-8").splitlines()))
    assert len(cells) == sum(each.status == "ok" for each in study()) - 1  # one missed its recall


def test_the_page_needs_nothing_else(report: Path) -> None:
    page = page_of(report)
    assert page.count("<svg") == len(NAMES)
    assert not re.search(r'(?:src|href)="(?!#)', re.sub(r'xmlns[^=]*="[^"]*"', "", page))
    assert not re.search(r'url\((?!["\']?#)', page)


def test_pictures_do_not_share_ids(report: Path) -> None:
    ids = re.findall(r'\bid="([^"]+)"', page_of(report))
    assert len(ids) == len(set(ids))


def test_what_is_emulated_says_so(report: Path) -> None:
    page = page_of(report)
    sources = re.findall(r'<p class="sources">(.*?)</p>', page, re.S)
    assert len(sources) == len(NAMES)
    by_name = dict(zip(NAMES, sources, strict=True))
    assert "EMULATED" in by_name["dilemma"]
    assert "EMULATED" not in by_name["memory"]
    assert "this machine&#x27;s memory: dram:" in by_name["memory"]
    assert all("A CPU, 2 CPUs, 8 GiB, Linux 6.1, commit 0123456789ab" in each for each in sources)
    assert "rdma-200g (emulated)" not in (report / "memory.svg").read_text(encoding="utf-8")


def test_what_is_missing_is_listed(report: Path) -> None:
    page = page_of(report)
    missing = page[page.index("<h2>Not measured</h2>") :]
    assert "missing: diskannpy is not installed" in missing
    assert "<td>tiervec-cluster on sift1m, emulated:rdma-200g</td><td>failed: no such &lt;tier&gt;</td>" in missing
    assert "crashed: the process ended with SIGSEGV" in missing
    assert "recall 0.700, below the 0.95 asked for" in missing


def test_findings_of_a_world_like_the_papers_hold(report: Path) -> None:
    page = page_of(report)
    assert verdicts(page) == ["held"] * 6 + ["not-measured"] * 2
    assert "4.0x the throughput from amplification 1.30 to 3.40" in page
    assert "arXiv 2405.03267" in page


def test_findings_that_do_not_hold_say_so(tmp_path: Path) -> None:
    flat = [
        result("dilemma-ssd", GRAPH, 5000, tier=SSD, amplification=a, build={"graph_degree": int(8 * a)})
        for a in (1.5, 3.0)
    ]
    steep = [
        result("dilemma-memory", CLUSTER, 9000 * a, tier=RDMA, amplification=a, build={"replicas": int(a)})
        for a in (1.0, 8.0)
    ]
    page = write_report([write_run(tmp_path / "run", flat + steep)], tmp_path / "out").read_text(encoding="utf-8")
    assert verdicts(page) == [
        "did-not-hold",
        "not-measured",
        "not-measured",
        "did-not-hold",
        *["not-measured"] * 4,
    ]


def parts(qps_of_pipeline: float, reads_of_groups: float) -> list[Any]:
    """Cells of two ablations."""
    pipeline = [
        result("ablation-pipeline", GRAPH, qps, tier=RDMA, search={"pipeline": is_on})
        for is_on, qps in ((True, qps_of_pipeline), (False, 1e4))
    ]
    layouts = [
        result("ablation-cluster-layout", CLUSTER, 1e4, tier=RDMA, amplification=a, reads=reads, build={"layout": name})
        for name, a, reads in (("replicated", 1.5, 100.0), ("decoupled", 1.0, 900.0), ("grouped", 1.0, reads_of_groups))
    ]
    build = {"layout": "grouped", "ordered": False}
    unordered = result("ablation-cluster-layout", CLUSTER, 1e4, tier=RDMA, reads=9e3, label="a part", build=build)
    return [*pipeline, unordered, *layouts]


@pytest.mark.parametrize(
    ("qps", "reads", "found"), [(5e4, 150.0, ["held", "held"]), (1.1e4, 850.0, ["did-not-hold", "did-not-hold"])]
)
def test_what_the_papers_parts_are_worth(tmp_path: Path, qps: float, reads: float, found: list[str]) -> None:
    run = write_run(tmp_path / "run", parts(qps, reads))
    page = write_report([run], tmp_path / "out").read_text(encoding="utf-8")
    assert verdicts(page)[6:] == found
    assert f"{reads / 100:.1f} times those of copies" in page


def test_every_figure_says_which_findings_held(report: Path) -> None:
    page = page_of(report)
    assert page.count("<p>Of the findings of arXiv 2405.03267, held:") == 3  # dilemma, kinds, limits
    assert "What is cited of arXiv 2405.03267 says nothing about this." in page
    picture = (report / "dilemma.svg").read_text(encoding="utf-8")
    assert "Of the findings of arXiv 2405.03267" in picture


def test_every_figure_has_the_papers_numbers_beside_ours(report: Path) -> None:
    page = page_of(report)
    section = page[page.index("<h2>What amplification buys") :]
    section = section[: section.index('<p class="sources">')]
    assert "Paper: 5.7x the throughput at an amplification of 5.8x (abstract). Here: graph on" in section
    assert "4.0x the throughput from amplification 1.30 to 3.40. <strong>EMULATED</strong>" in section
    assert "Many queries in flight" not in section  # of another figure
    assert "these runs do not say" not in page[page.index("<h2>What amplification buys") :]
    assert "<li>Equal amplification: no graph and cluster index of the same tier" in page


def test_two_ways_to_choose_alike_contradict_the_paper(tmp_path: Path) -> None:
    alike = [
        result("kinds", system, qps, tier=tier)
        for tier in (SSD, RDMA)
        for system, qps in ((GRAPH, 2e4), (CLUSTER, 1e4))
    ]
    page = write_report([write_run(tmp_path / "run", alike)], tmp_path / "out").read_text(encoding="utf-8")
    assert verdicts(page)[4] == "did-not-hold"


def other_machine(cpu: str = "Another CPU") -> dict[str, Any]:
    return {**MACHINE, "cpu": cpu}


def test_mixed_machines_are_refused(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", [result("recall", GRAPH, 1e4)])
    two = write_run(
        tmp_path / "two", [result("recall", GRAPH, 1e4, run="two", environment=other_machine())], name="two"
    )
    with pytest.raises(InvalidArgumentError, match=r"cpu is 'A CPU' .* and 'Another CPU'.*--allow-mixed"):
        write_report([one, two], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_mixed_machines_are_labelled_when_allowed(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", [result("recall", GRAPH, 1e4)])
    two = write_run(
        tmp_path / "two", [result("recall", GRAPH, 1e4, run="two", environment=other_machine())], name="two"
    )
    page = write_report([one, two], tmp_path / "out", allow_mixed=True).read_text(encoding="utf-8")
    assert "<strong>Mixed machines.</strong>" in page
    assert "[A] A CPU" in page
    assert "[B] Another CPU" in page
    labels = {
        row["label"]
        for row in csv.DictReader((tmp_path / "out" / "recall.csv").read_text(encoding="utf-8").splitlines())
    }
    assert labels == {"graph [A]", "graph [B]"}


def test_profiles_of_another_machine_are_refused(tmp_path: Path) -> None:
    import dataclasses

    other = [dataclasses.replace(each, environment=other_machine()) for each in profiles()]
    run = write_run(tmp_path / "run", [result("recall", GRAPH, 1e4)], other)
    with pytest.raises(InvalidArgumentError, match="profiles, advice and results are of unlike machines"):
        write_report([run], tmp_path / "out")


def test_figures_without_numbers_are_named_and_not_drawn(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [result("anything", GRAPH, 1e4, tier=DRAM)])
    page = write_report([run], tmp_path / "out").read_text(encoding="utf-8")
    assert page.count("<svg") == 1
    assert "These runs have nothing for: What amplification buys" in page
    assert not (tmp_path / "out" / "dilemma.csv").exists()


def test_texts_from_results_are_escaped(tmp_path: Path) -> None:
    bad = result("recall", "x<script>", 1, tier=None, status="failed", reason="<b>no</b> & never")
    run = write_run(tmp_path / "run", [result("recall", GRAPH, 1e4), bad])
    page = write_report([run], tmp_path / "out").read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "&lt;b&gt;no&lt;/b&gt; &amp; never" in page


def test_what_was_not_done_as_asked_is_on_the_page(tmp_path: Path) -> None:
    cells = [
        dataclasses.replace(result("recall", GRAPH, 1000, group="a"), notes=("read by <threads>",)),
        result("recall", CLUSTER, 1000, group="b"),
    ]
    page = write_report([write_run(tmp_path / "run", cells)], tmp_path / "out").read_text(encoding="utf-8")
    assert "<td>read by &lt;threads&gt;</td><td>recall: graph on sift1m, dram:</td>" in page
    assert "ran in turn, round by round; not all of recall did." in page
    page = write_report([write_run(tmp_path / "other", cells[1:])], tmp_path / "out").read_text(encoding="utf-8")
    assert "<h2>Notes</h2>\n<p>None.</p>" in page
    assert "ran in turn, round by round." in page


def test_a_second_report_replaces_the_first(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [result("recall", GRAPH, 1e4)])
    first = write_report([run], tmp_path / "out").read_bytes()
    assert write_report([run], tmp_path / "out").read_bytes() == first


def test_nothing_measured_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="nothing is measured yet"):
        write_report([write_run(tmp_path / "run", [])], tmp_path / "out")


def test_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"run\.json"):
        write_report([tmp_path], tmp_path / "out")


def test_without_matplotlib_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    run = write_run(tmp_path / "run", [result("recall", GRAPH, 1e4)])
    with pytest.raises(UnsupportedError, match=r"pip install 'tiervec\[bench\]'"):
        write_report([run], tmp_path / "out")


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", [result("recall", GRAPH, 1e4)])
    assert main(["bench", "report", str(run)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "run-report" / "report.html")
    assert main(["bench", "report", str(tmp_path / "nothing")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
