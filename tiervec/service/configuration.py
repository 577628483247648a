"""What ``tiervec serve`` is told, as dataclasses and as a TOML file; ``docs/serve.example.toml`` shows every key."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiervec.arguments.parameter_checks import (
    MAX_THREADS,
    check_bytes,
    check_field,
    check_instance,
    check_number,
    check_path,
    check_text,
    check_whole,
)
from tiervec.arguments.sizes import parse_size
from tiervec.errors import InvalidArgumentError
from tiervec.machine.named_file import opened
from tiervec.rpc.limits import CallLimits
from tiervec.rpc.listening import TlsFiles, check_listen

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["IndexEntry", "Limits", "ServeConfig", "TlsFiles", "load_config"]

_MAX_DRAIN_S = 86_400


@dataclass(frozen=True, kw_only=True)
class Limits(CallLimits):
    """Bounds on what clients can ask for; every one has a status code of its own at the limit.

    Bounds on connections, calls and streams are those of `CallLimits`.

    Attributes:
        max_batch_queries: Queries in one Search call (RESOURCE_EXHAUSTED above).
        max_k: Neighbours per query (INVALID_ARGUMENT above).
        max_concurrent_searches: Searches that run at once; 0 means one per allowed CPU. Others wait.
        max_waiting_searches: Searches that may wait (RESOURCE_EXHAUSTED above).
        max_message_bytes: Size of one request or response (RESOURCE_EXHAUSTED above).
    """

    max_batch_queries: int = 4096
    max_k: int = 1000
    max_concurrent_searches: int = 0
    max_waiting_searches: int = 64
    max_message_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        super().__post_init__()
        inherited = {field.name for field in dataclasses.fields(CallLimits)}
        for field in dataclasses.fields(self):
            if field.name in inherited:
                continue
            least = 0 if field.name in ("max_concurrent_searches", "max_waiting_searches") else 1
            value = check_whole(f"limits.{field.name}", getattr(self, field.name), least, 2**31 - 1)
            object.__setattr__(self, field.name, value)

    @property
    def concurrent_searches(self) -> int:
        """``max_concurrent_searches`` with 0 resolved to what this process may use: allowed CPUs or CPU quota."""
        from tiervec import _core  # only needed by a server

        return _core.resolve_threads(self.max_concurrent_searches)


@dataclass(frozen=True, kw_only=True)
class IndexEntry:
    """One index to serve.

    Attributes:
        name: What clients call it.
        path: Its directory.
        tier: URL of the tier to open it on; None means the configuration's.
        fast_memory: Budget of fast memory in bytes, or None for no budget.
    """

    name: str
    path: Path
    tier: str | None = None
    fast_memory: int | None = None

    def __post_init__(self) -> None:
        check_field(self, "name", check_text, "docs")
        object.__setattr__(self, "path", Path(check_path("path", self.path)))
        if self.tier is not None:
            check_field(self, "tier", check_text, "dram:")
        check_field(self, "fast_memory", check_bytes)


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """Everything a server needs to know.

    Attributes:
        listen: ``HOST:PORT``; port 0 picks a free one.
        tier: URL of the tier of indexes that do not name one.
        threads: Worker threads of one search; 0 means all allowed CPUs.
        drain_s: Seconds that running calls get to finish when the server stops.
        probe_interval_s: Seconds between two looks at the health of an index that answers no searches; an index that
            answers some is not asked.
        indexes: What to serve, names unique.
        tls: Certificate and key, or None for plain text.
        limits: Bounds on requests.
    """

    listen: str = "127.0.0.1:7700"
    tier: str = "dram:"
    threads: int = 0
    drain_s: float = 30.0
    probe_interval_s: float = 0.5
    indexes: tuple[IndexEntry, ...] = ()
    tls: TlsFiles | None = None
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        check_listen(self.listen)
        check_field(self, "tier", check_text, "dram:")
        check_field(self, "threads", check_whole, 0, MAX_THREADS)
        check_field(self, "drain_s", check_number, 0, _MAX_DRAIN_S)
        check_field(self, "probe_interval_s", check_number, 0.001, _MAX_DRAIN_S)
        check_instance("indexes", self.indexes, tuple, list)
        for entry in self.indexes:
            check_instance("one of indexes", entry, IndexEntry)
        check_instance("tls", self.tls, TlsFiles, type(None))
        check_instance("limits", self.limits, Limits)
        names = [entry.name for entry in self.indexes]
        for name in names:
            if not name:
                raise InvalidArgumentError("an index has an empty name; give it one")
            if names.count(name) > 1:
                raise InvalidArgumentError(f"two indexes are called {name!r}; names must be unique")


def load_config(path: Path) -> ServeConfig:
    """Reads a configuration file; relative paths in it are relative to its folder.

    Raises:
        NotFoundError: There is no such file.
        InvalidArgumentError: It is not TOML, or a key or value in it cannot be used; the message names file and key.
    """
    with opened("configuration file", path) as file:
        text = file.read()
    try:
        document = tomllib.loads(text.decode())
    except (ValueError, RecursionError) as error:  # also an integer of 5,000 digits, and 5,000 brackets
        raise InvalidArgumentError(f"configuration file {path} is not valid TOML: {error}") from None
    try:
        return _config(document, path.parent)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"configuration file {path}: {error}") from None


def _config(document: dict[str, Any], folder: Path) -> ServeConfig:
    entries = document.pop("index", [])
    tls = document.pop("tls", None)
    limits = document.pop("limits", {})
    top = _typed(document, _TOP_TYPES, "", also=("index", "tls", "limits"))
    if not isinstance(entries, list):
        raise InvalidArgumentError("'index' must be a list of tables, written [[index]]")
    return ServeConfig(
        **top,
        indexes=tuple(_index_entry(entry, folder) for entry in entries),
        tls=None if tls is None else _tls_files(tls, folder),
        limits=_limits(limits),
    )


def _index_entry(table: Any, folder: Path) -> IndexEntry:
    types = {"name": str, "path": str, "tier": str, "fast_memory": (str, int)}
    values = _typed(_table(table, "index"), types, "index.")
    if "path" not in values:
        raise InvalidArgumentError("an [[index]] has no 'path'")
    path = folder / values.pop("path")
    if "fast_memory" in values:
        values["fast_memory"] = parse_size(values["fast_memory"], what="index.fast_memory")
    return IndexEntry(**{"name": path.name, **values}, path=path)


def _tls_files(table: Any, folder: Path) -> TlsFiles:
    values = _typed(_table(table, "tls"), {"cert": str, "key": str}, "tls.")
    if len(values) != 2:
        raise InvalidArgumentError("[tls] needs both 'cert' and 'key'")
    return TlsFiles(cert=folder / values["cert"], key=folder / values["key"])


def _limits(table: Any) -> Limits:
    types: dict[str, Any] = {field.name: int for field in dataclasses.fields(Limits)}
    types |= {"max_message_bytes": (str, int), "message_timeout_s": float}
    values = _typed(_table(table, "limits"), types, "limits.")
    if "max_message_bytes" in values:
        values["max_message_bytes"] = parse_size(values["max_message_bytes"], what="limits.max_message_bytes")
    return Limits(**values)


def _table(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidArgumentError(f"{name!r} is {value!r}; it must be a table")
    return value


def _typed(
    table: Mapping[str, Any], types: Mapping[str, Any], prefix: str, also: tuple[str, ...] = ()
) -> dict[str, Any]:
    for key, value in table.items():
        if key not in types:
            raise InvalidArgumentError(f"unknown key {prefix + key!r}; known: {', '.join([*types, *also])}")
        expected = (int, float) if types[key] is float else types[key]
        # bool is an int to Python, not to a reader of the file.
        if isinstance(value, bool) or not isinstance(value, expected):
            raise InvalidArgumentError(f"{prefix}{key} is {value!r}; it must be {_TYPE_NAMES[types[key]]}")
    return dict(table)


_TOP_TYPES: dict[str, Any] = {"listen": str, "tier": str, "threads": int, "drain_s": float, "probe_interval_s": float}

_TYPE_NAMES: dict[Any, str] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    (str, int): 'a size, for example "8GiB", or a number of bytes',
}
