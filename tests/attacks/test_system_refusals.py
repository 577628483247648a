"""What the operating system refuses: each errno is the same class of error wherever it is met, in one sentence."""

from __future__ import annotations

import builtins
import errno
import io
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import pytest

import tiervec
from tiervec import _core
from tiervec.errors import (
    AlreadyExistsError,
    DiskFullError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    TiervecError,
    UnavailableError,
    UnsupportedError,
    from_code,
)
from tiervec.index_files.writer import check_out
from tiervec.machine.durable_files import storage_error
from tiervec.rdma.memory_node.imported_file import open_import
from tiervec.rdma.memory_node.storage_files import StorageFiles
from tiervec.rpc.calling import ClientTls, open_channel
from tiervec.rpc.certificates import read_authorities, read_key_pair
from tiervec.rpc.event_loop import run_on_loop
from tiervec.rpc.listening import TlsFiles, bind
from tiervec.rpc.tokens import read_token_file
from tiervec.service.configuration import load_config
from tiervec.vectors.vector_files import open_vectors

CLASSES: dict[str, type[TiervecError]] = {
    "ENOENT": NotFoundError,
    "ENXIO": NotFoundError,
    "ENODEV": NotFoundError,
    "EEXIST": AlreadyExistsError,
    "ENOTEMPTY": AlreadyExistsError,
    "ENOSPC": DiskFullError,
    "EDQUOT": DiskFullError,
    "EFBIG": DiskFullError,
    "ENOMEM": ResourceExhaustedError,
    "ENOBUFS": ResourceExhaustedError,
    "EMFILE": ResourceExhaustedError,
    "ENFILE": ResourceExhaustedError,
    "EMLINK": ResourceExhaustedError,
    "EAGAIN": ResourceExhaustedError,
    "EACCES": PermissionDeniedError,
    "EPERM": PermissionDeniedError,
    "EROFS": PermissionDeniedError,
    "EISDIR": InvalidArgumentError,
    "ENOTDIR": InvalidArgumentError,
    "ELOOP": InvalidArgumentError,
    "ENAMETOOLONG": InvalidArgumentError,
    "EINVAL": InvalidArgumentError,
    "EILSEQ": InvalidArgumentError,
    "ENOSYS": UnsupportedError,
    "EOPNOTSUPP": UnsupportedError,
    "EIO": UnavailableError,
    "ESTALE": UnavailableError,
    "ETIMEDOUT": UnavailableError,
    "EADDRINUSE": UnavailableError,
    "EADDRNOTAVAIL": UnavailableError,
}
# Where opening a file that is named meets the system.
OPENED: dict[str, Callable[[Path], Any]] = {
    "configuration": load_config,
    "tokens": read_token_file,
    "authorities": read_authorities,
    "key": lambda path: read_key_pair(path, path),
    "client's authorities": lambda path: open_channel("127.0.0.1:1", ClientTls(ca=path), []),
    "vectors": lambda path: open_vectors(path.with_suffix(".fbin")),
    "index": tiervec.open,
    "imported": lambda path: open_import(StorageFiles(), path.parent, path.name),
}


@pytest.mark.parametrize(("name", "expected"), CLASSES.items())
def test_one_table_for_c_and_python(tmp_path: Path, name: str, expected: type[TiervecError]) -> None:
    number = getattr(errno, name)
    assert type(from_code(_core.errno_code(number), "")) is expected
    error = storage_error(OSError(number, os.strerror(number)), "writing x", tmp_path)
    assert type(error) is expected
    assert str(error).startswith("writing x failed: ")
    assert "\n" not in str(error)


@pytest.mark.parametrize("where", OPENED)
@pytest.mark.parametrize("name", ["EACCES", "EPERM", "EMFILE", "ENAMETOOLONG", "ENOTDIR", "EIO", "ESTALE", "ENOENT"])
def test_a_file_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, where: str) -> None:
    path = tmp_path / "named"
    refuse(monkeypatch, path, getattr(errno, name))
    with pytest.raises(TiervecError) as caught:
        OPENED[where](path)
    assert type(caught.value) is CLASSES[name]
    assert "named" in str(caught.value)
    assert "\n" not in str(caught.value)


