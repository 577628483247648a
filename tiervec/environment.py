"""The machine and software that a figure was measured on; every published figure carries it."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from tiervec.installed_version import installed_version

__all__ = ["environment"]

_MEMINFO = Path("/proc/meminfo")
_CPUINFO = Path("/proc/cpuinfo")
_OS_RELEASE = Path("/etc/os-release")


def environment() -> dict[str, Any]:
    """Describes this machine and this installation.

    Returns:
        ``cpu`` (model), ``cores``, ``allowed_cpus`` (number this process may use), ``simd`` (level the distances use),
        ``memory_bytes``, ``os``, ``kernel``, ``python``, ``tiervec`` (version) and ``commit`` (of a source tree, with
        ``-dirty`` when it has changes). What cannot be found out is None.

    Example:
        >>> sorted(environment())[:3]
        ['allowed_cpus', 'commit', 'cores']
    """
    return dict(_environment())


@functools.cache
def _environment() -> dict[str, Any]:
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "allowed_cpus": len(os.sched_getaffinity(0)),
        "simd": _simd(),
        "memory_bytes": _memory_bytes(),
        "os": _os_name(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "tiervec": installed_version(),
        "commit": _commit(Path(__file__).resolve().parent),
    }


def _simd() -> str:
    from tiervec import _core

    return str(_core.simd_level())


def _cpu_model() -> str | None:
    for line in _lines(_CPUINFO):
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model", "cpu model"):
            return value.strip()
    return platform.processor() or platform.machine() or None


def _memory_bytes() -> int | None:
    for line in _lines(_MEMINFO):
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return None


def _os_name() -> str:
    for line in _lines(_OS_RELEASE):
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip().strip('"')
    return platform.system()


def _commit(package: Path) -> str | None:
    # Only a source tree of ours: an environment inside somebody else's repository has nothing to do with its commits.
    if not (package.parent / ".git").exists() or not (package.parent / "CMakeLists.txt").exists():
        return None
    command = ["git", "-C", str(package.parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
