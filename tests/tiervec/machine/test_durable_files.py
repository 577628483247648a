from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import xxhash

from tiervec.errors import (
    AlreadyExistsError,
    NotFoundError,
    ResourceExhaustedError,
)
from tiervec.machine.durable_files import (
    checksum_of,
    replacing_file,
    require_free_space,
    storage_error,
    storage_errors,
    write_blocks,
)


def test_our_own_errors_pass_even_those_that_are_os_errors(tmp_path: Path) -> None:
    ours = AlreadyExistsError("it is there")
    with pytest.raises(AlreadyExistsError) as caught, storage_errors("writing x", tmp_path):
        raise ours
    assert caught.value is ours


def test_a_full_disk_names_what_is_needed_and_what_is_free(tmp_path: Path) -> None:
    error = storage_error(OSError(errno.ENOSPC, "no space"), "writing x", tmp_path, 12345)
    assert "no space left; 12,345 bytes are needed and" in str(error)
    assert f"bytes are free in {tmp_path}" in str(error)


def test_a_short_write_of_numpy_is_a_full_disk(tmp_path: Path) -> None:
    error = storage_error(OSError("9437184 requested and 3141632 written"), "writing x", tmp_path)
    assert isinstance(error, ResourceExhaustedError)


def test_space_is_checked_before_the_work(tmp_path: Path) -> None:
    require_free_space(tmp_path, 1, "writing x")
    with pytest.raises(ResourceExhaustedError, match="writing x needs 1,152,921,504,606,846,976 bytes, but only"):
        require_free_space(tmp_path, 2**60, "writing x")
    with (
        pytest.raises(ResourceExhaustedError, match="needs 1,152,921,504,606,846,976 bytes"),
        replacing_file(tmp_path / "f", 2**60),
    ):
        pytest.fail("the block must not run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_replacement_leaves_the_old_file(tmp_path: Path, interruption: type[BaseException]) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")

    def write() -> None:
        with replacing_file(path) as file:
            file.write(b"new, half wri")
            raise interruption

    with pytest.raises(interruption):
        write()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_replacement_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    with replacing_file(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_directory_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"writing .*nowhere/f failed"), replacing_file(tmp_path / "nowhere" / "f"):
        pytest.fail("the block must not run")


class FewBytesAtATime(io.BytesIO):
    """An unbuffered file that takes less than it is given."""

    def write(self, data: object) -> int:
        return super().write(bytes(memoryview(data)[:1000]))  # type: ignore[arg-type]


def test_short_writes_are_continued() -> None:
    content = os.urandom(10_500)
    file, checksum = FewBytesAtATime(), xxhash.xxh3_64()
    write_blocks(file, memoryview(content), checksum)
    assert file.getvalue() == content
    assert checksum.hexdigest() == xxhash.xxh3_64_hexdigest(content)


@pytest.mark.parametrize("size", [0, 1, 8 * 2**20, 8 * 2**20 + 1])
def test_the_checksum_of_a_file_is_that_of_its_bytes(size: int) -> None:
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert checksum_of(io.BytesIO(content)) == (size, xxhash.xxh3_64_hexdigest(content))


def test_a_file_that_may_not_grow_further_is_a_full_disk(tmp_path: Path) -> None:
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from tiervec.machine.durable_files import replacing_file\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "with replacing_file(Path(sys.argv[1])) as file: file.write(bytes(1 << 20))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "f")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert run.returncode == 1
    assert "DiskFullError: writing" in run.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []
