"""Progress of a long command on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

__all__ = ["ProgressReport"]

_BAR_CELLS = 24
_BAR_INTERVAL_S = 0.1
_LINE_INTERVAL_S = 10.0


class ProgressReport:
    """A progress callback for ``tiervec.build``; a context manager that leaves the cursor on a fresh line.

    Args:
        stream: Where to write; None means stderr.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._on_terminal = self._stream.isatty()
        self._stage = ""
        self._stage_is_complete = False
        self._drawn_at = 0.0
        self._stage_began_at = 0.0
        self._bar_is_open = False

    def __call__(self, stage: str, done: int, total: int, eta_s: float | None) -> None:
        """Shows that `done` of `total` steps of `stage` are done, and the time that is left in seconds."""
        now = time.monotonic()
        is_new, is_complete = stage != self._stage, done >= total
        if is_new:
            self._finish_bar()
            self._stage, self._stage_began_at = stage, now
        elif self._stage_is_complete:
            return
        self._stage_is_complete = is_complete
        interval_s = _BAR_INTERVAL_S if self._on_terminal else _LINE_INTERVAL_S
        if not (is_new or is_complete) and now - self._drawn_at < interval_s:
            return
        self._drawn_at = now
        text = stage
        if total > 1 or not (is_new and is_complete):  # otherwise it is a remark, not work
            text += self._amount(done, total) + self._time_text(now, is_complete, eta_s)
        if self._on_terminal:
            self._draw_bar(text, done, total)
        else:
            print(text, file=self._stream, flush=True)

    def __enter__(self) -> ProgressReport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish_bar()

    def _amount(self, done: int, total: int) -> str:
        return f": {done / total:.0%} ({done:,} of {total:,})" if total > 1 else ""

    def _time_text(self, now: float, is_complete: bool, eta_s: float | None) -> str:
        if is_complete:
            return f", {_duration(now - self._stage_began_at)}"
        return "" if eta_s is None else f", {_duration(eta_s)} left"

    def _draw_bar(self, text: str, done: int, total: int) -> None:
        filled = _BAR_CELLS * done // total if total else 0
        bar = "#" * filled + "." * (_BAR_CELLS - filled)
        self._stream.write(f"\r\x1b[K[{bar}] {text}")
        self._stream.flush()
        self._bar_is_open = True

    def _finish_bar(self) -> None:
        if self._bar_is_open:
            self._stream.write("\n")
            self._stream.flush()
            self._bar_is_open = False


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60} s"
    return f"{seconds:.1f} s"
