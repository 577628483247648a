"""Runs import-linter on the package tree that package_tree.py made, the contracts being those of pyproject.toml.

The editable install's import hook would lead import-linter to the source folders, where the package is not whole; it is
taken out for this process.

Usage: check_imports.py TREE CACHE_FOLDER
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

CONFIGURATION = Path(__file__).resolve().parent.parent / "pyproject.toml"


def main(tree: Path, cache: Path) -> bool:
    sys.meta_path[:] = [finder for finder in sys.meta_path if not type(finder).__module__.startswith("_editable_")]
    cache = cache.resolve()
    os.chdir(tree)  # import-linter looks in the current folder first
    return lint_imports(config_filename=str(CONFIGURATION), cache_dir=str(cache)) == EXIT_STATUS_SUCCESS


if __name__ == "__main__":
    sys.exit(0 if main(Path(sys.argv[1]), Path(sys.argv[2])) else 1)