def refuse(monkeypatch: pytest.MonkeyPatch, refused: Path, number: int) -> None:
    """Whatever opens or looks at the path is told the errno, whoever runs the test."""
    names = {str(refused), str(refused.with_suffix(".fbin")), refused.name}

    def wrapped(real: Any) -> Any:
        def call(path: Any, *args: Any, **options: Any) -> Any:
            if isinstance(path, (str, os.PathLike)) and os.fspath(path) in names:
                raise OSError(number, os.strerror(number), os.fspath(path))
            return real(path, *args, **options)

        return call

    for module, name in ((builtins, "open"), (io, "open"), (os, "open"), (os, "stat")):
        monkeypatch.setattr(module, name, wrapped(getattr(module, name)))


@pytest.mark.parametrize("where", OPENED)
@pytest.mark.parametrize("kind", ["directory", "below a file", "long", "loop"])
def test_a_name_that_is_no_file(tmp_path: Path, kind: str, where: str) -> None:
    if kind == "directory" and where == "index":
        pytest.skip("an index is a directory")
    (tmp_path / "file").touch()
    path = {"below a file": tmp_path / "file" / "x", "long": tmp_path / ("x" * 300)}.get(kind, tmp_path / "x")
    for name in (path, path.with_suffix(".fbin")):
        if kind == "directory":
            name.mkdir()
        if kind == "loop":
            name.symlink_to(name)
    with pytest.raises((InvalidArgumentError, NotFoundError)) as caught:
        OPENED[where](path)
    assert path.stem[:100] in str(caught.value)


