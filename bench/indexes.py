"""Built indexes, kept in CACHE/indexes by what they are made of, and systems that have one open.

CACHE/indexes/<system>-<hash>/            the index, as the system leaves it
CACHE/indexes/<system>-<hash>/built.json  written last: seconds, peak memory, version, machine. Without it the folder
                                          is what an interrupted build left, and is made again

An index that differs from one that is there only in what can be converted, such as the layout, is converted from it:
the same graph or clusters. A system that imports the index of another one has that index made first, in a process of
the other's own, and imports it again when it was made anew. The build figures of both kinds are those of both steps.
Builds use all CPUs, however many threads search.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tiervec.bench.datasets import Dataset
from tiervec.bench.machines import machine_of
from tiervec.bench.plan import Limits
from tiervec.bench.results import BuildFigures
from tiervec.bench.systems.environments import make_environment, python_of, why_missing
from tiervec.bench.systems.process import SystemFailedError, SystemProcess
from tiervec.bench.systems.registry import SystemSpec
from tiervec.errors import UnavailableError
from tiervec.machine.durable_files import replacing_file, storage_errors
from tiervec.machine.environment import environment, own_version

__all__ = ["IndexKey", "OpenedSystem", "Workshop", "build_seconds", "imported_folder", "index_folder", "make_index"]

_BUILT: Final = "built.json"
_TAKEN: Final = "index"  # build parameter of tiervec.py
_FULL_BYTES: Final = 16 << 20  # less free space is a full disk


@dataclass(frozen=True, kw_only=True, eq=False)
class IndexKey:
    """An open index: what is built, and how it is opened.

    Attributes:
        spec: The system.
        build: Build parameters.
        tier: URL, or None.
        opening: Parameters that are fixed when it is opened.
    """

    spec: SystemSpec
    build: Mapping[str, Any]
    tier: str | None
    opening: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The same for equal keys."""
        return json.dumps([self.spec.name, dict(self.build), self.tier, dict(self.opening)], sort_keys=True)

    @property
    def is_taken(self) -> bool:
        """Whether it is an index of ours that somebody built elsewhere, in a time that nobody knows here."""
        return self.spec.module == "tiervec" and _TAKEN in self.build


@dataclass(frozen=True, kw_only=True, eq=False)
class Workshop:
    """Where and how indexes are built.

    Attributes:
        cache: Folder of indexes and environments.
        logs: Folder for what systems print.
        limits: When something counts as hung.
        seed: Seed of builds.
        setup: Make environments that are missing.
        reuse: Take an index that another version built.
        say: Called with what is being done.
        built: Called with the folder of an index that was built or converted just now, and the seconds it took.
    """

    cache: Path
    logs: Path
    limits: Limits
    seed: int
    setup: bool = False
    reuse: bool = False
    say: Callable[[str], None] = lambda _: None
    built: Callable[[Path, float], None] = lambda _folder, _seconds: None

    def python(self, spec: SystemSpec) -> Path:
        """The interpreter of a system.

        Raises:
            SystemFailedError: Its environment is missing.
        """
        found = python_of(spec, self.cache / "venvs")
        if found is None and self.setup and not spec.licence:
            try:
                found = make_environment(spec, self.cache / "venvs", say=self.say)
            except UnavailableError as error:
                raise SystemFailedError("missing", str(error)) from None
        if found is None:
            raise SystemFailedError("missing", why_missing(spec))
        return found


