"""Every test can fail: it holds an assertion, or calls something of its file that does."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PYTHON = sorted(TESTS.rglob("test_*.py"))
CPP = sorted(TESTS.rglob("*_test.cc"))

# What fails a test by itself; `check...` and `assert_...` raise when something is wrong.
_CALLS = re.compile(r"raises|warns|fail|check.*|assert_.*")
_CPP_TEST = re.compile(r"^TEST(?:_F|_P)?\(\w+, (\w+)\) \{\n(.*?)^\}\n", re.DOTALL | re.MULTILINE)
_CPP_CHECK = re.compile(
    r"EXPECT_|ASSERT_|FAIL\(|SUCCEED\(|static_assert|\bexpect\w*|\bcheck\w*|\brefus\w*", re.IGNORECASE
)


def called_names(node: ast.AST) -> set[str]:
    functions = [each.func for each in ast.walk(node) if isinstance(each, ast.Call)]
    return {getattr(function, "attr", None) or getattr(function, "id", "") for function in functions}


def fails_by_itself(function: ast.AST) -> bool:
    return any(
        isinstance(each, ast.Assert)
        or (isinstance(each, ast.keyword) and each.arg == "check" and ast.unparse(each.value) == "True")
        for each in ast.walk(function)
    ) or any(_CALLS.fullmatch(name) for name in called_names(function))


def without_assertion(source: str) -> list[str]:
    """Names of the tests that pass whatever the code does, as far as can be seen."""
    functions = [
        each for each in ast.walk(ast.parse(source)) if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    checking = {each.name for each in functions if fails_by_itself(each)}
    while more := {each.name for each in functions if each.name not in checking and checking & called_names(each)}:
        checking |= more
    return [each.name for each in functions if each.name.startswith("test_") and each.name not in checking]


def test_the_search_finds_what_cannot_fail() -> None:
    assert without_assertion("def test_a():\n    work()\n") == ["test_a"]
    assert without_assertion("def test_a():\n    assert work()\n") == []
    assert without_assertion("def right():\n    assert work()\ndef test_a():\n    right()\n") == []
    assert without_assertion("def test_a():\n    with pytest.raises(OSError):\n        work()\n") == []


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(TESTS)))
def test_every_python_test_can_fail(path: Path) -> None:
    assert without_assertion(path.read_text(encoding="utf-8")) == []


def test_every_cpp_test_can_fail() -> None:
    found = [
        f"{path.relative_to(TESTS)}: {name}"
        for path in CPP
        for name, body in _CPP_TEST.findall(path.read_text(encoding="utf-8"))
        if not _CPP_CHECK.search(body)
    ]
    assert CPP
    assert found == []
