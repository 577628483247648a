from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tiervec.errors import InvalidArgumentError, NotFoundError
from tiervec.service.configuration import IndexEntry, Limits, ServeConfig, TlsFiles, load_config


@pytest.fixture
def example(repository: Path) -> Path:
    return repository / "docs" / "serve.example.toml"


def load(tmp_path: Path, text: str) -> ServeConfig:
    path = tmp_path / "serve.toml"
    path.write_text(text)
    return load_config(path)


def test_the_example_is_complete_and_shows_the_defaults(example: Path) -> None:
    config = load_config(example)
    for shown, kind in ((config, ServeConfig), (config.limits, Limits)):
        for field in dataclasses.fields(kind):
            assert f"\n{field.name} = " in example.read_text() or field.name in ("indexes", "tls", "limits")
            if field.name not in ("indexes", "tls"):
                assert getattr(shown, field.name) == getattr(kind(), field.name), field.name
    for field in (*dataclasses.fields(IndexEntry), *dataclasses.fields(TlsFiles)):
        assert f"\n{field.name} = " in example.read_text()


def test_paths_names_and_tiers(example: Path) -> None:
    config = load_config(example)
    folder = example.parent
    assert config.indexes == (
        IndexEntry(name="peps", path=folder / "indexes/peps", tier="mmap:", fast_memory=1 << 30),
        IndexEntry(name="photographs", path=folder / "indexes/photographs"),
    )
    assert config.tls == TlsFiles(cert=folder / "server.pem", key=folder / "server.key")


def test_empty_file_is_the_default(tmp_path: Path) -> None:
    assert load(tmp_path, "") == ServeConfig()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "listn = 'a:1'",
            "unknown key 'listn'; known: listen, tier, threads, drain_s, probe_interval_s, index, tls, limits",
        ),
        ("[limits]\nmax_q = 1", "unknown key 'limits.max_q'; known: max_connections"),
        ("[[index]]\npath = 'a'\ndir = 'b'", "unknown key 'index.dir'; known: name, path, tier, fast_memory"),
        ("listen = 7700", "listen is 7700; it must be a string"),
        ("threads = true", "threads is True; it must be an integer"),
        ("threads = -1", "threads is -1; it must be an integer from 0"),
        ("drain_s = -1", "drain_s is -1; it must be a number from 0 to 86400"),
        ("drain_s = inf", "drain_s is inf; it must be a number from 0"),
        ("drain_s = nan", "drain_s is nan"),
        ("probe_interval_s = 0", "probe_interval_s is 0"),
        ("[limits]\nmessage_timeout_s = inf", "limits.message_timeout_s is inf"),
        ("[limits]\nmax_streams = 0", "limits.max_streams is 0; it must be an integer from 1"),
        ("listen = 'host'", "listen address 'host' must be HOST:PORT"),
        ("listen = 'host:99999'", "must be HOST:PORT"),
        ("tier = 3", "tier is 3; it must be a string"),
        ("index = 3", "'index' must be a list of tables"),
        ("index = [3]", "'index' is 3; it must be a table"),
        ("[[index]]\nname = 'a'", "an [[index]] has no 'path'"),
        ("[[index]]\nname = ''\npath = 'a'", "an index has an empty name"),
        ("[[index]]\npath = 'x/a'\n[[index]]\npath = 'y/a'", "two indexes are called 'a'"),
        ("[[index]]\npath = 'a'\nfast_memory = '8G'", "index.fast_memory '8G'"),
        ("[tls]\ncert = 'a'", "[tls] needs both 'cert' and 'key'"),
        ("tls = 'a'", "'tls' is 'a'; it must be a table"),
        ("[limits]\nmax_k = 0", "limits.max_k is 0; it must be an integer from 1"),
        ("[limits]\nmax_message_bytes = 'big'", "limits.max_message_bytes is 'big'"),
        ("listen = ", "is not valid TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        load(tmp_path, text)
    assert words in str(caught.value)
    assert str(tmp_path / "serve.toml") in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"configuration file .* does not exist"):
        load_config(tmp_path / "none.toml")


def test_zero_searches_means_one_per_cpu() -> None:
    assert Limits().concurrent_searches >= 1
    assert Limits(max_concurrent_searches=3).concurrent_searches == 3
