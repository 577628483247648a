"""Prints what one part of pyproject.toml needs, a requirement a line, so that versions are written only there.

Usage: requirements.py build|runtime|EXTRA
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib


def extra(project: dict[str, Any], name: str) -> list[str]:
    """The requirements of an extra, with `tiervec[a,b]` replaced by those of a and b."""
    found: set[str] = set()
    for requirement in project["optional-dependencies"][name]:
        if own := re.fullmatch(rf"{project['name']}\[([\w, -]+)\]", requirement):
            for part in own[1].split(","):
                found.update(extra(project, part.strip()))
        else:
            found.add(requirement)
    return sorted(found)


def main(part: str) -> int:
    content = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    if part == "build":
        # cmake and ninja: what an isolated build would fetch; here they are kept, so that no system package is needed.
        lines = [*content["build-system"]["requires"], "cmake>=3.21", "ninja"]
    elif part == "runtime":
        lines = content["project"]["dependencies"]
    else:
        lines = extra(content["project"], part)
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
