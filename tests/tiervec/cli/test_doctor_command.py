from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pytest

from tiervec import _core
from tiervec.machine import doctor


def test_json(command: Any) -> None:
    document = command("doctor", "--json").document
    assert set(document) == {"environment", "findings"}
    findings = {finding["name"]: finding for finding in document["findings"]}
    assert {"extension", "SIMD", "huge pages", "locked memory", "libibverbs", "librdmacm"} <= set(findings)
    assert {"faiss", "h5py", "pyarrow"} <= set(findings)


def test_tiers(command: Any) -> None:
    findings = {finding["name"]: finding for finding in command("doctor", "--json").document["findings"]}
    assert findings["dram:"]["state"] == findings["mmap:"]["state"] == "ok"
    assert "68 M reads/s" in findings["emulated:rdma-200g"]["found"]
    ssd, io_uring = findings["ssd:"], _core.io_uring_status()
    assert ssd["state"] == ("ok" if io_uring["available"] else "slow")
    assert ("by io_uring" if io_uring["available"] else io_uring["reason"]) in ssd["found"]
    rdma, status = findings["rdma://HOST:PORT/REGION"], _core.verbs_status()
    assert rdma["state"] == ("ok" if status["available"] else "absent")
    assert (status["devices"][0] if status["available"] else status["reason"]) in rdma["found"]  # type: ignore[index]


def test_limits_and_where_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = {"threads": 2, "allowed_cpus": 8, "quota_cpus": 1.5, "quota_source": "/sys/fs/cgroup/a/cpu.max"}
    monkeypatch.setattr("tiervec._core.cpu_limit", lambda: limit)
    room = {"bytes": 3 << 30, "source": "/sys/fs/cgroup/a/memory.max"}
    monkeypatch.setattr("tiervec._core.available_memory", lambda: room)
    findings = {finding.name: finding for finding in doctor.diagnose()}
    assert findings["CPUs"].found == (
        "8 allowed (affinity), a quota of 1.5 CPUs (/sys/fs/cgroup/a/cpu.max): threads=0 means 2"
    )
    assert findings["memory"].found == "3 GiB available, by /sys/fs/cgroup/a/memory.max"
    limit.update(threads=8, quota_cpus=0.0, quota_source="")
    room.update(source="")
    findings = {finding.name: finding for finding in doctor.diagnose()}
    assert findings["CPUs"].found == "8 allowed (affinity), no quota: threads=0 means 8"
    assert findings["memory"].state == "slow"


def test_nothing_is_advised_that_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = {"available": False, "reason": "not here", "devices": []}
    monkeypatch.setattr("tiervec._core.io_uring_status", lambda: nothing)
    findings = doctor.diagnose()
    assert findings
    for finding in findings:
        words = f"{finding.found} {finding.advice}"
        assert not any(word in words for word in ("-dev", "compile", "install TierVec again", "rebuild")), words


def test_a_refused_io_uring_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiervec._core.io_uring_status", lambda: {"available": False, "reason": "a sandbox forbids it"})
    finding = next(finding for finding in doctor.diagnose() if finding.name == "ssd:")
    assert finding.state == "slow"
    assert "by a pool of threads: a sandbox forbids it" in finding.found


def test_numa_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [
        {"id": 0, "cpus": "0-3", "total_bytes": 8 << 30, "available_bytes": 3 << 30, "distances": [10, 17]},
        {"id": 2, "cpus": "", "total_bytes": 4 << 30, "available_bytes": 4 << 30, "distances": [17, 10]},
        {"id": 3, "cpus": "4", "total_bytes": 0, "available_bytes": 0, "distances": []},
    ]
    monkeypatch.setattr("tiervec._core.numa_nodes", lambda: nodes)
    findings = {finding.name: finding for finding in doctor.diagnose()}
    assert findings["numa:0"].found == ("3 GiB available of 8 GiB; CPUs 0-3; distance 10 to node 0, 17 to node 2")
    assert findings["numa:2"].found == (
        "4 GiB available of 4 GiB; no CPUs: memory that came alone, such as CXL memory; "
        "distance 17 to node 0, 10 to node 2"
    )
    assert (findings["numa:3"].state, findings["numa:3"].found) == ("absent", "no memory; CPUs 4")
    monkeypatch.setattr("tiervec._core.numa_nodes", list)
    findings = {finding.name: finding for finding in doctor.diagnose()}
    assert findings["numa:<node>"].found == "this kernel has no NUMA support"