class _KeptIndex:
    """An index in the cache, and the process of its system."""

    def __init__(
        self, key: IndexKey, dataset: Dataset, workshop: Workshop, threads: int, affinity: tuple[int, ...]
    ) -> None:
        self.key, self._dataset, self._workshop = key, dataset, workshop
        self._threads, self._affinity = threads, affinity
        self._folder = index_folder(workshop, key.spec, key.build, dataset, affinity)
        self._process: SystemProcess | None = None

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def make(self) -> dict[str, Any]:
        """Builds the index unless it is there; returns what its build said. The process is left as it began."""
        version = self._ask_version()
        imported = self._make_imported()
        built = _built(self._folder)
        if built is None or not self._is_of(built, version) or built.get("imported") != imported:
            built = self._build(version, imported)
            self._new_process(self._threads)  # memory of the build must not count as that of the search
        return built

    def _ask_version(self) -> str:
        process = self._new_process(self._threads)
        request = {"do": "version", **self._job(self._threads)}
        return str(process.ask(request, self._workshop.limits.build_s)["version"])

    def _make_imported(self) -> dict[str, Any] | None:
        """What the build of the index that is imported said; None for systems that import none."""
        if self.key.spec.imports is None:
            return None
        spec = self.key.spec.imports
        try:
            return {"system": spec.name, **make_index(spec, {}, self._dataset, self._workshop, self._affinity)}
        except SystemFailedError as failure:
            raise SystemFailedError(failure.status, f"{spec.name}: {failure.reason}") from None

    def _is_of(self, built: Mapping[str, Any], version: str) -> bool:
        return bool(built["version"] == version) or self._workshop.reuse

    def _build(self, version: str, imported: dict[str, Any] | None) -> dict[str, Any]:
        spec, threads = self.key.spec, len(self._affinity)
        folder = imported_folder(self._workshop, spec, self._dataset, self._affinity)
        source = self._source(version) if folder is None or imported is None else (folder, imported)
        doing = "importing" if imported is not None else "building" if source is None else "converting"
        self._workshop.say(f"{doing} {spec.name} {_words(self.key.build)} on {self._dataset.key.name}")
        process = self._new_process(threads)
        with storage_errors(f"making {self._folder}", self._workshop.cache):
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(parents=True)
        try:
            request = {
                "do": "build",
                **self._job(threads),
                "vectors": str(self._dataset.vectors_path),
                "source": None if source is None else str(source[0]),
                "conversion_keys": list(spec.conversion_keys),
            }
            answer = process.ask(request, self._workshop.limits.build_s)
        except SystemFailedError as failure:
            full = _is_disk_full(failure, self._folder)  # asked before what the build has left is removed
            shutil.rmtree(self._folder, ignore_errors=True)
            if full:
                raise SystemFailedError("full", f"the disk is full: {failure.reason}") from None
            raise
        fresh = {"seconds": 0.0, "peak_bytes": 0, "version": version, "machine": _machine()}
        before = fresh if source is None else source[1]
        built = {
            "version": version if imported is not None else before["version"],
            "seconds": before["seconds"] + answer["seconds"],
            "peak_bytes": max(before["peak_bytes"], answer["peak_bytes"]),
            "machine": before["machine"],
            "converted": source is not None and imported is None,
            "imported": imported,
            "shared": self._shared_checksum(),
        }
        with replacing_file(self._folder / _BUILT) as file:
            file.write(json.dumps(built).encode())
        self._workshop.built(self._folder, answer["seconds"])
        return built

    def _new_process(self, threads: int) -> SystemProcess:
        self.close()
        spec = self.key.spec
        python = self._workshop.python(spec)
        log = self._workshop.logs / f"{self._folder.name}.log"
        with storage_errors(f"making {log}", log.parent):
            log.parent.mkdir(parents=True, exist_ok=True)
            self._process = SystemProcess(spec, python=python, threads=threads, log=log)
        return self._process

    def _source(self, version: str) -> tuple[Path, dict[str, Any]] | None:
        """An index of this machine to convert, and what its build said."""
        if not self.key.spec.conversion_keys or self.key.is_taken:
            return None
        shared = self._shared_checksum()
        for path in sorted((self._workshop.cache / "indexes").glob(f"*/{_BUILT}")):
            built = _built(path.parent)
            if built is None or built.get("shared") != shared or built["machine"] != _machine():
                continue
            if path.parent != self._folder and not built["converted"] and self._is_of(built, version):
                return path.parent, built
        return None

    def _job(self, threads: int) -> dict[str, Any]:
        key, dataset = self.key, self._dataset.key
        return {
            "folder": str(self._folder),
            "metric": dataset.metric,
            "dim": dataset.dim,
            "dtype": dataset.dtype,
            "threads": threads,
            "affinity": list(self._affinity),
            "seed": self._workshop.seed,
            "build": dict(key.build),
            "opening": dict(key.opening),
            "tier": key.tier,
            "variant": dict(key.spec.variant),
        }

    def _shared_checksum(self) -> str:
        """The same for indexes that can be converted into each other."""
        keys = self.key.spec.conversion_keys
        build = {key: value for key, value in self.key.build.items() if key not in keys}
        return _checksum(self._workshop, self.key.spec, build, self._dataset, self._affinity)


