"""Links the folders into one tree as they are installed, for tools that look for packages on disk.

The folders graph_index/, rdma/ and so on are installed inside the package tiervec; in the source tree they are beside
it. mypy and import-linter need them together.

Usage: package_tree.py FOLDER
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent


def main(folder: Path) -> int:
    if folder.exists():
        shutil.rmtree(folder)
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["scikit-build"]["wheel"]["packages"]
    for installed, source in packages.items():
        target = folder / installed
        target.mkdir(parents=True, exist_ok=True)
        for entry in sorted((ROOT / source).iterdir()):
            (target / entry.name).symlink_to(entry)
    # import-linter does not know extension modules; a stand-in lets it see who imports this one. mypy takes the stub.
    (folder / "tiervec" / "_core.py").touch()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
