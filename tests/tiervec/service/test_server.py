"""Binding, TLS, and a stop that loses nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tiervec.client import Client
from tiervec.errors import DeadlineExceededError, InvalidArgumentError, NotFoundError, UnavailableError
from tiervec.service.catalogue import IndexCatalogue
from tiervec.service.configuration import ServeConfig, TlsFiles
from tiervec.service.server import Server


def test_a_taken_port_is_an_error(serve: Any, fake_index: Any, bytes_index: Any) -> None:
    with serve({"fake": fake_index}) as server:
        config = ServeConfig(listen=server.address)
        with pytest.raises(UnavailableError, match=f"cannot listen on {server.address}"):
            Server(IndexCatalogue({"b": bytes_index}), config)


def test_an_address_of_another_machine(fake_index: Any) -> None:
    with pytest.raises(UnavailableError, match=r"cannot listen on 192\.0\.2\.1:0"):
        Server(IndexCatalogue({"fake": fake_index}), ServeConfig(listen="192.0.2.1:0"))


def test_stop_waits_for_running_calls_and_closes(serve: Any, fake_index: Any) -> None:
    fake_index.hold = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        with serve({"fake": fake_index}) as server, Client(server.address, timeout_s=60) as client:
            running = pool.submit(client.search, "fake", fake_index.vectors[:2], 1)
            wait_until(lambda: fake_index.running == 1)
            stopping = pool.submit(server.stop)
            wait_until(lambda: server_refuses(client))
            assert not fake_index.closed
            fake_index.hold.set()
            assert running.result().ids.tolist() == [[0], [1]]
            stopping.result()
        assert fake_index.closed


def test_what_does_not_finish_in_time_is_cancelled(serve: Any, fake_index: Any) -> None:
    fake_index.hold = threading.Event()
    with (
        ThreadPoolExecutor(1) as pool,
        serve({"fake": fake_index}, drain_s=0.1) as server,
        Client(server.address, timeout_s=60) as client,
    ):
        running = pool.submit(client.search, "fake", fake_index.vectors[:2], 1)
        wait_until(lambda: fake_index.running == 1)
        threading.Timer(0.5, fake_index.hold.set).start()
        server.stop()
        assert fake_index.closed
        assert fake_index.running == 0  # closed only after the search was done with it
        # Read while the client is open: an answer that comes later is the closed client's CancelledError.
        assert isinstance(running.exception(60), UnavailableError)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops(fake_index: Any, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    server = Server(IndexCatalogue({"fake": fake_index}), ServeConfig(listen="127.0.0.1:0"))
    ready = threading.Event()
    threading.Timer(0.3, os.kill, (os.getpid(), number)).start()
    server.run_until_signalled(ready.set)
    assert ready.is_set()
    assert fake_index.closed
    assert signal.getsignal(number) is before


def test_a_second_signal_ends_the_draining(fake_index: Any) -> None:
    fake_index.hold = threading.Event()
    server = Server(IndexCatalogue({"fake": fake_index}), ServeConfig(listen="127.0.0.1:0", drain_s=60))
    running = []
    with ThreadPoolExecutor(1) as pool, Client(server.address, timeout_s=60) as client:

        def on_ready() -> None:
            running.append(pool.submit(client.search, "fake", fake_index.vectors[:2], 1))
            wait_until(lambda: fake_index.running == 1)
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
            threading.Timer(0.6, os.kill, (os.getpid(), signal.SIGTERM)).start()
            threading.Timer(1.2, fake_index.hold.set).start()

        server.run_until_signalled(on_ready)
        assert isinstance(running[0].exception(timeout=60), UnavailableError)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    files = TlsFiles(cert=folder / "cert.pem", key=folder / "key.pem")
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(files.key), "-out", str(files.cert)]
    subprocess.run(command, check=True, capture_output=True)
    return files


def test_tls(serve: Any, fake_index: Any, certificate: TlsFiles) -> None:
    with serve({"fake": fake_index}, tls=certificate) as server:
        with Client(server.address, timeout_s=60, tls_ca=certificate.cert) as client:
            assert client.search("fake", fake_index.vectors[:1], 1).ids.tolist() == [[0]]
        with (
            Client(server.address, timeout_s=1) as plain,
            pytest.raises((UnavailableError, DeadlineExceededError), match=server.address),
        ):
            plain.indexes()


def test_tls_files_that_cannot_be_used(fake_index: Any, certificate: TlsFiles, tmp_path: Path) -> None:
    def start(files: TlsFiles) -> None:
        Server(IndexCatalogue({"fake": fake_index}), ServeConfig(listen="127.0.0.1:0", tls=files))

    with pytest.raises(NotFoundError, match=r"TLS file .*none\.pem does not exist"):
        start(TlsFiles(cert=tmp_path / "none.pem", key=certificate.key))
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    with pytest.raises(InvalidArgumentError, match=r"TLS file .*nonsense\.pem"):
        start(TlsFiles(cert=nonsense, key=certificate.key))


@pytest.mark.parametrize(
    ("dates", "words"),
    [
        ({"ends": "20210101000000Z"}, r"TLS certificate .*cert\.pem has expired: no client would accept it"),
        ({"begins": "20990101000000Z"}, r"TLS certificate .*cert\.pem is not valid yet; is the clock .* right"),
    ],
)
def test_a_certificate_out_of_its_time(
    fake_index: Any, make_certificate: Any, dates: dict[str, str], words: str
) -> None:
    cert, key = make_certificate(**dates)
    config = ServeConfig(listen="127.0.0.1:0", tls=TlsFiles(cert=cert, key=key))
    with pytest.raises(InvalidArgumentError, match=words):
        Server(IndexCatalogue({"fake": fake_index}), config)


def test_a_wrong_authority(serve: Any, fake_index: Any, make_certificate: Any) -> None:
    (cert, key), (other, _) = make_certificate(), make_certificate()
    with (
        serve({"fake": fake_index}, tls=TlsFiles(cert=cert, key=key)) as server,
        Client(server.address, timeout_s=60, tls_ca=other) as client,
        pytest.raises(UnavailableError, match="the server's certificate was not accepted"),
    ):
        client.indexes()


def server_refuses(client: Client) -> bool:
    try:
        client.indexes()
    except UnavailableError:
        return True
    return False


def wait_until(condition: Any, timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.01)
