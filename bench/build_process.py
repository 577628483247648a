"""A build in a process of its own, whose peak memory is then that of the build alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tiervec

__all__ = ["Built", "build_in_process"]


@dataclass(frozen=True, kw_only=True)
class Built:
    """What a build took.

    Attributes:
        seconds: Wall time of `tiervec.build`.
        peak_bytes: Largest resident memory of the process; vectors are read, not mapped.
        raw_bytes: Bytes of the vectors.
    """

    seconds: float
    peak_bytes: int
    raw_bytes: int

    def __str__(self) -> str:
        share = self.peak_bytes / self.raw_bytes
        return f"{self.seconds:.0f} s, peak memory {self.peak_bytes / 2**20:.0f} MiB, {share:.2f} times the raw data"


def build_in_process(
    data: Path, out: Path, *, kind: str, params: Mapping[str, Any] | None = None, threads: int = 0
) -> Built:
    """`tiervec.build` with these arguments.

    Raises:
        RuntimeError: The build failed; what it printed is the message.
    """
    order = {"data": str(data), "out": str(out), "kind": kind, "params": dict(params or {}), "threads": threads}
    command = [sys.executable, "-m", "tiervec.bench.build_process"]
    done = subprocess.run(command, input=json.dumps(order), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip() or f"the build ended with status {done.returncode}")
    return Built(**json.loads(done.stdout.splitlines()[-1]))


def main() -> int:
    """Reads the arguments of a build from stdin, builds, and prints what it took."""
    order = json.load(sys.stdin)
    began = time.perf_counter()
    info = tiervec.build(
        order["data"], order["out"], kind=order["kind"], params=order["params"], threads=order["threads"]
    )
    seconds = time.perf_counter() - began
    peak = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    built = Built(seconds=seconds, peak_bytes=1024 * int(peak[1]), raw_bytes=info.dataset_bytes)
    print(json.dumps(asdict(built)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
