"""Rules that every C++ source of the product follows, and that no compiler knows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCES = sorted(
    path
    for folder in ("tiervec/core", "tiervec/_native", "rdma", "graph_index", "cluster_index", "bench/native")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".cc", ".h")
)

# In a module that links libstdc++ statically beside another libstdc++, streams read no numbers, and what C and stoi
# parse depends on the locale: parse_number.h and system_file.h have what is needed.
_BANNED = re.compile(
    r"#include <((f|s|io|i|o)stream|locale)>|\bstd::(sto[a-z]+|getline)\(|\b(ato[a-z]+|strto[a-z]+|[a-z]*scanf)\("
)


@pytest.mark.parametrize("text", ["#include <fstream>", "std::stoul(text)", "::strtod(a, &b)", "sscanf(a", "atof(b)"])
def test_the_rule_finds(text: str) -> None:
    assert _BANNED.search(text)


def test_numbers_are_parsed_by_from_chars() -> None:
    assert len(SOURCES) > 100
    found = [f"{path.relative_to(ROOT)}: {match[0]}" for path in SOURCES if (match := _BANNED.search(path.read_text()))]
    assert found == []
