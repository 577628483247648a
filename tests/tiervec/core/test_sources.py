"""Rules that every C++ source of the product follows, and that no compiler knows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCES = sorted(
    path
    for folder in (
        "tiervec/core",
        "tiervec/engine",
        "tiervec/_native",
        "rdma",
        "graph_index",
        "cluster_index",
        "bench/native",
    )
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".cc", ".h")
)

# In a module that links libstdc++ statically beside another libstdc++, streams read no numbers, and what C and stoi
# parse depends on the locale: parse_number.h and system_file.h have what is needed.
_BANNED = re.compile(
    r"#include <((f|s|io|i|o)stream|locale)>|\bstd::(sto[a-z]+|getline)\(|\b(ato[a-z]+|strto[a-z]+|[a-z]*scanf)\("
)

# A build has everything, whatever the machine that compiles has installed: headers are those of C++, the C library and
# the compiler, which every g++ comes with, and of nanobind. Other libraries are declared here and loaded at run time.
_HEADERS = re.compile(
    r"[a-z_]+|(c?stdlib|dlfcn|fcntl|netdb|poll|pthread|sched|unistd)\.h|(arpa|netinet|sys)/[a-z]+\.h|linux/mempolicy\.h"
    r"|(cpuid|(x86|imm|emm)intrin)\.h|sanitizer/[a-z_]+\.h|(nanobind|tiervec)/.+"
)
_INCLUDED = re.compile(r"(?:#include|__has_include\() ?<(.+?)>")


@pytest.mark.parametrize("text", ["#include <fstream>", "std::stoul(text)", "::strtod(a, &b)", "sscanf(a", "atof(b)"])
def test_the_rule_finds(text: str) -> None:
    assert _BANNED.search(text)


def test_numbers_are_parsed_by_from_chars() -> None:
    assert len(SOURCES) > 100
    found = [f"{path.relative_to(ROOT)}: {match[0]}" for path in SOURCES if (match := _BANNED.search(path.read_text()))]
    assert found == []


@pytest.mark.parametrize(
    "text", ["#include <infiniband/verbs.h>", "#if __has_include(<numaif.h>)", "#include <liburing.h>"]
)
def test_the_rule_of_headers_finds(text: str) -> None:
    assert [name for name in _INCLUDED.findall(text) if not _HEADERS.fullmatch(name)]


def test_no_header_is_optional() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in SOURCES
        for name in _INCLUDED.findall(path.read_text())
        if not _HEADERS.fullmatch(name)
    ]
    assert found == []
