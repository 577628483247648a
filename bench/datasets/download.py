"""Downloads a file, or its beginning: resumed after an interruption, with its size and checksum compared.

FILE.part        what has arrived
FILE.part.json   the size and the ETag it belongs to; another one means that the file has changed: from the start
FILE.sha256      the checksum of what arrived, as sha256sum writes it. It stays when FILE is removed, so that another
                 content under the same URL is noticed when FILE is downloaded again
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tiervec.bench.datasets.registry import DatasetFile
from tiervec.errors import DataLossError, UnavailableError
from tiervec.machine.durable_files import replacing_file, require_free_space, storage_errors

__all__ = ["download"]

_BLOCK_BYTES: Final = 1 << 20
_TIMEOUT_S: Final = 60.0
_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


def download(
    source: DatasetFile, target: Path, *, first_bytes: int | None = None, progress: Callable[[int, int], None]
) -> Path:
    """Downloads to `target`; does nothing when it is there.

    Args:
        source: URL, and size and SHA-256 where known.
        target: The file.
        first_bytes: Only so many; the registered checksum of the whole then cannot be compared.
        progress: Called with (bytes here, bytes in all).

    Raises:
        UnavailableError: The server cannot be reached or does not have it; what arrived stays for the next time.
        DataLossError: Its size or checksum is not the registered one, or not the one of an earlier download.
        ResourceExhaustedError: The disk is full.
    """
    if target.exists():
        return target
    part = target.with_name(f"{target.name}.part")
    with storage_errors(f"writing {part}", target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
    try:
        _fill(source, part, first_bytes, progress)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise UnavailableError(f"{source.url} cannot be downloaded: {_reason(error)}") from None
    digest = _checksum(part)
    noted = target.with_name(f"{target.name}.sha256")
    if source.sha256 is not None and first_bytes is None and digest != source.sha256:
        part.unlink()
        raise DataLossError(f"{source.url} has the SHA-256 {digest}; {source.sha256} is registered")
    if noted.exists() and (known := noted.read_text(errors="replace").partition(" ")[0]) != digest:
        part.unlink()
        raise DataLossError(
            f"{source.url} has the SHA-256 {digest}; an earlier download had {known}. "
            f"Remove {noted} to take the new one"
        )
    with replacing_file(noted) as note:
        note.write(f"{digest}  {target.name}\n".encode())
    with storage_errors(f"writing {target}", target.parent):
        os.replace(part, target)
        _note(part).unlink(missing_ok=True)
    return target


def _fill(source: DatasetFile, part: Path, wanted: int | None, progress: Callable[[int, int], None]) -> None:
    here = part.stat().st_size if part.exists() else 0
    known = _known(part) if here else {}
    if here and wanted is not None and here > wanted:
        here = 0
    headers = {"User-Agent": "tiervec", "Accept-Encoding": "identity"}
    if here or wanted is not None:
        headers["Range"] = f"bytes={here}-{'' if wanted is None else wanted - 1}"
    if here and known.get("etag"):
        headers["If-Range"] = known["etag"]
    if here and wanted is not None and here == wanted:
        return
    try:
        answer = urllib.request.urlopen(urllib.request.Request(source.url, headers=headers), timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        with error:
            # The server's answer to a request for bytes after the last one.
            whole = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
            if error.code == 416 and whole is not None and int(whole[1]) == here:
                _check_size(source, here)
                return
        raise
    with answer:
        start, whole_bytes = _extent(answer)
        if start not in (0, here) or (start and known.get("bytes") not in (None, whole_bytes)):
            raise UnavailableError(f"{source.url} changed during the download; remove {part} and start again")
        _check_size(source, whole_bytes)
        needed = whole_bytes if wanted is None else min(wanted, whole_bytes or wanted)
        if needed is not None:
            require_free_space(part.parent, needed - start, f"downloading {source.url}")
        document = json.dumps({"bytes": whole_bytes, "etag": answer.headers.get("ETag")})
        with replacing_file(_note(part)) as note:
            note.write(document.encode())
        _copy(answer, part, start, needed, progress)
    here = part.stat().st_size
    if needed is not None and here != needed:
        raise UnavailableError(
            f"{source.url}: the connection ended after {here:,} of {needed:,} bytes; the same command goes on"
        )


def _copy(answer: Any, part: Path, start: int, needed: int | None, progress: Callable[[int, int], None]) -> None:
    here = start
    with storage_errors(f"writing {part}", part.parent), open(part, "r+b" if start else "wb") as file:
        file.truncate(start)
        file.seek(start)
        while needed is None or here < needed:
            try:
                block = answer.read(_BLOCK_BYTES if needed is None else min(_BLOCK_BYTES, needed - here))
            except http.client.IncompleteRead as error:
                block = error.partial
            except OSError as error:
                raise UnavailableError(_reason(error)) from None  # of ours: not a failure of the disk
            if not block:
                break
            file.write(block)
            here += len(block)
            progress(here, needed or here)


def _extent(answer: Any) -> tuple[int, int | None]:
    """Where the answer begins, and the size of the whole file if the server says it."""
    if answer.status == 206:
        found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if found is None:
            raise UnavailableError(f"{answer.url} answers a part without saying which")
        return int(found[1]), int(found[3])
    length = answer.headers.get("Content-Length")
    return 0, None if length is None else int(length)


def _check_size(source: DatasetFile, whole_bytes: int | None) -> None:
    if source.bytes is not None and whole_bytes is not None and whole_bytes != source.bytes:
        raise DataLossError(f"{source.url} has {whole_bytes:,} bytes; {source.bytes:,} are registered")


def _checksum(part: Path) -> str:
    digest = hashlib.sha256()
    with storage_errors(f"reading {part}", part.parent), open(part, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _known(part: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(_note(part).read_bytes())
        if isinstance(found, dict):
            return found
    return {}


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server says {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return f"{error.reason} (a download needs the network)"
    return str(error) or type(error).__name__
