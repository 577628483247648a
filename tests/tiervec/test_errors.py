from __future__ import annotations

import doctest
import pickle
import re
from pathlib import Path

import pytest

from tiervec import _core, errors

CODES = [
    ("invalid_argument", errors.InvalidArgumentError, ValueError),
    ("not_found", errors.NotFoundError, KeyError),
    ("already_exists", errors.AlreadyExistsError, FileExistsError),
    ("data_loss", errors.DataLossError, errors.TiervecError),
    ("unavailable", errors.UnavailableError, ConnectionError),
    ("deadline_exceeded", errors.DeadlineExceededError, TimeoutError),
    ("cancelled", errors.CancelledError, errors.TiervecError),
    ("resource_exhausted", errors.ResourceExhaustedError, MemoryError),
    ("unsupported", errors.UnsupportedError, errors.TiervecError),
    ("permission_denied", errors.PermissionDeniedError, PermissionError),
    ("disk_full", errors.DiskFullError, errors.ResourceExhaustedError),
    ("internal", errors.TiervecError, Exception),
]
MESSAGE = "index directory 'a': no manifest.json"


@pytest.mark.parametrize(("code", "expected", "builtin"), CODES)
def test_from_code(code: str, expected: type[errors.TiervecError], builtin: type[Exception]) -> None:
    error = errors.from_code(code, MESSAGE)
    assert type(error) is expected
    assert isinstance(error, builtin)
    assert error.code == code
    assert str(error) == MESSAGE


@pytest.mark.parametrize(("code", "expected", "builtin"), CODES)
def test_survives_pickling(code: str, expected: type[errors.TiervecError], builtin: type[Exception]) -> None:
    again = pickle.loads(pickle.dumps(errors.from_code(code, MESSAGE)))
    assert (type(again), str(again)) == (expected, MESSAGE)


@pytest.mark.parametrize(("number", "case"), list(enumerate(CODES, start=1)), ids=[case[0] for case in CODES])
def test_cpp_error_arrives_as_its_class(
    number: int, case: tuple[str, type[errors.TiervecError], type[Exception]]
) -> None:
    code, expected, _ = case
    with pytest.raises(errors.TiervecError, match=re.escape(MESSAGE)) as caught:
        _core._raise_error(number, MESSAGE.encode())
    assert type(caught.value) is expected
    assert caught.value.code == code


def test_message_that_is_not_utf8_arrives() -> None:
    with pytest.raises(errors.NotFoundError) as caught:
        _core._raise_error(2, b"file '\xff' does not exist")
    assert str(caught.value) == "file '\\xff' does not exist"


def test_codes_are_those_of_the_cpp_header(repository: Path) -> None:
    header = (repository / "tiervec/core/include/tiervec/core/status.h").read_text()
    body = re.search(r"enum class ErrorCode[^{]*\{(.*?)\};", header, re.DOTALL)
    assert body is not None
    names = [re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower() for name in re.findall(r"\bk([A-Z]\w+)", body[1])]
    assert names == ["ok", *(code for code, _, _ in CODES)]


def test_empty_error_prints_as_nothing() -> None:
    assert str(errors.TiervecError()) == ""


def test_unknown_code_is_a_plain_error() -> None:
    assert type(errors.from_code("no_such_code", "x")) is errors.TiervecError


def test_examples_in_docstrings_run() -> None:
    result = doctest.testmod(errors)
    assert result.attempted > 0
    assert result.failed == 0
