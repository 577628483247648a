"""The README as a newcomer takes it: its Python example runs and prints what it shows, its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

_LINK = re.compile(r"\]\((?!https?:)([^)#]*)(#[^)]*)?\)")


@pytest.fixture
def readme(repository: Path) -> str:
    return (repository / "README.md").read_text(encoding="utf-8")


def test_the_python_example_prints_what_the_readme_shows(repository: Path) -> None:
    command = [sys.executable, "tests/portability/run_readme_example.py", "README.md"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr


def test_it_stays_short_and_starts_with_the_two_commands(readme: str) -> None:
    assert len(readme.splitlines()) < 200
    first_block = re.search(r"```\n(.*?)```", readme, re.DOTALL)
    assert first_block is not None
    assert [line.split("#")[0].strip() for line in first_block[1].splitlines()] == ["make demo", "make test"]


@pytest.mark.parametrize(
    "place",
    ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "docs", "tiervec", "graph_index", "rdma", "bench", "tests"],
)
def test_links_lead_somewhere(repository: Path, place: str) -> None:
    start = repository / place
    for path in [start] if start.is_file() else sorted(start.rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        headings = {
            line.lstrip("#").strip().lower().replace(" ", "-") for line in text.splitlines() if line.startswith("#")
        }
        for target, anchor in _LINK.findall(text):
            if target:
                assert (path.parent / target).exists(), f"{path} links to {target}"
            else:
                assert anchor.removeprefix("#") in headings, f"{path} links to {anchor}"