class OpenedSystem(_KeptIndex):
    """A system in its process with an index open; restarts after a crash.

    Args:
        key: What to open.
        dataset: On what.
        workshop: Where.
        threads: Threads, at least 1.
        affinity: CPUs.

    Raises:
        SystemFailedError: It could not be built or opened.
    """

    def __init__(
        self, key: IndexKey, dataset: Dataset, workshop: Workshop, threads: int, affinity: tuple[int, ...]
    ) -> None:
        super().__init__(key, dataset, workshop, threads, affinity)
        self.figures = BuildFigures()
        self.notes: tuple[str, ...] = ()
        try:
            self._start()
        except SystemFailedError as failure:
            self.close()
            if failure.status == "missing" and key.spec.get_it:
                raise SystemFailedError("missing", f"{failure.reason}: {key.spec.get_it}") from None
            raise
        except BaseException:
            self.close()
            raise

    def search(self, request: Mapping[str, Any], asked_s: float) -> dict[str, Any]:
        """One run; starts the process again when the last run ended it.

        Args:
            request: Of `child.py`.
            asked_s: How long the run was asked to last; the limit comes on top of that.

        Raises:
            SystemFailedError: As of `SystemProcess.ask`.
        """
        if self._process is None or not self._process.is_alive:
            self._start()
        assert self._process is not None
        return self._process.ask({"do": "search", **request}, self._workshop.limits.search_s + asked_s)

    def _start(self) -> None:
        self._open(self.make())

    def _open(self, built: Mapping[str, Any]) -> None:
        request = {
            "do": "open",
            **self._job(self._threads),
            "queries": str(self._dataset.queries_path),
            "most_queries": len(self._dataset.queries),
        }
        assert self._process is not None
        answer = self._process.ask(request, self._workshop.limits.build_s)
        if self.key.spec.module == "tiervec" and answer["version"] != own_version():
            raise SystemFailedError(
                "failed",
                f"it is TierVec {answer['version']} by now, and the run began with {own_version()}: the source changed",
            )
        key, raw = self._dataset.key, self._dataset.key.raw_bytes
        is_ours = built["machine"] == _machine() and not self.key.is_taken
        tier_bytes = int(answer.get("tier_bytes", 0))
        fast_bytes = int(answer.get("fast_bytes", answer["memory_bytes"]))
        self.figures = BuildFigures(
            seconds=built["seconds"] if is_ours else None,
            peak_bytes=built["peak_bytes"] if is_ours else None,
            disk_bytes=_bytes_in(self._folder) - (self._folder / _BUILT).stat().st_size,
            memory_bytes=int(answer["memory_bytes"]),
            fast_bytes=fast_bytes,
            tier_bytes=tier_bytes,
            amplification=tier_bytes / raw if tier_bytes else None,
            fast_bytes_per_vector=fast_bytes / key.n,
            version=str(answer["version"]),
        )
        self.notes = tuple(answer.get("notes", ()))
        if built["version"] != answer["version"]:
            self.notes += (f"the index was built by version {built['version']}",)
        if built.get("converted"):
            self.notes += ("the index was converted from another layout; build figures are those of both steps",)
        if (imported := built.get("imported")) is not None:
            self.notes += (
                f"the index was built by {imported['system']} {imported['version']} and imported; "
                "build figures are those of both steps",
            )


def make_index(
    spec: SystemSpec, build: Mapping[str, Any], dataset: Dataset, workshop: Workshop, affinity: tuple[int, ...]
) -> dict[str, Any]:
    """Builds an index in `index_folder` unless it is there; returns what its build said.

    Raises:
        SystemFailedError: It could not be built.
    """
    key = IndexKey(spec=spec, build=build, tier=None, opening={})
    index = _KeptIndex(key, dataset, workshop, len(affinity), affinity)
    try:
        return index.make()
    finally:
        index.close()


def index_folder(
    workshop: Workshop, spec: SystemSpec, build: Mapping[str, Any], dataset: Dataset, affinity: tuple[int, ...]
) -> Path:
    """Where an index is kept, or will be."""
    checksum = _checksum(workshop, spec, build, dataset, affinity)
    return workshop.cache / "indexes" / f"{Path(spec.name).stem}-{checksum}"


def imported_folder(workshop: Workshop, spec: SystemSpec, dataset: Dataset, affinity: tuple[int, ...]) -> Path | None:
    """Where the index is kept that a system imports; None for one that imports none."""
    return None if spec.imports is None else index_folder(workshop, spec.imports, {}, dataset, affinity)


def build_seconds(folder: Path) -> float | None:
    """How long the build of an index took, wherever it was; None when it is still to be built."""
    built = _built(folder)
    return None if built is None else float(built["seconds"])


def _checksum(
    workshop: Workshop, spec: SystemSpec, build: Mapping[str, Any], dataset: Dataset, affinity: tuple[int, ...]
) -> str:
    chosen = {key: value for key, value in build.items() if (key, value) not in spec.build_defaults.items()}
    if spec.module == "tiervec" and _TAKEN in chosen:
        chosen[_TAKEN] = str(Path(str(chosen[_TAKEN])).resolve())
    made_of = [
        spec.identity,
        dict(spec.variant),
        chosen,
        dataset.key.checksum,
        dataset.key.metric,
        len(affinity),
        workshop.seed,
    ]
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]


def _is_disk_full(failure: SystemFailedError, folder: Path) -> bool:
    """Whether a build failed for want of space; libraries in C++ say so in any exception, or not at all."""
    if failure.status in ("missing", "full"):
        return False
    return "no space left" in failure.reason.lower() or shutil.disk_usage(folder).free < _FULL_BYTES


def _built(folder: Path) -> dict[str, Any] | None:
    """What the build of an index said; None when it never ended."""
    try:
        found = json.loads((folder / _BUILT).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _bytes_in(folder: Path) -> int:
    files = [path for path in folder.rglob("*") if path.is_file()]
    for link in (path for path in folder.iterdir() if path.is_symlink() and path.is_dir()):
        files += [path for path in link.resolve().rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files)


def _machine() -> list[list[Any]]:
    """This machine, as built.json names it."""
    return [list(pair) for pair in machine_of(environment())]


def _words(params: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in params.items()) or "with its defaults"
