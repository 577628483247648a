"""Looks at what TierVec can use on this machine.

For everything absent it says why, what it would give, and how to get it.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import re
import resource
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tiervec.arguments.sizes import format_size

__all__ = ["Finding", "diagnose"]

_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_INFINIBAND = Path("/sys/class/infiniband")
_CPUINFO = Path("/proc/cpuinfo")

State = Literal["ok", "slow", "absent"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing looked at.

    Attributes:
        topic: Group: ``machine``, ``library``, ``package`` or ``tier``.
        name: What was looked at.
        state: ``ok``; ``slow``, when it works and could be faster; ``absent``.
        found: What is there, or why nothing is.
        gives: What it is good for; empty where the name says it.
        advice: What to do about it; empty when nothing needs to be done.
    """

    topic: str
    name: str
    state: State
    found: str
    gives: str = ""
    advice: str = ""

    def as_dict(self) -> dict[str, str]:
        """The finding as plain texts."""
        return asdict(self)


def diagnose() -> list[Finding]:
    """Looks at the machine, at optional libraries and Python packages, and at the tiers.

    Returns:
        Findings, grouped by topic. Nothing raises: what fails is a finding.

    Example:
        >>> from tiervec.machine.doctor import diagnose
        >>> sorted({finding.topic for finding in diagnose()})
        ['library', 'machine', 'package', 'tier']
    """
    return [*_machine(), *_libraries(), *_packages(), *_tiers()]


def _machine() -> list[Finding]:
    return [_extension(), _simd(), _cpus(), _memory(), _huge_pages(), _locked_memory(), _rdma_device()]


def _extension() -> Finding:
    from tiervec import _core

    build = _core.build_info()
    text = f"{build['compiler']}, {build['build_type']}, {build['architecture']}"
    return Finding(topic="machine", name="extension", state="ok", found=text)


def _simd() -> Finding:
    from tiervec.machine.environment import environment

    level = environment()["simd"]
    return Finding(
        topic="machine",
        name="SIMD",
        state="slow" if level == "portable" else "ok",
        found=level,
        gives="fast distances and code scans, chosen at run time",
    )


def _cpus() -> Finding:
    from tiervec import _core

    limit = _core.cpu_limit()
    quota = f"a quota of {limit['quota_cpus']:g} CPUs ({limit['quota_source']})" if limit["quota_cpus"] else "no quota"
    return Finding(
        topic="machine",
        name="CPUs",
        state="ok",
        found=f"{limit['allowed_cpus']} allowed (affinity), {quota}: threads=0 means {limit['threads']}",
    )


def _memory() -> Finding:
    from tiervec import _core

    available = _core.available_memory()
    if not available["source"]:
        found = "not known: neither /proc/meminfo nor a control group says it"
        return Finding(
            topic="machine", name="memory", state="slow", found=found, gives="refusing a load that cannot fit"
        )
    found = f"{format_size(available['bytes'])} available, by {available['source']}"
    return Finding(topic="machine", name="memory", state="ok", found=found)


def _huge_pages() -> Finding:
    gives = "dram:, emulated: and a memory node: reads without a TLB miss each"
    try:
        text = _HUGE_PAGES.read_text().strip()
    except OSError as error:
        found = f"{_HUGE_PAGES}: {error.strerror}"
        return Finding(topic="machine", name="huge pages", state="absent", found=found, gives=gives)
    chosen = re.search(r"\[(\w+)\]", text)
    setting = chosen[1] if chosen else text
    return Finding(
        topic="machine",
        name="huge pages",
        state="ok" if setting in ("always", "madvise") else "slow",
        found=f"transparent huge pages: {setting}",
        gives=gives,
        advice="" if setting != "never" else f"as root: echo madvise > {_HUGE_PAGES}",
    )


def _locked_memory() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    limited = soft != resource.RLIM_INFINITY
    return Finding(
        topic="machine",
        name="locked memory",
        state="slow" if limited else "ok",
        found=f"limit of {soft:,} bytes" if limited else "unlimited",
        gives="a memory node whose regions are never swapped; memory registered with an RDMA device",
        advice="ulimit -l unlimited (LimitMEMLOCK=infinity for systemd, --ulimit memlock=-1 for a container)"
        if limited
        else "",
    )


def _rdma_device() -> Finding:
    gives = "rdma: tier, and memory-node --transports rdma"
    try:
        names = sorted(device.name for device in _INFINIBAND.iterdir())
    except OSError:
        names = []
    if not names:
        return Finding(
            topic="machine",
            name="RDMA device",
            state="absent",
            found=f"none in {_INFINIBAND}",
            gives=gives,
            advice="a RoCE or InfiniBand card, or soft-RoCE: modprobe rdma_rxe; rdma link add rxe0 type rxe netdev DEV",
        )
    ports = [_rdma_port(port) for name in names for port in sorted((_INFINIBAND / name / "ports").glob("*"))]
    is_up = any("ACTIVE" in port for port in ports)
    return Finding(
        topic="machine",
        name="RDMA device",
        state="ok" if is_up else "slow",
        found=", ".join(ports) or ", ".join(names),
        gives=gives,
        advice="" if is_up else "no port is active: check the link (rdma link show)",
    )


def _rdma_port(port: Path) -> str:
    def read(name: str) -> str:
        try:
            return (port / name).read_text().strip()
        except OSError:
            return "unknown"

    return f"{port.parent.parent.name}/{port.name} {read('link_layer')} {read('state')} {read('rate')}"


@dataclass(frozen=True, kw_only=True)
class _Library:
    name: str
    soname: str
    debian: str
    gives: str  # the tier, its scheme first


