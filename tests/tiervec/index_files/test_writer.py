from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiervec.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    UnsupportedError,
)
from tiervec.index_files import writer as index_writer
from tiervec.index_files.directory import IndexDescription, IndexDirectory, IndexDirectoryWriter, check_out

DESCRIPTION = IndexDescription(
    kind="graph", metric="l2", dtype="uint8", dim=4, vectors=2, dataset_bytes=8, params={"graph_degree": 32}
)


def write_index(out: Path, content: bytes = b"records!") -> None:
    with IndexDirectoryWriter(out) as writer:
        writer.write_section("records", content, placement="tier")
        writer.commit(DESCRIPTION)


def snapshot(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    """Where to build, beside an older index that no failure may touch."""
    write_index(tmp_path / "old", b"old records")
    before = snapshot(tmp_path / "old")
    yield tmp_path / "new"
    assert snapshot(tmp_path / "old") == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".new.tmp")] == []


def test_an_index_appears_whole_at_the_commit(out: Path) -> None:
    with IndexDirectoryWriter(out) as writer:
        writer.write_section("codes", np.arange(6, dtype=np.int16).reshape(2, 3), placement="fast")
        writer.section_path("records").write_bytes(b"by somebody else")
        section = writer.finish_section("records", placement="tier")
        assert section.bytes == 16
        assert not out.exists()
        manifest = writer.commit(DESCRIPTION)
        assert out.is_dir()
    assert sorted(path.name for path in out.iterdir()) == [
        "codes.bin",
        "manifest.json",
        "records.bin",
        "records_extents.bin",
    ]
    opened = IndexDirectory.open(out)
    assert opened.manifest == manifest
    assert [(section.name, section.placement) for section in manifest.sections] == [
        ("codes", "fast"),
        ("records", "tier"),
        ("records_extents", "disk"),
    ]
    assert opened.read_array("codes", np.int16, (2, 3)).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_sections_can_be_empty_non_contiguous_and_named_otherwise(out: Path) -> None:
    with IndexDirectoryWriter(out) as writer:
        writer.write_section("empty", b"", placement="fast")
        writer.write_section("strided", np.arange(6, dtype=np.uint8)[::2], placement="fast", file="s-1.dat")
        writer.write_section("large", np.ones(9 << 20, np.uint8), placement="tier")
        writer.commit(DESCRIPTION)
    opened = IndexDirectory.open(out)
    assert opened.read_section("empty").tolist() == []
    assert opened.map_section("empty").tolist() == []
    assert opened.section_path("strided").name == "s-1.dat"
    assert opened.read_section("strided").tolist() == [0, 2, 4]
    assert len(opened.verify()) == 4


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt, SystemExit, Interrupted, UnsupportedError])
def test_an_interrupted_build_leaves_nothing(out: Path, interruption: type[BaseException]) -> None:
    def build() -> None:
        with IndexDirectoryWriter(out) as writer:
            writer.write_section("codes", b"abc", placement="fast")
            writer.section_path("records").write_bytes(b"half")
            raise interruption

    with pytest.raises(interruption):
        build()
    assert not out.exists()


def test_leaving_without_a_commit_leaves_nothing(out: Path) -> None:
    with IndexDirectoryWriter(out) as writer:
        writer.write_section("codes", b"abc", placement="fast")
    assert not out.exists()
    with pytest.raises(InvalidArgumentError, match="is not open"):
        writer.commit(DESCRIPTION)


@pytest.mark.parametrize("step", ["write", "finish", "body", "manifest"])
def test_a_full_disk_leaves_nothing_and_says_what_is_free(
    out: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    def build() -> None:
        with IndexDirectoryWriter(out, needed_bytes=1000) as writer:
            if step == "write":
                monkeypatch.setattr(index_writer, "write_blocks", disk_full)
            writer.write_section("codes", b"abc", placement="fast")
            writer.section_path("records").write_bytes(b"half")
            if step == "body":
                disk_full()
            if step == "finish":
                monkeypatch.setattr(index_writer, "sync_file", disk_full)
            writer.finish_section("records", placement="tier")
            if step == "manifest":
                monkeypatch.setattr(os, "fsync", disk_full)
            writer.commit(DESCRIPTION)

    with pytest.raises(
        ResourceExhaustedError, match=r"new.* failed: no space left; 1,000 bytes are needed and .* free"
    ):
        build()
    assert not out.exists()


def test_a_real_limit_on_file_size_is_a_full_disk(out: Path) -> None:
    script = (
        "import resource, signal, sys, numpy as np\n"
        "from tiervec.index_files.directory import IndexDirectoryWriter\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "with IndexDirectoryWriter(sys.argv[1]) as writer:\n"
        "    writer.write_section('codes', np.zeros(1 << 19, np.uint8), placement='fast')\n"
        "    writer.write_section('records', np.zeros(1 << 24, np.uint8), placement='tier')\n"
    )
    process = _python(script, str(out))
    _, printed = process.communicate(timeout=500)
    assert process.returncode == 1
    assert "DiskFullError: writing section 'records' of" in printed.splitlines()[-1]


def test_too_little_space_is_found_before_any_work(out: Path) -> None:
    with pytest.raises(ResourceExhaustedError, match=r"writing .*new needs 1,152,921,504,606,846,976 bytes, but only"):
        IndexDirectoryWriter(out, needed_bytes=2**60)


def test_what_exists_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("file", "empty", "dangling", ".", "..", "empty/"):
        with pytest.raises(AlreadyExistsError, match="already exists; choose another directory"):
            check_out(f"{tmp_path}/{name}")
    for name in ("file/x", "no/such/x"):
        with pytest.raises((InvalidArgumentError, NotFoundError), match=str(tmp_path)):
            check_out(tmp_path / name)
    with pytest.raises(InvalidArgumentError, match="is not a path"):
        check_out("a\0b")
    assert check_out(tmp_path / "new") == tmp_path / "new"


def test_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="name too long"), IndexDirectoryWriter(tmp_path / ("x" * 250)):
        pytest.fail("the block must not run")


