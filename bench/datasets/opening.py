"""Opens a data set by name: ``sift1m``, ``sift1m:100k``, ``synthetic:n=10000,dim=96``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiervec.bench.datasets.dataset import Dataset
from tiervec.errors import InvalidArgumentError

__all__ = ["dataset_of_files", "open_dataset", "parse_dataset_name"]

Progress = Callable[[str, int, int, float | None], None]
"""Called with (stage, steps done, steps in all, seconds left or None), as `tiervec.build` does."""

_SLICE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([kKmMbB]?)")
_FACTORS = {"": 1, "k": 1000, "m": 1_000_000, "b": 1_000_000_000}


def parse_dataset_name(text: str) -> tuple[str, int | None]:
    """Splits ``NAME:FIRST_N``.

    Example:
        >>> parse_dataset_name("sift1m:100k"), parse_dataset_name("peps")
        (('sift1m', 100000), ('peps', None))
    """
    name, colon, slice_text = text.partition(":")
    if not colon or name == "synthetic":
        return text, None
    match = _SLICE.fullmatch(slice_text)
    if match is None or not (rows := round(float(match[1]) * _FACTORS[match[2].lower()])):
        raise InvalidArgumentError(f"data set {text!r}: the slice {slice_text!r} must be a number such as 100k or 1M")
    return name, rows


def open_dataset(
    name: str,
    *,
    queries: int | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Opens a data set that is at hand; never touches the network.

    Slices, and true neighbours that do not come with the data, are made once and kept in the cache by checksum.

    Args:
        name: ``NAME`` or ``NAME:FIRST_N`` of the registry, or ``synthetic:n=...,dim=...``.
        queries: Only the first so many.
        cache: Folder; None: `default_cache`.
        progress: Progress callback.

    Raises:
        NotFoundError: Unknown, or not fetched yet; the sentence says how to get it.
        InvalidArgumentError: A slice or a parameter that it does not have.
        DataLossError: True neighbours that belong to other vectors.
    """
    raise NotImplementedError


def dataset_of_files(
    base: Any,
    queries: Any,
    *,
    ground_truth: Any = None,
    metric: str = "l2",
    name: str | None = None,
    slice: int | None = None,
    most_queries: int | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """A data set of files of one's own (``--path``), in any format of `tiervec.vector_files`.

    Args:
        base: The vectors.
        queries: The queries.
        ground_truth: True neighbours of all vectors; they are checked on some queries. None: computed, as for a slice.
        metric: ``l2``, ``ip`` or ``cosine``.
        name: None: the name of the file.
        slice: Only the first so many vectors.
        most_queries: Only the first so many queries.
        cache: As in `open_dataset`.
        progress: As in `open_dataset`.
    """
    raise NotImplementedError
