"""The process that measures one system: reads requests from stdin, a JSON object a line, and answers on stdout.

    python child.py SYSTEM_FILE        the file defines a class `System`, see `Measured`

    {"do": "version", ...}   -> {"ok": true, "version": "0.8.0"}
    {"do": "build", ...}     -> {"ok": true, "seconds": 1.5, "peak_bytes": 123}
    {"do": "open", ...}      -> {"ok": true, "memory_bytes": 123, "fast_bytes": 120, "tier_bytes": 0, "notes": []}
    {"do": "search", ...}    -> {"ok": true, "seconds": 0.5, ...}; the ids go into a .npy file
    anything that fails      -> {"ok": false, "kind": "missing" | "failed" | "full", "reason": "..."}

What a library prints on stdout goes to stderr, so that it cannot break the protocol. The process ends when stdin does,
and with its parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib.util
import json
import os
import re
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

_DTYPES = {".fbin": "<f4", ".f16bin": "<f2", ".u8bin": "u1", ".i8bin": "i1"}
_BLOCK_BYTES = 16 * 1024 * 1024
_SET_PDEATHSIG, _SET_TIMERSLACK = 1, 29
# As in durable_files.py, which other environments do not have.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SHORT_WRITE = re.compile(r"[0-9]+ requested and [0-9]+ written")  # ndarray.tofile's full disk has no errno
_DRAIN = 2.0  # an open run may last so many times as long as its arrivals


class Vectors:
    """The vectors in a big-ann file: read and not mapped, so that its pages do not count as the system's memory."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.dtype = np.dtype(_DTYPES[Path(path).suffix])
        rows, dim = np.fromfile(path, "<u4", 2)
        self.shape = (int(rows), int(dim))

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Rows from `start` up to `stop`."""
        row_bytes = self.shape[1] * self.dtype.itemsize
        flat = np.fromfile(self.path, self.dtype, (stop - start) * self.shape[1], offset=8 + start * row_bytes)
        return flat.reshape(stop - start, self.shape[1])

    def all(self) -> NDArray[Any]:
        """All rows at once."""
        return self.rows(0, self.shape[0])

    def blocks(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """(first row, block of rows) in order."""
        step = max(1, _BLOCK_BYTES // (self.shape[1] * self.dtype.itemsize))
        for first in range(0, self.shape[0], step):
            yield first, self.rows(first, min(first + step, self.shape[0]))

    def sample(self, count: int, seed: int) -> NDArray[Any]:
        """So many rows at random, in order."""
        if count >= self.shape[0]:
            return self.all()
        chosen = np.sort(np.random.default_rng(seed).choice(self.shape[0], count, replace=False))
        return np.concatenate(
            [block[chosen[(chosen >= first) & (chosen < first + len(block))] - first] for first, block in self.blocks()]
        )


class Job:
    """What a system is told when it is made.

    Attributes:
        folder: Where the index is or will be.
        metric: ``l2``, ``ip`` or ``cosine``.
        dim: Dimension.
        dtype: Element type of the vectors.
        threads: Threads of the build or of the searches.
        seed: Seed for all randomness.
        build: Build parameters.
        opening: Parameters that are fixed when an index is opened.
        tier: URL, or None.
        source: Folder of an index to convert, which differs in `conversion_keys` alone, or of one of another system to
            import; None: build from the vectors.
        conversion_keys: Build parameters that an index can change afterwards.
        variant: What tells several systems of one module apart.
    """

    def __init__(self, request: Mapping[str, Any]) -> None:
        self.folder = Path(request["folder"])
        self.metric = str(request["metric"])
        self.dim = int(request["dim"])
        self.dtype = str(request["dtype"])
        self.threads = int(request["threads"])
        self.seed = int(request["seed"])
        self.build: dict[str, Any] = request["build"]
        self.opening: dict[str, Any] = request["opening"]
        self.tier: str | None = request["tier"]
        self.source = None if request.get("source") is None else Path(request["source"])
        self.conversion_keys: list[str] = request.get("conversion_keys", [])
        self.variant: dict[str, Any] = request["variant"]

    def parameters(self, given: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
        """`known` with the values of `given`; ValueError for a key that is not known."""
        for key in given:
            if key not in known:
                raise ValueError(f"unknown parameter {key!r}; known: {', '.join(known) or 'none'}")
        return {**known, **given}


class Measured(Protocol):
    """What a module defines as ``System``; it imports its library in `__init__`."""

    def __init__(self, job: Job) -> None: ...

    def version(self) -> str:
        """The library's version."""

    def build(self, vectors: Vectors) -> None:
        """Leaves the index in ``job.folder``."""

    def open(self) -> Mapping[str, Any]:
        """Opens it; returns what it knows of ``fast_bytes``, ``tier_bytes`` and ``notes``."""

    def configure(self, k: int, params: Mapping[str, Any]) -> None:
        """Takes search parameters."""

    def prepare_queries(self, queries: NDArray[Any]) -> NDArray[Any]:
        """Queries in the form that `search` takes, outside of what is timed."""

    def search(self, queries: NDArray[Any], k: int, threads: int) -> tuple[Any, Mapping[str, Any] | None]:
        """Answers queries; with ``threads=1`` several callers call it at the same time.

        Returns:
            ids (queries, k), and counters or None: ``reads``, ``bytes_read``, ``rounds``, ``code_distances`` as sums
            over the queries, ``device_s`` (seconds that the device is busy), ``latency_us`` (an array), ``notes``.
        """

    # A system may also have ``device_seconds(self, sums)``, which is called after each run with the sums of its
    # counters: how long its reads keep the device busy, measured now or known before; None: there is no limit. And
    # ``close(self)``, which is called before the process ends.


