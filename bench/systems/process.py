"""The other end of `child.py`: starts the process of a system, asks it, and survives what it does."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from tiervec.bench.systems.registry import SystemSpec

__all__ = ["SystemFailedError", "SystemProcess"]

_CHILD: Final = Path(__file__).parent / "child.py"
_LONGEST_ANSWER: Final = 16 * 1024 * 1024
_LONGEST_END_S: Final = 2.0
_POLL_S: Final = 0.005
_KILLED_BY_KERNEL: Final = "; the kernel kills so when memory is used up"


class SystemFailedError(Exception):
    """A system did not answer as it should.

    Attributes:
        status: As in `tiervec.bench.results.Result`; ``full``: the disk is full, which no other system survives either.
        reason: One sentence.
    """

    def __init__(self, status: Literal["crashed", "hung", "missing", "failed", "full"], reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class SystemProcess:
    """One system in a process of its own; a context manager that ends it.

    Args:
        spec: The system.
        python: Interpreter.
        threads: Told to OpenMP and BLAS.
        log: File for what it prints.
    """

    def __init__(self, spec: SystemSpec, *, python: Path, threads: int, log: Path) -> None:
        self._spec, self._log, self._rest = spec, log, b""
        variables = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
        variables["KMP_BLOCKTIME"] = "1"  # ms; Intel's threads spin for 200 ms after a run, in the next system's turn
        with open(log, "ab") as output:
            self._process = subprocess.Popen(
                [str(python), str(_CHILD), str(spec.file)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env={**os.environ, **variables, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,  # Ctrl-C is ours to handle; and what it starts ends with it
            )

    @property
    def pid(self) -> int:
        """Peak memory of the process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it can still be asked."""
        return self._process.returncode is None

    def ask(self, request: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
        """Sends a request and waits for the answer.

        Raises:
            SystemFailedError: It crashed, took longer than `limit_s` and was killed, or said no.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._crashed() from None
        answer = self._read_line(limit_s, str(request["do"]))
        if answer.get("ok") is True:
            return answer
        status = {"missing": "missing", "full": "full"}.get(str(answer.get("kind")), "failed")
        raise SystemFailedError(status, str(answer.get("reason")))  # type: ignore[arg-type]

    def close(self) -> None:
        """Lets it end by itself, within a moment, and ends what is left."""
        assert self._process.stdin is not None
        deadline = time.monotonic() + _LONGEST_END_S
        try:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            # Not waited for as such: until it is, its number is that of its group.
            while self.is_alive and time.monotonic() < deadline:
                if os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                    break
                time.sleep(_POLL_S)
        finally:
            self.kill()

    def kill(self) -> None:
        """Ends it, and what it started."""
        if self._process.returncode is None:  # afterwards its number may be somebody else's
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()

    def __enter__(self) -> SystemProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_line(self, limit_s: float, what: str) -> dict[str, Any]:
        assert self._process.stdout is not None
        descriptor, deadline = self._process.stdout.fileno(), time.monotonic() + limit_s
        while b"\n" not in self._rest:
            left = deadline - time.monotonic()
            ready: Sequence[int] = select.select([descriptor], [], [], max(0.0, left))[0]
            if not ready:
                self.kill()
                raise SystemFailedError("hung", f"{what} took longer than {limit_s:g} s and was ended")
            part = os.read(descriptor, 1 << 16)
            if not part:
                raise self._crashed()
            self._rest += part
            if len(self._rest) > _LONGEST_ANSWER:
                self.kill()
                raise SystemFailedError("failed", f"{what}: an answer of more than {_LONGEST_ANSWER} bytes")
        line, _, self._rest = self._rest.partition(b"\n")
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            self.kill()
            raise SystemFailedError("failed", f"{what}: it answered {line[:80]!r}")
        return answer

    def _crashed(self) -> SystemFailedError:
        # What it started must end too, and its own status must not become that of our signal.
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        self.kill()
        code = self._process.returncode
        if code < 0:
            by = signal.Signals(-code).name
            reason = f"ended by {by}{_KILLED_BY_KERNEL if by == 'SIGKILL' else ''}"
        else:
            reason = f"ended by itself with status {code}"
        last = self._last_words()
        return SystemFailedError("crashed", f"{reason}{f'; its last words: {last}' if last else ''}")

    def _last_words(self) -> str:
        try:
            text = self._log.read_bytes()[-4096:].decode(errors="replace")
        except OSError:
            return ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1][:200] if lines else ""
