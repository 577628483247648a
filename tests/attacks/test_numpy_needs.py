"""Too little address space, no more threads: a sentence of ours instead of OpenBLAS's when numpy is imported."""

from __future__ import annotations

import os
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


# What the command asks before numpy is imported, under a limit that binds root too once it is another user.
_WITHOUT_THREADS = """
import os, resource, sys, threading
from tiervec.cli.numpy_needs import check_numpy_needs
if os.getuid() == 0: os.setuid(65534)
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
try:
    threading.Thread(target=int).start()
except RuntimeError:
    check_numpy_needs()
    print(os.environ["OPENBLAS_NUM_THREADS"], "numpy" in sys.modules)
else:
    print("skip: RLIMIT_NPROC does not bind here")
"""


@pytest.mark.parametrize(("threads", "note"), [("4", True), ("1", False)])
def test_a_system_without_threads_leaves_numpy_one(threads: str, note: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_THREADS],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "OPENBLAS_NUM_THREADS": threads},
    )
    if done.stdout.startswith("skip"):
        pytest.skip(done.stdout)
    assert (done.returncode, done.stdout) == (0, "1 False\n"), done.stderr
    assert done.stderr.startswith("numpy calculates with one thread: the system gives no more threads") == note
