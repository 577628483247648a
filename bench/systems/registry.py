"""The systems that the harness can measure, by name."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tiervec.errors import InvalidArgumentError, NotFoundError
from tiervec.kinds.parameters import build_parameters_class
from tiervec.machine.durable_files import storage_errors

__all__ = ["SYSTEMS", "SystemSpec", "find_system"]

_FOLDER: Final = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class SystemSpec:
    """One system.

    Attributes:
        name: As plans call it.
        title: One line.
        file: Its module.
        variant: What tells several systems of one module apart.
        environment: Name of the virtual environment that it needs for itself; None: it runs in ours.
        requirements: What pip installs into that environment.
        opening_keys: Search parameters that are fixed when an index is opened.
        build_defaults: Build parameters that mean nothing where a plan says them: an index has them anyway.
        conversion_keys: Build parameters that an index can change afterwards: one that differs in these alone is
            converted, not built.
        imports: The system whose index, built with its defaults, this one takes over; None: it builds its own.
        has_tiers: Whether it reads from a tier that a URL names.
        on_disk: Whether its big part stays on an SSD.
        module: What it imports, when it has no environment of its own.
        get_it: How one gets that module.
        licence: What a user must accept before it is installed; None: it is free software.
    """

    name: str
    title: str
    file: Path
    variant: Mapping[str, Any] = field(default_factory=dict)
    environment: str | None = None
    requirements: tuple[str, ...] = ()
    opening_keys: tuple[str, ...] = ()
    build_defaults: Mapping[str, Any] = field(default_factory=dict)
    conversion_keys: tuple[str, ...] = ()
    imports: SystemSpec | None = None
    has_tiers: bool = False
    on_disk: bool = False
    module: str = ""
    get_it: str = ""
    licence: str | None = None

    @functools.cached_property
    def identity(self) -> str:
        """The same for what builds the same index: with what a module of one's own says, and where it is."""
        if self.file.parent == _FOLDER:
            return self.name
        with storage_errors(f"reading {self.file}", self.file.parent):
            return f"{self.name} {self.file.resolve()} {hashlib.sha256(self.file.read_bytes()).hexdigest()}"


def _faiss(kind: str, title: str) -> SystemSpec:
    return SystemSpec(
        name=f"faiss-{kind}", title=title, file=_FOLDER / "faiss.py", variant={"kind": kind}, module="faiss"
    )


def _tiervec(kind: str) -> SystemSpec:
    return SystemSpec(
        name=f"tiervec-{kind}",
        title=f"the {kind} index, on any tier",
        file=_FOLDER / "tiervec.py",
        variant={"kind": kind},
        module="tiervec",
        opening_keys=("fast_memory",),
        build_defaults=dataclasses.asdict(build_parameters_class(kind)()),
        conversion_keys=("layout",)
        if kind == "graph"
        else ("layout", "code", "code_bits", "spill", "ordered", "align"),
        has_tiers=True,
    )


def _diskannpy(kind: str, title: str) -> SystemSpec:
    return SystemSpec(
        name=f"diskannpy-{kind}",
        title=title,
        file=_FOLDER / "diskannpy.py",
        variant={"kind": kind},
        environment="diskannpy",
        requirements=("diskannpy==0.7.0",),  # the last one with a Python interface; it wants numpy==1.25
        opening_keys=("num_nodes_to_cache",) if kind == "disk" else (),
        on_disk=kind == "disk",
    )


_DISKANN_ON_DISK: Final = _diskannpy("disk", "DiskANN on an SSD, codes in memory")

SYSTEMS: Final[Mapping[str, SystemSpec]] = {
    spec.name: spec
    for spec in (
        _tiervec("graph"),
        _tiervec("cluster"),
        SystemSpec(
            name="tiervec-diskann",
            title="the graph that DiskANN built, imported, on any tier",
            file=_FOLDER / "tiervec.py",
            variant={"kind": "diskann"},
            module="tiervec",
            opening_keys=("fast_memory",),
            imports=_DISKANN_ON_DISK,
            has_tiers=True,
        ),
        SystemSpec(
            name="hnswlib",
            title="HNSW, float32, in memory",
            file=_FOLDER / "hnswlib.py",
            module="hnswlib",
            get_it="pip install 'tiervec[bench]'",
        ),
        _faiss("ivfflat", "inverted file, float32, in memory"),
        _faiss("ivfsq8", "inverted file, 8 bits a dimension, in memory"),
        _faiss("ivfpqfs", "inverted file, 4-bit fast scan, re-ranked by float32 vectors in memory"),
        _faiss("ivfrabitq", "inverted file, RaBitQ, re-ranked by float32 vectors in memory"),
        _faiss("hnsw", "HNSW, float32, in memory"),
        _diskannpy("memory", "DiskANN's Vamana in memory"),
        _DISKANN_ON_DISK,
        SystemSpec(
            name="scalable-vs",
            title="SVS's Vamana, float32, in memory",
            file=_FOLDER / "svs.py",
            environment="scalable-vs",
            requirements=("scalable-vs>=0.0.7,<1", "numpy>=1.26,<3"),
            licence="parts of the package on PyPI are closed source under Intel's own terms; read them on "
            "https://pypi.org/project/scalable-vs/",
        ),
        SystemSpec(
            name="sptag",
            title="SPANN on an SSD; needs SPTAG's Python module, built by hand",
            file=_FOLDER / "sptag.py",
            on_disk=True,
            module="SPTAG",
            get_it="build https://github.com/microsoft/SPTAG and put its module SPTAG onto PYTHONPATH",
        ),
    )
}


def find_system(name: str) -> SystemSpec:
    """The system of a name, or of a Python file of one's own (``./mine.py``) that defines ``System``.

    Raises:
        NotFoundError: There is none.
        InvalidArgumentError: The file does not exist.
    """
    if name.endswith(".py"):
        path = Path(name).resolve()
        if not path.is_file():
            raise InvalidArgumentError(f"system {name!r}: there is no such file")
        return SystemSpec(name=name, title="a module of one's own", file=path)
    if name not in SYSTEMS:
        raise NotFoundError(f"there is no system {name!r}; known: {', '.join(SYSTEMS)}, or the path of a .py file")
    return SYSTEMS[name]
