"""A memory node in a process of its own, for measurements; on loopback, ended with the block."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from tiervec.errors import UnavailableError

__all__ = ["NodeProcess"]

_START_S = 60.0
# PR_SET_PDEATHSIG, SIGKILL: the node must not outlive the measuring process, even when that is killed.
_ENDS_WITH_PARENT = (
    "import ctypes, sys; ctypes.CDLL(None).prctl(1, 9, 0, 0, 0); from tiervec.cli.main import main; sys.exit(main())"
)


class NodeProcess:
    """``tiervec memory-node``, started on construction.

    Args:
        folder: For its log.
        capacity_bytes: What it lends.
        data_dir: Where it keeps its regions, or None.
        listen: ``HOST:PORT``; port 0 picks a free one.
        transports: ``tcp``, ``rdma`` or both.

    Raises:
        UnavailableError: It did not start.
    """

    def __init__(
        self,
        folder: Path,
        *,
        capacity_bytes: int,
        data_dir: Path | None = None,
        listen: str = "127.0.0.1:0",
        transports: str = "tcp",
    ) -> None:
        self._log = folder / f"node-{time.monotonic_ns()}.log"
        command = [sys.executable, "-c", _ENDS_WITH_PARENT, "memory-node", "--listen", listen]
        command += ["--capacity", str(capacity_bytes), "--transports", transports]
        command += [] if data_dir is None else ["--data-dir", str(data_dir)]
        with open(self._log, "w") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self.address = self._wait_for_address()
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """Ends it as a power failure would."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _wait_for_address(self) -> str:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if found := re.search(r"^listening on (\S+)$", self._log.read_text(), re.MULTILINE):
                return found[1]
            time.sleep(0.005)
        said = " ".join(self._log.read_text().split())
        raise UnavailableError(f"the memory node did not start: {said}")
