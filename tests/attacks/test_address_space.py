"""Too little address space: one sentence of ours, instead of what OpenBLAS prints when numpy is imported."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest


@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
@pytest.mark.parametrize("mebibytes", [64, 96, 128, 144, 160, 192, 256, 512])
def test_every_limit_ends_in_one_sentence(limit: str, mebibytes: int) -> None:
    which, size = getattr(resource, limit), mebibytes << 20
    done = subprocess.run(
        [sys.executable, "-m", "tiervec.cli", "info", "/no/such/index"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(which, (size, size)),
    )
    assert done.returncode == 1
    assert "OpenBLAS" not in done.stderr
    assert "Traceback" not in done.stderr
    *notes, last = done.stderr.splitlines()
    assert notes in ([], [line for line in notes if line.startswith("numpy calculates with one thread: `ulimit -")])
    if mebibytes < 128 and limit == "RLIMIT_AS":
        assert last.startswith(f"tiervec: error: `ulimit -v` limits this process to {size:,} bytes of address space")
    else:
        assert last.startswith(("tiervec: error: `ulimit -", "tiervec: error: index directory /no/such/"))


def test_help_needs_no_address_space() -> None:
    size = 64 << 20
    done = subprocess.run(
        [sys.executable, "-m", "tiervec.cli", "--version"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (size, size)),
    )
    assert (done.returncode, done.stderr) == (0, "")
