"""Packs what Python reads of this machine's files when the tests start, for the guest to unpack into its memory.

A guest sees the files of its host without a cache. Under emulation importing numpy took most of a minute there.

Usage: pack.py TAR PATH... Writes Python's own library and program, the installed packages that the tests load, and the
PATHs. Prints what it wrote: what the guest has to put in the place of its host's, one path on each line.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest

MODULES = (
    "tiervec.cli.memory_node",
    "tiervec.cli.search",
    "tiervec.rdma.memory_node.server",
)  # of the processes they start
UNUSED = {"ensurepip", "idlelib", "lib2to3", "site-packages", "test", "tests", "tkinter", "turtledemo"}


def without_unused(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leaves out what no test imports."""
    name = Path(member.name).name
    return None if name in UNUSED or name.startswith("config-") else member


def tests_with_hardware() -> list[str]:
    """The files that have such tests."""
    return [str(path) for path in sorted(Path("tests").rglob("test_*.py")) if "mark.hardware" in path.read_text()]


def loaded_packages(folder: Path) -> list[Path]:
    """Of `folder`, where packages are installed: those that are loaded when the tests are collected."""
    with contextlib.redirect_stdout(sys.stderr):
        found = pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider", *tests_with_hardware()])
    if found != 0:
        raise SystemExit(f"pytest ends with {found} where it looks for the tests with hardware")
    for module in MODULES:
        importlib.import_module(module)
    loaded = {name.partition(".")[0] for name in sys.modules}
    # NAME, NAME.py, NAME.libs with a wheel's own libraries; the plugins are found by their descriptions.
    return [
        path
        for path in sorted(folder.iterdir())
        if path.name.partition(".")[0] in loaded or path.suffix in (".pth", ".dist-info")
    ]


def main(archive: Path, paths: list[Path]) -> None:
    library, packages = Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("platlib"))
    whole = [Path(sys.executable).resolve(), *(path.absolute() for path in paths)]
    with tarfile.open(archive, "w") as tar:
        for path in (library, *loaded_packages(packages)):
            tar.add(path, filter=without_unused)
        for path in whole:
            tar.add(path)
    print(library, packages, *whole, sep="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(argument) for argument in sys.argv[2:]])