def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionDeniedError, match="may not be written by this user"):
        check_out(tmp_path / "index", 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_a_region_file_that_another_user_opens(tmp_path: Path) -> None:
    """The side of C++, with an errno of the kernel's."""
    built = tmp_path / "index"
    tiervec.build(np.random.default_rng(1).normal(size=(60, 8)).astype(np.float32), built)
    folder = tmp_path
    while folder != folder.parent and folder.stat().st_uid == os.geteuid():  # the way there is open to all
        folder.chmod(folder.stat().st_mode | 0o055)
        folder = folder.parent
    built.chmod(0o755)
    section = next(built.glob("records*"))
    section.chmod(0o600)
    # Everything is imported before: what is imported from may be closed to the other user.
    code = f"""
import os, tiervec
from tiervec import _core
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
for scheme in ("dram:", "mmap:", "ssd:"):
    try:
        _core.open_tier(scheme, {str(section)!r})
    except tiervec.PermissionDeniedError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stderr
    assert all(section.name in line and "Permission denied" in line for line in lines)


# ---- listening -------------------------------------------------------------------------------------------------------


async def listen(address: str, tls: TlsFiles | None = None) -> int:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    try:
        return bind(server, address, tls)
    finally:
        await server.stop(None)


def test_the_control_plane_says_why_it_cannot_listen() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(UnavailableError, match=r"cannot listen on 127\.0\.0\.1:\d+: Address already in use"),
    ):
        run_on_loop(listen(f"127.0.0.1:{taken.getsockname()[1]}"))
    with pytest.raises(UnavailableError, match=r"cannot listen on 192\.0\.2\.1:0: Cannot assign requested address"):
        run_on_loop(listen("192.0.2.1:0"))
    with pytest.raises(UnavailableError, match=r"host 'no-such-host\.invalid' has no address"):
        run_on_loop(listen("no-such-host.invalid:0"))


@pytest.mark.parametrize("name", ["EACCES", "EADDRINUSE", "EMFILE"])
def test_each_refusal_to_listen_has_its_class(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def refuse_to_bind(*_: Any) -> None:
        raise OSError(getattr(errno, name), os.strerror(getattr(errno, name)))

    monkeypatch.setattr(socket.socket, "bind", refuse_to_bind)
    with pytest.raises(TiervecError, match=r"cannot listen on 192\.0\.2\.1:1: ") as caught:
        run_on_loop(listen("192.0.2.1:1"))
    assert type(caught.value) is CLASSES[name]


def test_the_data_plane_says_the_same() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UnavailableError, match=f"cannot listen at 127.0.0.1:{port}: Address already in use"):
            _core.RegionServer("127.0.0.1", port)
    with pytest.raises(UnavailableError, match="Cannot assign requested address"):
        _core.RegionServer("192.0.2.1", 0)


# ---- TLS files -------------------------------------------------------------------------------------------------------


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, make_certificate: Any) -> Path:
    """A folder with ``a.pem``, its key ``a.key`` in other forms too, and more that do not go with it."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = make_certificate()
    (folder / "a.pem").write_bytes(cert.read_bytes())
    (folder / "a.key").write_bytes(key.read_bytes())
    cert, key = make_certificate()
    (folder / "b.key").write_bytes(key.read_bytes())
    openssl(folder, "genpkey", "-algorithm", "ed25519", "-out", "other.key")
    openssl(folder, "pkey", "-in", "a.key", "-aes256", "-passout", "pass:secret", "-out", "encrypted.key")
    openssl(
        folder, "req", "-x509", "-newkey", "ed448", "-nodes", "-keyout", "odd.key", "-out", "odd.pem", "-subj", "/CN=x"
    )
    (folder / "junk").write_text("junk")
    (folder / "empty").touch()
    (folder / "bytes").write_bytes(bytes(range(256)))
    return folder


@pytest.mark.parametrize(
    ("cert", "key", "says"),
    [
        ("none", "a.key", "TLS file {cert} does not exist"),
        ("a.pem", "none", "TLS file {key} does not exist"),
        (".", "a.key", "reading TLS file {cert} failed: Is a directory"),
        ("a.pem", ".", "reading TLS file {key} failed: Is a directory"),
        ("junk", "a.key", "TLS file {cert} must hold PEM certificates"),
        ("empty", "a.key", "TLS file {cert} must hold PEM certificates"),
        ("bytes", "a.key", "TLS file {cert} must hold PEM certificates"),
        ("a.key", "a.key", "TLS file {cert} must hold PEM certificates"),
        ("a.pem", "junk", "TLS file {key} must hold a PEM private key"),
        ("a.pem", "empty", "TLS file {key} must hold a PEM private key"),
        ("a.pem", "a.pem", "TLS file {key} must hold a PEM private key"),
        ("a.pem", "b.key", "TLS key {key} is not the key of the certificate {cert}"),
        ("a.pem", "other.key", "TLS key {key} is not the key of the certificate {cert}"),
        ("a.pem", "encrypted.key", "TLS key {key} is encrypted with a pass phrase"),
    ],
)
def test_tls_files_that_cannot_be_used(made: Path, cert: str, key: str, says: str) -> None:
    files = TlsFiles(cert=made / cert, key=made / key)
    says = says.format(cert=files.cert, key=files.key)
    expected = NotFoundError if "not exist" in says else InvalidArgumentError
    with pytest.raises(expected) as caught:
        run_on_loop(listen("127.0.0.1:0", files))
    assert str(caught.value).startswith(says)
    with pytest.raises(expected) as caught:
        open_channel("127.0.0.1:1", ClientTls(ca=made / "a.pem", cert=files.cert, key=files.key), [])
    assert str(caught.value).startswith(says)
    assert "secret" not in str(caught.value)


def test_a_key_that_grpc_does_not_know(made: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=r"gRPC does not take the TLS certificate .*odd\.pem"):
        run_on_loop(listen("127.0.0.1:0", TlsFiles(cert=made / "odd.pem", key=made / "odd.key")))


def test_authorities_with_comments_in_any_encoding(made: Path, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes("# Autorité\n".encode("latin-1") + (made / "a.pem").read_bytes())
    assert read_authorities(tmp_path / "ca.pem").endswith((made / "a.pem").read_bytes())
    open_channel("127.0.0.1:1", ClientTls(ca=tmp_path / "ca.pem"), []).close()


def test_files_that_go_away_after_they_were_read(made: Path, tmp_path: Path) -> None:
    from tiervec.rpc.certificates import certificate_problem

    with pytest.raises(NotFoundError, match="reading TLS files"):
        certificate_problem(made / "a.pem", tmp_path / "gone")
    with pytest.raises(NotFoundError, match="reading TLS file"):
        TlsFiles(cert=made / "a.pem", key=tmp_path / "gone").warnings()
