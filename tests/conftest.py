from __future__ import annotations

import os
import signal
from pathlib import Path

import hypothesis
import pytest

# The same examples every time, and no deadline: shared machines are slow at odd moments. HYPOTHESIS_PROFILE=explore
# searches on.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=1000, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

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