def main(system_file: str) -> None:
    """Answers requests until stdin ends."""
    ctypes.CDLL(None).prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # C and Python both print to stderr from here on
    here = str(Path(__file__).resolve().parent)
    sys.path[:] = [place for place in sys.path if place != here]  # `import faiss` must not find faiss.py here
    session = _Session(system_file)
    for line in sys.stdin:
        answers.write(json.dumps(_answer(session, json.loads(line))) + "\n")
        answers.flush()
    session.close()


def _answer(session: _Session, request: dict[str, Any]) -> dict[str, Any]:
    try:
        found = {"version": session.version, "build": session.build, "open": session.open, "search": session.search}[
            request["do"]
        ](request)
        return {"ok": True, **found}
    except ImportError as error:
        return {"ok": False, "kind": "missing", "reason": _sentence(error)}
    except MemoryError as error:
        full = getattr(error, "code", None) == "disk_full"  # of tiervec, which other environments do not have
        return {"ok": False, "kind": "full" if full else "failed", "reason": f"out of memory: {_sentence(error)}"}
    except OSError as error:
        full = error.errno in _FULL or (error.errno is None and _SHORT_WRITE.search(str(error)) is not None)
        return {"ok": False, "kind": "full" if full else "failed", "reason": _sentence(error)}
    except Exception as error:
        return {"ok": False, "kind": "failed", "reason": _sentence(error)}


class _Session:
    """One system, and what is open."""

    def __init__(self, system_file: str) -> None:
        self._file = system_file
        self._system: Any = None
        self._queries: NDArray[Any] = np.empty((0, 0))

    def version(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"version": self._load(request).version()}

    def build(self, request: dict[str, Any]) -> dict[str, Any]:
        system = self._load(request)
        vectors = Vectors(request["vectors"])
        began = time.perf_counter()
        system.build(vectors)
        return {"seconds": time.perf_counter() - began, "peak_bytes": _memory_of("VmHWM")}

    def open(self, request: dict[str, Any]) -> dict[str, Any]:
        system = self._load(request)
        self._queries = system.prepare_queries(np.load(request["queries"])[: request["most_queries"]])
        before = _memory_of("RssAnon") + _memory_of("RssShmem")
        known = dict(system.open())
        memory = _memory_of("RssAnon") + _memory_of("RssShmem") - before
        return {"memory_bytes": max(memory, 0), "version": system.version(), **known}

    def search(self, request: dict[str, Any]) -> dict[str, Any]:
        run = _Run(self._system, self._queries[: request["most_queries"]], request)
        self._system.configure(request["k"], request["params"])
        run.execute()
        np.save(request["ids"], run.ids)
        found = run.figures()
        if (device_seconds := getattr(self._system, "device_seconds", None)) is not None:
            found["sums"]["device_s"] = device_seconds(found["sums"])
        return found

    def close(self) -> None:
        if (close := getattr(self._system, "close", None)) is not None:
            close()

    def _load(self, request: dict[str, Any]) -> Any:
        if self._system is None:
            if request["affinity"] is not None:
                os.sched_setaffinity(0, request["affinity"])
            found = importlib.util.spec_from_file_location("measured_system", self._file)
            if found is None or found.loader is None:
                raise ImportError(f"{self._file} is no Python module")
            module = importlib.util.module_from_spec(found)
            found.loader.exec_module(module)
            self._system = module.System(Job(request))
        return self._system


