"""Any value for any key of the configuration of `tiervec serve`: one line that names the file, before it starts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tiervec.errors import TiervecError
from tiervec.service.configuration import Limits, ServeConfig, load_config

_VALUES = (
    '""', '"a"', '"1e400"', '"8G"', '"数"', "true", "0", "-1", "1.5", "nan", "inf", "-inf", "1e400", "9" * 25, "[]",
    "{}", "[[1]]", "{ a = 1 }", "1979-05-27", '"""\nx\n"""', '"' + "x" * 5000 + '"', '"a\\u0000b"',
)  # fmt: skip
_TOP = [field.name for field in dataclasses.fields(ServeConfig)]
_LIMITS = [field.name for field in dataclasses.fields(Limits)]
_TEXTS = (
    *(f"{key} = {value}" for key in (*_TOP, "index", "unknown") for value in _VALUES),
    *(f"[limits]\n{key} = {value}" for key in (*_LIMITS, "unknown") for value in _VALUES),
    *(f"[[index]]\n{key} = {value}" for key in ("name", "path", "tier", "fast_memory", "unknown") for value in _VALUES),
    *(f"[tls]\n{key} = {value}" for key in ("cert", "key", "unknown") for value in _VALUES),
    "[index]\npath = 'a'", "[[limits]]\nmax_k = 1", "[limits.max_k]\na = 1", "a", "=", "[", "\x00", "x = 1\nx = 2",
)  # fmt: skip


def test_every_key_with_every_value(tmp_path: Path) -> None:
    path, problems = tmp_path / "serve.toml", []
    for text in _TEXTS:
        path.write_text(text, encoding="utf-8")
        try:
            load_config(path)
        except TiervecError as error:
            message = str(error)
            if type(error) is TiervecError or path.name not in message or len(message) > 6000:
                problems.append(f"{text[:60]!r}: {type(error).__name__}: {message[:200]}")
        except Exception as error:
            problems.append(f"{text[:60]!r}: {type(error).__name__}: {str(error)[:200]}")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[" * 5000, b"a = " + b"[" * 5000, b"a = 1" + b"0" * 5000])
def test_any_bytes(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "serve.toml").write_bytes(content)
    with pytest.raises(TiervecError, match=r"serve\.toml"):
        load_config(tmp_path / "serve.toml")
    with pytest.raises(TiervecError):
        load_config(tmp_path)
