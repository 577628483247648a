from __future__ import annotations

from pathlib import Path
from typing import Any


def test_missing_directory(command: Any, tmp_path: Path) -> None:
    outcome = command("verify", tmp_path / "none")
    assert outcome == (1, "", f"tiervec: error: index directory {tmp_path / 'none'} does not exist\n")


def test_a_directory_without_an_index(command: Any, tmp_path: Path) -> None:
    outcome = command("verify", tmp_path)
    assert outcome.status == 1
    assert "manifest.json" in outcome.err


def test_all_as_written(command: Any, saved: Path) -> None:
    outcome = command("verify", saved)
    assert outcome.out == f"{saved}: 3 sections, 8,808 bytes, all as written\n"
    document = command("verify", saved, "--json").document
    assert (document["ok"], document["bytes"]) == (True, 8808)
    assert [section["name"] for section in document["sections"]] == ["codes", "records", "records_extents"]


def test_a_damaged_byte(command: Any, saved: Path) -> None:
    with (saved / "records.bin").open("r+b") as file:
        file.seek(4000)
        file.write(b"x")
    outcome = command("verify", saved, "--json")
    assert (outcome.status, outcome.out) == (1, "")
    assert f"tiervec: error: {saved}/records.bin is damaged" in outcome.err
    assert command("info", saved).status == 0  # info looks at the manifest only
