"""Data sets to measure on: a registry, downloads, local files, slices with exact true neighbours, a generator.

from tiervec.bench.datasets import open_dataset
dataset = open_dataset("sift1m:100k")   # from the cache, the folder of TIERVEC_DATA or the package; no network
dataset.vectors_path                    # .u8bin, .i8bin, .fbin or .f16bin: `tiervec.build` takes it
dataset.queries, dataset.ground_truth   # arrays; ids of the 100 nearest neighbours
"""

from __future__ import annotations

from tiervec.bench.datasets.cache import default_cache
from tiervec.bench.datasets.dataset import Dataset
from tiervec.bench.datasets.exact_neighbours import exact_neighbours
from tiervec.bench.datasets.opening import (
    LocalFiles,
    dataset_of_files,
    is_at_hand,
    open_dataset,
    parse_dataset_name,
    remember_files,
)
from tiervec.bench.datasets.registry import DatasetEntry, load_registry

__all__ = [
    "Dataset",
    "DatasetEntry",
    "LocalFiles",
    "dataset_of_files",
    "default_cache",
    "exact_neighbours",
    "is_at_hand",
    "load_registry",
    "open_dataset",
    "parse_dataset_name",
    "remember_files",
]