_LIBRARIES = (
    _Library(name="libibverbs", soname="libibverbs.so.1", debian="libibverbs1 ibverbs-providers", gives="rdma: tier"),
    _Library(name="librdmacm", soname="librdmacm.so.1", debian="librdmacm1", gives="rdma: tier"),
)


def _libraries() -> list[Finding]:
    return [_library(library) for library in _LIBRARIES]


def _library(library: _Library) -> Finding:
    gives = f"the {library.gives}"
    try:
        ctypes.CDLL(library.soname)
    except OSError as error:
        return Finding(
            topic="library",
            name=library.name,
            state="absent",
            found=_one_line(error),
            gives=gives,
            advice=f"apt-get install {library.debian}",
        )
    return Finding(topic="library", name=library.name, state="ok", found=library.soname, gives=gives)


_PACKAGES = (
    ("faiss", "faiss-cpu", "faiss-cpu", "builds of clusters, and code=pq"),
    ("h5py", "h5py", "tiervec[hdf5]", ".hdf5 files"),
    ("pyarrow", "pyarrow", "tiervec[parquet]", ".parquet files and Arrow arrays"),
    ("hnswlib", "hnswlib", "tiervec[bench]", "tiervec bench: a system to compare with"),
    ("matplotlib", "matplotlib", "tiervec[bench]", "tiervec bench report"),
    ("zstandard", "zstandard", "tiervec[bench]", "tiervec bench: packed data sets"),
)


def _packages() -> list[Finding]:
    return [_package(*package) for package in _PACKAGES]


def _package(module: str, distribution: str, requirement: str, gives: str) -> Finding:
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken installation raises anything
        return Finding(
            topic="package",
            name=module,
            state="absent",
            found=_one_line(error),
            gives=gives,
            advice=f"pip install '{requirement}'",
        )
    return Finding(topic="package", name=module, state="ok", found=_version(distribution), gives=gives)


def _version(distribution: str) -> str:
    try:
        return f"version {importlib.metadata.version(distribution)}"
    except importlib.metadata.PackageNotFoundError:
        return "version unknown"


def _tiers() -> list[Finding]:
    from tiervec import _core

    schemes = _core.tier_schemes()
    findings: list[Finding] = []
    for scheme in schemes:
        if scheme["name"] == "emulated":
            findings += [_emulated(profile) for profile in _core.emulated_profiles()]
        elif scheme["name"] == "numa":
            findings += _numa(_core.numa_nodes())
        elif scheme["name"] == "dax":
            findings += _dax(scheme["summary"], _core.dax_devices())
        elif scheme["name"] == "ssd":
            findings.append(_ssd(scheme, _core.io_uring_status()))
        elif scheme["name"] == "rdma":
            findings.append(_rdma(scheme, _core.verbs_status()))
        else:
            findings.append(Finding(topic="tier", name=scheme["form"], state="ok", found=scheme["summary"]))
    return findings


def _emulated(profile: Mapping[str, Any]) -> Finding:
    figures = (
        f"{profile['latency_us']:g} us, {profile['reads_per_s'] / 1e6:g} M reads/s, "
        f"{profile['bytes_per_s'] / 1e9:g} GB/s, blocks of {profile['block_bytes']} B"
    )
    found = f"a model of {profile['summary']}: {figures} ({profile['source']})"
    return Finding(topic="tier", name=f"emulated:{profile['name']}", state="ok", found=found)


def _ssd(scheme: Mapping[str, str], io_uring: Mapping[str, Any]) -> Finding:
    summary = scheme["summary"]
    if io_uring["available"]:
        return Finding(topic="tier", name=scheme["form"], state="ok", found=f"{summary}, by io_uring")
    return Finding(
        topic="tier",
        name=scheme["form"],
        state="slow",
        found=f"{summary}, by a pool of threads: {io_uring['reason']}",
        gives="with io_uring one system call for all reads of a flush",
    )


def _rdma(scheme: Mapping[str, str], verbs: Mapping[str, Any]) -> Finding:
    if verbs["available"]:
        found = f"{scheme['summary']}; devices: {', '.join(verbs['devices'])}"
        return Finding(topic="tier", name=scheme["form"], state="ok", found=found)
    return Finding(topic="tier", name=scheme["form"], state="absent", found=verbs["reason"], gives=scheme["summary"])


def _numa(nodes: Sequence[Mapping[str, Any]]) -> list[Finding]:
    if not nodes:
        return [Finding(topic="tier", name="numa:<node>", state="absent", found="this kernel has no NUMA support")]
    return [_numa_node(node, nodes) for node in nodes]


def _numa_node(node: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> Finding:
    name = f"numa:{node['id']}"
    cpus = f"CPUs {node['cpus']}" if node["cpus"] else "no CPUs: memory that came alone, such as CXL memory"
    if not node["total_bytes"]:
        return Finding(topic="tier", name=name, state="absent", found=f"no memory; {cpus}")
    room = f"{format_size(node['available_bytes'])} available of {format_size(node['total_bytes'])}"
    distances = ", ".join(
        f"{distance} to node {other['id']}" for distance, other in zip(node["distances"], nodes, strict=False)
    )
    return Finding(topic="tier", name=name, state="ok", found=f"{room}; {cpus}; distance {distances or 'unknown'}")


def _dax(summary: str, devices: Sequence[Mapping[str, Any]]) -> list[Finding]:
    findings = [
        Finding(
            topic="tier",
            name=f"dax:/dev/{device['name']}",
            state="ok",
            found=f"{format_size(device['size_bytes'])}, mapped in pages of {format_size(device['align_bytes'])}"
            + (f", NUMA node {device['node']}" if device["node"] >= 0 else ""),
        )
        for device in devices
    ]
    where = "" if findings else "; no DAX device here"
    return [*findings, Finding(topic="tier", name="dax:<path>", state="ok", found=summary + where)]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