class _Run:
    """One run over the queries: all in one call, by several callers, or as they arrive."""

    def __init__(self, system: Any, queries: NDArray[Any], request: dict[str, Any]) -> None:
        self._system, self._queries = system, queries
        self._k, self._threads, self._batch = request["k"], request["threads"], request["batch"]
        # Of the open mode: when each query is due, in seconds from the start; they are repeated as often as needed.
        self._due = None if request["arrivals"] is None else np.load(request["arrivals"])
        count = len(queries) if self._due is None else len(self._due)
        self.ids = np.full((count, self._k), -2, np.int64)  # -2: not answered
        self._latency_us: NDArray[np.float32] | None = np.full(count, np.nan, np.float32)
        self._sums: dict[str, float] = {}
        self._notes: list[str] = []
        self._lock = threading.Lock()
        self._position = 0  # of the next query that nobody has taken
        self._failure: BaseException | None = None
        self._stop_at = np.inf

    def execute(self) -> None:
        """Searches; the times are those of this process."""
        cpu_before, began = _cpu_seconds(), time.perf_counter()
        self.started = time.time()
        if self._due is not None:
            self._stop_at = began + float(self._due[-1]) * _DRAIN + 1.0
        if self._batch == 0:
            self._answer(slice(0, len(self.ids)), self._threads)
        else:
            callers = [threading.Thread(target=self._call, args=(began,)) for _ in range(self._threads)]
            for caller in callers:
                caller.start()
            for caller in callers:
                caller.join()
        self.seconds = time.perf_counter() - began
        self._cpu_s = _cpu_seconds() - cpu_before
        if self._failure is not None:
            raise self._failure

    def figures(self) -> dict[str, Any]:
        """What was measured, as JSON."""
        answered = int((self.ids[:, 0] != -2).sum())
        latency = None
        if self._latency_us is not None and answered:
            # A query that nobody came to waited at least until the end.
            times = np.nan_to_num(self._latency_us, nan=float(np.nanmax(self._latency_us)))
            latency = {f"p{percent}": float(np.percentile(times, percent)) for percent in (50, 95, 99)}
        return {
            "started": self.started,
            "seconds": self.seconds,
            "answered": answered,
            "unanswered": len(self.ids) - answered,
            "latency_us": latency,
            "cpu_s": self._cpu_s,
            "peak_bytes": _memory_of("VmHWM"),
            "sums": self._sums,
            "notes": self._notes,
        }

    def _call(self, began: float) -> None:
        """One caller: takes the next queries, waits until they are due, asks, and so on."""
        ctypes.CDLL(None).prctl(_SET_TIMERSLACK, 1, 0, 0, 0)  # nanoseconds; sleeping is otherwise 50 us too long
        try:
            while self._failure is None and (part := self._next(began)) is not None:
                asked = time.perf_counter()
                self._answer(part, 1)
                now = time.perf_counter()
                since = asked if self._due is None else began + self._due[part]
                assert self._latency_us is not None
                self._latency_us[part] = (now - since) * 1e6
        except BaseException as error:
            self._failure = error

    def _next(self, began: float) -> slice | None:
        """The next queries: in the open mode those that are due by now, at least one, at most a batch."""
        with self._lock:
            first = self._position
            if first >= len(self.ids) or time.perf_counter() > self._stop_at:
                return None
            last = min(first + self._batch, len(self.ids))
            if self._due is not None:
                is_due = int(np.searchsorted(self._due, time.perf_counter() - began, side="right"))
                last = max(first + 1, min(last, is_due))
            self._position = last
        if self._due is not None and (wait := began + float(self._due[first]) - time.perf_counter()) > 0:
            time.sleep(wait)
        return slice(first, last)

    def _answer(self, part: slice, threads: int) -> None:
        if self._due is None:
            queries = self._queries[part]
        else:
            queries = self._queries[np.arange(part.start, part.stop) % len(self._queries)]
        ids, counters = self._system.search(queries, self._k, threads)
        self.ids[part] = ids
        with self._lock:
            self._count(counters)

    def _count(self, counters: Mapping[str, Any] | None) -> None:
        latency = None if counters is None else counters.get("latency_us")
        if self._batch == 0:
            self._latency_us = latency
        for key, value in (counters or {}).items():
            if key == "notes":
                self._notes += [note for note in value if note not in self._notes]
            elif key != "latency_us" and value is not None:
                self._sums[key] = self._sums.get(key, 0.0) + float(value)


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _memory_of(name: str) -> int:
    """A line of /proc/self/status in bytes; 0 where there is none."""
    with contextlib.suppress(OSError), open("/proc/self/status") as status:
        for line in status:
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return 0


def _sentence(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:500]


if __name__ == "__main__":
    main(sys.argv[1])
