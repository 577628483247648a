"""Work within a limit of memory: which way of doing it fits, and rows that lie in a file instead of memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tiervec.arguments.sizes import format_size
from tiervec.errors import ResourceExhaustedError
from tiervec.machine.durable_files import require_free_space, storage_errors
from tiervec.machine.interruptible import BuildProgress

__all__ = ["choose_within", "map_rows"]


def choose_within(limit: int | None, estimates: Sequence[int], act: str, progress: BuildProgress | None) -> int:
    """The first of several ways, by the peak memory that each is estimated to need, that is within the limit.

    Args:
        limit: Bytes; None: without a limit, so the first way.
        estimates: Bytes that each way needs; the last one needs least.
        act: What is done, for example ``"building 5 vectors"``.
        progress: Is told the estimate, or None.

    Raises:
        ResourceExhaustedError: All need more.
    """
    for way, estimate in enumerate(estimates):
        if limit is None or estimate <= limit:
            if progress is not None:
                progress(f"estimated peak memory {format_size(estimate)}", 1, 1, None)
            return way
    raise ResourceExhaustedError(
        f"memory_limit is {format_size(limit or 0)}; {act} needs about {format_size(estimates[-1])}"
    )


def map_rows(
    blocks: Iterable[npt.NDArray[Any]], dtype: npt.DTypeLike, shape: tuple[int, int], folder: Path, act: str
) -> npt.NDArray[Any]:
    """Puts blocks of rows, one after the other, into a file in `folder` and maps it, read-only.

    The file has no name: it is gone with the last map of it, also when the process is killed.

    Raises:
        DiskFullError: The disk is full; `act` begins the sentence.
    """
    require_free_space(folder, np.dtype(dtype).itemsize * shape[0] * shape[1], act)
    with storage_errors(act, folder), tempfile.TemporaryFile(dir=folder) as file:
        for block in blocks:
            file.write(block.data)
        file.flush()
        return np.asarray(np.memmap(file, dtype, mode="r", shape=shape))
