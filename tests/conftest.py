from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

# The same examples every time, and no deadline: shared machines are slow at odd moments. HYPOTHESIS_PROFILE=explore
# searches on.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=1000, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

# Tests run beside each other: the threads of OpenMP and OpenBLAS, one per CPU in each process, give their CPU away when
# they wait, rather than spin. Set before either is loaded, and for the processes that tests start.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

REPOSITORY = Path(__file__).parent.parent
DATA = Path(os.environ.get("TIERVEC_DATA", REPOSITORY.parent / "shared" / "data"))


# Tests that a shell script starts in the background have Ctrl-C ignored, and so have the processes that they start;
# tests of Ctrl-C need it as a terminal has it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--hardware", action="store_true", help="run the tests marked `hardware` too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    no_data = pytest.mark.skip(reason=f"no data at {DATA}; set TIERVEC_DATA")
    no_hardware = pytest.mark.skip(reason="needs --hardware")
    for item in items:
        if item.get_closest_marker("data") and not DATA.is_dir():
            item.add_marker(no_data)
        if item.get_closest_marker("hardware") and not config.getoption("--hardware"):
            item.add_marker(no_hardware)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the source tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with the large data sets; for tests marked `data`."""
    return DATA


@pytest.fixture(scope="session")
def make_certificate(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Path]]:
    """``cert, key = make_certificate("DNS:a.example", begins="20200101000000Z", ends=...)``, signed by itself."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")

    def make(
        names: str = "IP:127.0.0.1", *, begins: str = "20200101000000Z", ends: str = "21000101000000Z"
    ) -> tuple[Path, Path]:
        folder = tmp_path_factory.mktemp("certificate")
        (folder / "index").touch()
        (folder / "serial").write_text("01")
        (folder / "ca.cnf").write_text(
            "[ca]\ndefault_ca=own\n[own]\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\n"
            f"policy=any\nx509_extensions=names\n[any]\ncommonName=supplied\n[names]\nsubjectAltName={names}\n"
        )
        request = ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-keyout", "key.pem"]
        sign = ["ca", "-batch", "-config", "ca.cnf", "-selfsign", "-keyfile", "key.pem", "-in", "request.pem"]
        for arguments in (
            [*request, "-out", "request.pem"],
            [*sign, "-out", "cert.pem", "-startdate", begins, "-enddate", ends, "-notext"],
        ):
            subprocess.run([openssl, *arguments], check=True, capture_output=True, cwd=folder)
        return folder / "cert.pem", folder / "key.pem"

    return make


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text("write=the-write-token-0001\nread=the-read-token-00002\n")
    path.chmod(0o600)
    return path