def test_an_index_made_meanwhile_by_another_stays(tmp_path: Path) -> None:
    out = tmp_path / "new"

    def build() -> None:
        with IndexDirectoryWriter(out) as writer:
            writer.write_section("codes", b"abc", placement="fast")
            write_index(out, b"faster")
            writer.commit(DESCRIPTION)

    with pytest.raises(AlreadyExistsError, match="made by somebody else during the build"):
        build()
    assert IndexDirectory.open(out).read_section("records").tobytes() == b"faster"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("name", "file"), [("codes", None), ("more", "codes.bin"), ("../x", None), ("x", "../x"), ("x", "manifest.json")]
)
def test_names_are_checked(out: Path, name: str, file: str | None) -> None:
    with IndexDirectoryWriter(out) as writer:
        writer.write_section("codes", b"abc", placement="fast")
        with pytest.raises(InvalidArgumentError, match="section"):
            writer.section_path(name, file=file)
        with pytest.raises(InvalidArgumentError, match="section"):
            writer.write_section(name, b"", placement="fast", file=file)


def test_a_wrong_placement_is_refused_before_it_is_written(out: Path) -> None:
    with IndexDirectoryWriter(out) as writer:
        with pytest.raises(InvalidArgumentError, match="placement is 'tape'"):
            writer.write_section("codes", b"", placement="tape")  # type: ignore[arg-type]
        writer.write_section("codes", b"", placement="fast")


def test_a_section_that_was_not_written_is_not_found(out: Path) -> None:
    with IndexDirectoryWriter(out) as writer, pytest.raises(NotFoundError, match="section 'records'"):
        writer.finish_section("records", placement="tier")


def _python(script: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


_BUILD_AND_WAIT = (
    "import sys, time\n"
    "from tiervec.index_files.directory import IndexDirectoryWriter\n"
    "with IndexDirectoryWriter(sys.argv[1]) as writer:\n"
    "    writer.write_section('codes', bytes(100), placement='fast')\n"
    "    print('ready', flush=True)\n"
    "    time.sleep(600)\n"
)


@pytest.fixture
def building(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process in the middle of a build of tmp_path/new."""
    process = _python(_BUILD_AND_WAIT, str(tmp_path / "new"))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


def temporary_directories(folder: Path) -> list[Path]:
    return sorted(folder.glob(".new.tmp-*"))


def test_ctrl_c_during_a_build_leaves_nothing(tmp_path: Path, building: subprocess.Popen[str]) -> None:
    assert len(temporary_directories(tmp_path)) == 1
    building.send_signal(signal.SIGINT)
    assert building.wait(60) != 0  # it would sleep for ten minutes
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_build_left_is_removed_by_the_next_one(tmp_path: Path, building: subprocess.Popen[str]) -> None:
    building.kill()
    building.wait(60)
    assert len(temporary_directories(tmp_path)) == 1
    (tmp_path / ".other.tmp-1-0123abcd").mkdir()
    write_index(tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.tmp-1-0123abcd", "new"]


def test_a_build_that_runs_is_left_alone(tmp_path: Path, building: subprocess.Popen[str]) -> None:
    left = temporary_directories(tmp_path)
    write_index(tmp_path / "new")
    assert temporary_directories(tmp_path) == left


def test_a_lock_protects_a_build_whose_process_id_means_nothing_here(tmp_path: Path) -> None:
    process = _python("pass")
    process.communicate()
    directory = tmp_path / f".new.tmp-{process.pid}-0123abcd"
    directory.mkdir()
    lock = os.open(directory, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    write_index(tmp_path / "new")
    assert directory.exists()
    os.close(lock)
    (tmp_path / "new").rename(tmp_path / "elsewhere")
    write_index(tmp_path / "new")
    assert not directory.exists()


def test_links_and_files_with_such_names_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / ".new.tmp-4194304-0123abcd").symlink_to(tmp_path / "precious")
    (tmp_path / ".new.tmp-4194304-0123abce").write_bytes(b"")
    write_index(tmp_path / "new")
    assert len(list(tmp_path.iterdir())) == 4
