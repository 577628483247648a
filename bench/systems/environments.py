"""Virtual environments for systems whose pins clash with ours, in CACHE/venvs/<name>."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tiervec.bench.systems.registry import SystemSpec
from tiervec.errors import PermissionDeniedError, UnavailableError
from tiervec.machine.durable_files import replacing_file, storage_errors

__all__ = ["make_environment", "python_of", "why_missing"]

_READY: Final = "ready.json"
_INSTALL_S: Final = 1800.0


def python_of(spec: SystemSpec, venvs: Path) -> Path | None:
    """The interpreter that runs a system; None when its environment has not been made."""
    if spec.environment is None:
        return Path(sys.executable)
    folder = venvs / spec.environment
    try:
        ready = json.loads((folder / _READY).read_bytes())
    except (OSError, ValueError):
        return None
    return folder / "bin" / "python" if ready.get("requirements") == list(spec.requirements) else None


def why_missing(spec: SystemSpec) -> str:
    """How to get an environment that has not been made."""
    accept = " --accept-licence" if spec.licence else ""
    return f"it needs an environment of its own: `tiervec bench setup {spec.name}{accept}` makes it"


def make_environment(
    spec: SystemSpec, venvs: Path, *, accept_licence: bool = False, say: Callable[[str], None] = lambda _: None
) -> Path:
    """Makes the environment of a system; does nothing when it is there.

    Args:
        spec: The system; one that runs in ours needs nothing.
        venvs: Where environments are.
        accept_licence: The user has read the terms of what is installed.
        say: Called with what is being done.

    Returns:
        Its interpreter.

    Raises:
        PermissionDeniedError: It has terms that were not accepted.
        UnavailableError: pip could not install it.
        ResourceExhaustedError: The disk is full.
    """
    found = python_of(spec, venvs)
    if found is not None or spec.environment is None:
        return found or Path(sys.executable)
    if spec.licence and not accept_licence:
        raise PermissionDeniedError(f"{spec.name}: {spec.licence}; then give --accept-licence")
    folder = venvs / spec.environment
    with storage_errors(f"making {folder}", venvs):
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
    say(f"making {folder} with {' '.join(spec.requirements)}")
    python = folder / "bin" / "python"
    _run([sys.executable, "-m", "venv", str(folder)], spec)
    _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *spec.requirements], spec)
    with replacing_file(folder / _READY) as file:
        file.write(json.dumps({"requirements": list(spec.requirements)}).encode())
    return python


def _run(command: list[str], spec: SystemSpec) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"making the environment of {spec.name} failed: {error}") from None
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower()] or lines
        last = errors[-1].strip() if errors else f"status {done.returncode}"
        raise UnavailableError(f"making the environment of {spec.name} failed: {last}")
