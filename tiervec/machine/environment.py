"""The machine and software that a figure was measured on; every published figure carries it."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from tiervec.machine.installed_version import installed_version

__all__ = ["environment", "own_version"]

_MEMINFO = Path("/proc/meminfo")
_CPUINFO = Path("/proc/cpuinfo")
_OS_RELEASE = Path("/etc/os-release")


def environment() -> dict[str, Any]:
    """Describes this machine and this installation.

    Returns:
        ``cpu`` (model), ``cores``, ``allowed_cpus`` (number this process may use), ``simd`` (level the distances use),
        ``memory_bytes``, ``os``, ``kernel``, ``python``, ``tiervec`` (version) and ``commit`` (of a source tree; with
        ``-dirty-`` and a hash of its changes when it has any). What cannot be found out is None.

    Example:
        >>> sorted(environment())[:3]
        ['allowed_cpus', 'commit', 'cores']
    """
    return dict(_environment())


def own_version() -> str:
    """Version and commit of this installation, as it was when first asked: another commit may build another index."""
    described = _environment()
    return f"{described['tiervec']} {described['commit'] or ''}".strip()


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
        "commit": _commit(Path(__file__).resolve().parent.parent),
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
    described = _git(package.parent, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    if described is None or not (name := described.decode().strip()):
        return None
    if name.endswith("-dirty"):
        name += "-" + hashlib.sha256(_git(package.parent, "diff", "HEAD") or b"").hexdigest()[:8]
    return name


def _git(folder: Path, *arguments: str) -> bytes | None:
    try:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
