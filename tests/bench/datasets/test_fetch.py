"""Downloads, from a server on loopback that misbehaves on demand."""

from __future__ import annotations

import errno
import hashlib
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tiervec.bench.datasets import open_dataset
from tiervec.bench.datasets.download import download
from tiervec.bench.datasets.fetch import fetch
from tiervec.bench.datasets.registry import DatasetEntry, DatasetFile
from tiervec.errors import DataLossError, InvalidArgumentError, NotFoundError, ResourceExhaustedError, UnavailableError
from tiervec.vectors.ground_truth import write_ground_truth
from tiervec.vectors.vector_files import open_vectors, write_big_ann

CONTENT = np.random.default_rng(1).bytes(300_000)


class Handler(BaseHTTPRequestHandler):
    """Serves `server.files`; closes after `server.cut` bytes, ignores ranges when `server.plain`."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        content = self.server.files.get(self.path)
        self.server.asked.append((self.path, self.headers.get("Range")))
        if content is None:
            self.send_error(404)
            return
        start, stop = 0, len(content)
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        is_same = self.headers.get("If-Range") in (None, self.server.etag)
        if found and not self.server.plain and is_same:
            start, stop = int(found[1]), min(stop, int(found[2]) + 1 if found[2] else stop)
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("ETag", self.server.etag)
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        cut, self.server.cut = self.server.cut, None
        self.wfile.write(content[start : stop if cut is None else start + cut])
        if cut is not None:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    files: dict[str, bytes]
    asked: list[tuple[str, str | None]]
    plain = False
    cut: int | None = None
    etag = '"1"'

    def handle_error(self, *_: object) -> None:  # a client that has enough closes the connection
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.files, server.asked = {"/f": CONTENT}, []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def url(server: Server, path: str = "/f") -> str:
    return f"http://127.0.0.1:{server.server_address[1]}{path}"


def get(server: Server, target: Path, **options: object) -> bytes:
    source = DatasetFile(url=url(server), **{key: options.pop(key) for key in ("bytes", "sha256") if key in options})  # type: ignore[arg-type]
    return download(source, target, progress=lambda *_: None, **options).read_bytes()  # type: ignore[arg-type]


def test_a_file_arrives_whole(server: Server, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    source = DatasetFile(url=url(server), bytes=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())
    path = download(source, tmp_path / "deep" / "f", progress=lambda *at: steps.append(at))
    assert path.read_bytes() == CONTENT
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    assert sorted(each.name for each in path.parent.iterdir()) == ["f", "f.sha256"]
    download(source, path, progress=lambda *_: None)
    assert len(server.asked) == 1


def test_an_interrupted_download_goes_on(server: Server, tmp_path: Path) -> None:
    server.cut = 100_000
    with pytest.raises(UnavailableError, match="ended after 100,000 of 300,000 bytes; the same command goes on"):
        get(server, tmp_path / "f")
    assert get(server, tmp_path / "f") == CONTENT
    assert server.asked[-1] == ("/f", "bytes=100000-")


def test_a_connection_that_breaks_is_not_a_broken_disk(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bytes:
        raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")

    monkeypatch.setattr("http.client.HTTPResponse.read", broken)
    with pytest.raises(UnavailableError, match=r"http://.*/f cannot be downloaded: .*reset by peer") as raised:
        get(server, tmp_path / "f")
    assert str(raised.value).count("cannot be downloaded") == 1


def test_what_arrived_in_full_before_the_rename_is_taken(server: Server, tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(CONTENT)
    assert get(server, tmp_path / "f") == CONTENT


def test_a_file_that_changed_meanwhile_comes_from_the_start(server: Server, tmp_path: Path) -> None:
    server.cut = 100_000
    with pytest.raises(UnavailableError):
        get(server, tmp_path / "f")
    server.etag, server.files["/f"] = '"2"', CONTENT[::-1]
    assert get(server, tmp_path / "f") == CONTENT[::-1]


def test_a_server_without_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    server.plain, server.cut = True, 100_000
    with pytest.raises(UnavailableError):
        get(server, tmp_path / "f")
    assert get(server, tmp_path / "f") == CONTENT
    assert get(server, tmp_path / "g", first_bytes=1000) == CONTENT[:1000]


def test_only_the_beginning(server: Server, tmp_path: Path) -> None:
    assert get(server, tmp_path / "f", first_bytes=5000, bytes=len(CONTENT)) == CONTENT[:5000]
    assert server.asked == [("/f", "bytes=0-4999")]


def test_another_size_or_checksum_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataLossError, match="has 300,000 bytes; 299,999 are registered"):
        get(server, tmp_path / "f", bytes=299_999)
    with pytest.raises(DataLossError, match=r"has the SHA-256 .*; 00 is registered"):
        get(server, tmp_path / "f", sha256="00")
    assert not (tmp_path / "f").exists()


def test_another_content_than_that_of_an_earlier_download_is_refused(server: Server, tmp_path: Path) -> None:
    get(server, tmp_path / "f")
    noted = tmp_path / "f.sha256"
    assert noted.read_text() == f"{hashlib.sha256(CONTENT).hexdigest()}  f\n"
    (tmp_path / "f").unlink()
    assert get(server, tmp_path / "f") == CONTENT
    (tmp_path / "f").unlink()
    server.files["/f"] = CONTENT[::-1]
    with pytest.raises(DataLossError, match=r"an earlier download had .*\. Remove .*f\.sha256 to take the new one"):
        get(server, tmp_path / "f")
    assert not (tmp_path / "f").exists()
    noted.unlink()
    assert get(server, tmp_path / "f") == CONTENT[::-1]


def test_no_network_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    source = DatasetFile(url=f"http://127.0.0.1:{port}/f")
    with pytest.raises(UnavailableError, match=r"refused.*\(a download needs the network\)") as raised:
        download(source, tmp_path / "f", progress=lambda *_: None)
    assert "\n" not in str(raised.value)
    nowhere = DatasetFile(url="http://nowhere.invalid/f")
    with pytest.raises(UnavailableError, match="a download needs the network"):
        download(nowhere, tmp_path / "f", progress=lambda *_: None)


def test_a_file_that_the_server_lacks(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="the server says 404"):
        download(DatasetFile(url=url(server, "/other")), tmp_path / "f", progress=lambda *_: None)


def test_a_full_disk_is_seen_before(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(ResourceExhaustedError, match="needs 300,000 bytes, but only 1,000 are free"):
        get(server, tmp_path / "f")


@pytest.fixture
def registry(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, DatasetEntry]:
    rng = np.random.default_rng(4)
    base, queries = (rng.integers(0, 255, (n, 16)).astype(np.uint8) for n in (1000, 10))
    distances = ((queries[:, None].astype(int) - base[None]) ** 2).sum(axis=2)
    write_big_ann(tmp_path / "b.u8bin", base)
    write_big_ann(tmp_path / "q.u8bin", queries)
    for rows in (200, 1000):
        write_ground_truth(tmp_path / f"gt{rows}", np.argsort(distances[:, :rows], axis=1, kind="stable")[:, :100])
    for name in ("b.u8bin", "q.u8bin", "gt200", "gt1000"):
        server.files[f"/{name}"] = (tmp_path / name).read_bytes()
    big = DatasetEntry(
        name="big",
        title="",
        source="download",
        n=1000,
        dim=16,
        dtype="uint8",
        queries=10,
        base=DatasetFile(url=url(server, "/b.u8bin"), bytes=16_008),
        query=DatasetFile(url=url(server, "/q.u8bin"), bytes=168),
        ground_truth=tuple(DatasetFile(url=url(server, f"/gt{rows}"), rows=rows) for rows in (200, 1000)),
    )
    entries = {"big": big, "hand": DatasetEntry(name="hand", title="", source="manual", page="https://x", notes="Read")}
    monkeypatch.setattr("tiervec.bench.datasets.opening.load_registry", lambda: entries)
    return entries


def test_a_slice_is_the_beginning_of_the_file(
    server: Server, registry: dict[str, DatasetEntry], own_cache: Path, tmp_path: Path
) -> None:
    names = [path.name for path in fetch("big:200", registry=registry)]
    assert names == ["query.u8bin", "base-200.u8bin", "ground_truth-200.bin"]
    assert ("/b.u8bin", f"bytes=0-{8 + 200 * 16 - 1}") in server.asked
    dataset = open_dataset("big:200")
    assert (dataset.vectors.rows(0, 200) == open_vectors(tmp_path / "b.u8bin").rows(0, 200)).all()
    assert dataset.ground_truth.shape == (10, 100)
    assert open_dataset("big:150").key.n == 150
    with pytest.raises(NotFoundError, match="fetch big:300"):  # its noted checksum is no file of vectors
        open_dataset("big:300")
    asked = len(server.asked)
    fetch("big:200", registry=registry)
    assert len(server.asked) == asked


def test_all_of_it(registry: dict[str, DatasetEntry], own_cache: Path) -> None:
    fetch("big", registry=registry)
    assert open_dataset("big").key.n == 1000


def test_a_header_that_is_not_the_registered_one(
    server: Server, registry: dict[str, DatasetEntry], own_cache: Path
) -> None:
    content = bytearray(server.files["/b.u8bin"])
    content[4] = 15
    server.files["/b.u8bin"] = bytes(content)
    with pytest.raises(DataLossError, match="begins with 1,000 x 15; 1,000 x 16 is registered"):
        fetch("big:200", registry=registry)


def test_what_cannot_be_fetched(registry: dict[str, DatasetEntry], own_cache: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="a slice of 2,000 is more than that"):
        fetch("big:2k", registry=registry)
    with pytest.raises(NotFoundError, match=r"https://x.*--path FILE"):
        fetch("hand", registry=registry)
    with pytest.raises(NotFoundError, match="there is no data set 'small'"):
        fetch("small", registry=registry)
    assert fetch("sample") == []