def test_dax_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = [
        {"name": "dax0.0", "size_bytes": 510 << 20, "align_bytes": 2 << 20, "node": 1},
        {"name": "dax1.0", "size_bytes": 1 << 30, "align_bytes": 4096, "node": -1},
    ]
    monkeypatch.setattr("tiervec._core.dax_devices", lambda: devices)
    findings = {finding.name: finding for finding in doctor.diagnose()}
    assert findings["dax:/dev/dax0.0"].found == "510 MiB, mapped in pages of 2 MiB, NUMA node 1"
    assert findings["dax:/dev/dax1.0"].found == "1 GiB, mapped in pages of 4 KiB"
    assert "no DAX device" not in findings["dax:<path>"].found
    monkeypatch.setattr("tiervec._core.dax_devices", list)
    findings = {finding.name: finding for finding in doctor.diagnose()}
    assert findings["dax:<path>"].found.endswith("; no DAX device here")


def test_text(command: Any) -> None:
    outcome = command("doctor")
    assert (outcome.status, outcome.err) == (0, "")
    for words in ("TierVec", "CPUs", "Machine", "Optional libraries", "Python packages", "Tiers"):
        assert words in outcome.out


def test_what_is_absent_says_why_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    library = doctor._Library(name="libnone", soname="libnone.so.9", debian="libnone9", gives="none: tier")
    monkeypatch.setattr(doctor, "_LIBRARIES", (library,))
    monkeypatch.setattr(doctor, "_PACKAGES", (("no_such_module", "no-such", "tiervec[extra]", "nothing"),))
    findings = {finding.name: finding for finding in doctor.diagnose()}
    assert findings["libnone"].state == findings["no_such_module"].state == "absent"
    assert "libnone.so.9" in findings["libnone"].found
    assert findings["libnone"].advice == "apt-get install libnone9"
    assert findings["no_such_module"].found == "No module named 'no_such_module'"
    assert findings["no_such_module"].advice == "pip install 'tiervec[extra]'"


@pytest.mark.parametrize(("limit", "state"), [(8 << 20, "slow"), (resource.RLIM_INFINITY, "ok")])
def test_locked_memory(monkeypatch: pytest.MonkeyPatch, limit: int, state: str) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    finding = doctor._locked_memory()
    assert finding.state == state
    assert ("ulimit -l unlimited" in finding.advice) == (state == "slow")


def test_an_rdma_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "_INFINIBAND", tmp_path / "infiniband")
    finding = doctor._rdma_device()
    assert finding.state == "absent"
    assert "rdma_rxe" in finding.advice
    port = tmp_path / "infiniband" / "mlx5_0" / "ports" / "1"
    port.mkdir(parents=True)
    for name, text in (("state", "4: ACTIVE"), ("link_layer", "Ethernet"), ("rate", "200 Gb/sec (4X HDR)")):
        (port / name).write_text(text + "\n")
    finding = doctor._rdma_device()
    assert finding.state == "ok"
    assert finding.found == "mlx5_0/1 Ethernet 4: ACTIVE 200 Gb/sec (4X HDR)"
    (port / "state").write_text("1: DOWN\n")
    assert doctor._rdma_device().state == "slow"


@pytest.mark.parametrize(
    ("text", "state", "words"),
    [
        ("always [madvise] never", "ok", "madvise"),
        ("[always] madvise never", "ok", "always"),
        ("always madvise [never]", "slow", "never"),
        (None, "absent", "No such file or directory"),
    ],
)
def test_huge_pages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None, state: str, words: str) -> None:
    path = tmp_path / "enabled"
    if text is not None:
        path.write_text(text + "\n")
    monkeypatch.setattr(doctor, "_HUGE_PAGES", path)
    finding = doctor._huge_pages()
    assert finding.state == state
    assert words in finding.found
    assert bool(finding.advice) == (state == "slow")
