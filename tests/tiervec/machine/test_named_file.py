"""Small files that a user names: whatever the system refuses is one sentence that names the file and its purpose."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiervec.errors import InvalidArgumentError, NotFoundError
from tiervec.machine.named_file import opened


def test_it_is_read_as_bytes(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"a\xff")
    with opened("token file", tmp_path / "key") as file:
        assert file.read() == b"a\xff"
    assert file.closed


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(NotFoundError, match=f"token file {tmp_path / 'key'} does not exist"),
        opened("token file", tmp_path / "key"),
    ):
        pass


def test_a_folder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=f"reading token file {tmp_path}"), opened("token file", tmp_path):
        pass


def test_a_mistake_of_the_reader_is_passed_on(tmp_path: Path) -> None:
    (tmp_path / "key").touch()
    with pytest.raises(ZeroDivisionError), opened("token file", tmp_path / "key"):
        raise ZeroDivisionError
