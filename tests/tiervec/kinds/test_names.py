"""Only a kind's own folder and `tiervec.kinds` decide by the name of a kind."""

from __future__ import annotations

import re
from pathlib import Path

from tiervec.kinds.names import KIND_NAMES
from tiervec.kinds.registry import index_kind

_NAMES = "|".join(KIND_NAMES)
_DECISION = re.compile(
    rf"""kind(\.name)?\s*(==|!=|in|not in)\s*[\[({{]?\s*["']({_NAMES})["']|choices=\(\s*["']({_NAMES})["']"""
)


def test_the_pattern_sees_a_decision() -> None:
    assert _DECISION.search('if design.kind == "graph":')
    assert _DECISION.search('choices=("graph", "cluster")')
    assert not _DECISION.search('kind="graph"')


def test_no_file_above_the_kinds_decides_by_a_name(repository: Path) -> None:
    allowed = {"kinds", "advisor"}  # the advisor proposes designs of each kind
    guilty = [
        f"{path.relative_to(repository)}:{number}"
        for path in sorted((repository / "tiervec").rglob("*.py"))
        if path.relative_to(repository / "tiervec").parts[0] not in allowed
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if _DECISION.search(line)
    ]
    assert guilty == []


def test_a_kind_has_the_name_of_its_line() -> None:
    assert [index_kind(name).name for name in KIND_NAMES] == list(KIND_NAMES)
