"""What an import of the package loads: names come when they are used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tiervec

_HEAVY = {"numpy", "tiervec._core", "tiervec.api", "grpc", "faiss"}


def _loaded_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "code",
    [
        "import tiervec",
        "import tiervec.errors",
        "import tiervec; tiervec.__version__, dir(tiervec), tiervec.NotFoundError",
        "from tiervec.cli.main import main; assert main(['--help']) == 0",
        "from tiervec.cli.main import main; assert main(['--version']) == 0",
        "from tiervec.cli.main import main; assert main(['search', '--help']) == 0",
    ],
)
def test_neither_numpy_nor_the_engine_is_loaded_before_it_is_used(code: str) -> None:
    assert not _HEAVY & _loaded_by(code)


def test_an_open_index_needs_neither_grpc_nor_faiss() -> None:
    loaded = _loaded_by("import tiervec; tiervec.open")
    assert "tiervec._core" in loaded
    assert not {"grpc", "faiss"} & loaded


def test_every_public_name_is_there_and_listed() -> None:
    for name in tiervec.__all__:
        assert getattr(tiervec, name) is not None
        assert name in dir(tiervec)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'opne'"):
        _ = tiervec.opne  # type: ignore[attr-defined]


def test_a_missing_extension_says_what_to_run() -> None:
    code = (
        "import sys\nsys.modules['tiervec._core'] = None\nimport tiervec\n"
        "try:\n    tiervec.open\nexcept ImportError as error:\n    print(error, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "make install" in done.stderr
