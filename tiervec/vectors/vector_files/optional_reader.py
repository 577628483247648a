"""Libraries that only some formats need: imported when such a file is opened, their errors made ours."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tiervec.errors import DataLossError, ResourceExhaustedError, TiervecError, UnsupportedError
from tiervec.machine.durable_files import storage_error

__all__ = ["import_reader", "library_errors"]


def import_reader(module: str, *, extra: str, path: str) -> Any:
    """Imports `module`.

    Raises:
        UnsupportedError: It is not installed; the message says which extra of the package brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise UnsupportedError(
            f"{path} needs {package}, which is not installed; run pip install 'tiervec[{extra}]'"
        ) from error


@contextlib.contextmanager
def library_errors(path: str, format: str) -> Iterator[None]:
    """Turns what a library raises about a file into one `DataLossError`.

    h5py and pyarrow raise a dozen types for damage, from KeyError to NotImplementedError, and document none.
    """
    try:
        yield
    except TiervecError:
        raise
    except MemoryError as error:
        raise ResourceExhaustedError(f"reading {path} needs more memory than there is: {_one_line(error)}") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno:  # the system refused; damage has no errno
            raise storage_error(error, f"reading {path}", Path(path).parent) from error
        raise DataLossError(f"{path} cannot be read as {format}: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
