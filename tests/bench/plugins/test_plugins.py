"""The plug-ins against the interfaces of the two benchmarks, which are written down here as they are documented."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import tiervec

REPOSITORY = Path(__file__).parents[3]
PLUGINS = REPOSITORY / "bench" / "plugins"

ANN_BASE = """
class BaseANN(object):
    def done(self): pass
    def get_memory_usage(self): raise AssertionError("the memory of the process")
    def fit(self, X): pass
    def query(self, q, n): return []
    def batch_query(self, X, n): raise AssertionError("a pool of threads")
    def get_batch_results(self): return self.res
    def get_additional(self): return {}
    def __str__(self): return self.name
"""

BIG_BASE = """
class BaseANN(object):
    def done(self): pass
    def track(self): raise NotImplementedError()
    def fit(self, dataset): raise NotImplementedError()
    def load_index(self, dataset): raise NotImplementedError()
    def index_files_to_store(self, dataset): raise NotImplementedError()
    def query(self, X, k): raise NotImplementedError()
    def range_query(self, X, radius): raise NotImplementedError()
    def get_results(self): return self.res
    def get_additional(self): return {}
    def __str__(self): return self.name
"""

BIG_DATASETS = """
class Tiny:
    nb, d, dtype = 600, 16, "uint8"
    def distance(self): return "euclidean"
    def get_dataset_fn(self): return "data/tiny/base.1B.u8bin.crop_nb_600"
    def short_name(self): return "Tiny-600"
DATASETS = {"tiny": lambda: Tiny()}
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The two benchmarks' packages with our folders copied in, as their users do it."""
    base = tmp_path / "ann_benchmarks" / "algorithms" / "base"
    base.mkdir(parents=True)
    (base / "module.py").write_text(ANN_BASE)
    shutil.copytree(PLUGINS / "ann_benchmarks", tmp_path / "ann_benchmarks" / "algorithms" / "tiervec")
    (tmp_path / "benchmark" / "algorithms").mkdir(parents=True)
    (tmp_path / "benchmark" / "algorithms" / "base.py").write_text(BIG_BASE)
    (tmp_path / "benchmark" / "datasets.py").write_text(BIG_DATASETS)
    shutil.copytree(PLUGINS / "big_ann", tmp_path / "neurips23" / "ood" / "tiervec")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in list(sys.modules):
        if name.split(".")[0] in ("ann_benchmarks", "benchmark", "neurips23"):
            del sys.modules[name]


def load(name: str) -> ModuleType:
    """As the benchmarks load an algorithm."""
    return importlib.import_module(name)


def vectors() -> Any:
    return np.random.default_rng(1).normal(size=(600, 16)).astype(np.float32)


@pytest.mark.parametrize("params", [{"kind": "graph", "graph_degree": 16}, {"kind": "cluster", "layout": "coded"}])
def test_ann_benchmarks_finds_the_nearest(packages: Path, params: dict[str, Any]) -> None:
    base = vectors()
    algorithm = load("ann_benchmarks.algorithms.tiervec.module").TierVec("euclidean", params)
    before = algorithm.get_memory_usage()
    algorithm.fit(base)
    algorithm.set_query_arguments(0.99)
    assert algorithm.get_memory_usage() - before > base.nbytes / 1024
    assert algorithm.query(base[7], 1).tolist() == [7]
    algorithm.batch_query(base[:50], 10)
    found = algorithm.get_batch_results()
    exact = np.argsort(((base[:50, None] - base[None]) ** 2).sum(axis=2), axis=1)[:, :10]
    assert tiervec.recall(np.array(found), exact, 10) > 0.9
    assert algorithm.get_additional()["reads_per_query"] > 0
    assert "target_recall=0.99" in str(algorithm)
    algorithm.done()
    assert algorithm.get_memory_usage() == 0


def test_ann_benchmarks_returns_fewer_when_there_are_fewer(packages: Path) -> None:
    algorithm = load("ann_benchmarks.algorithms.tiervec.module").TierVec("angular", {"kind": "graph"})
    algorithm.fit(vectors()[:60])
    assert len(algorithm.query(vectors()[0], 100)) == 60
    algorithm.done()


def test_ann_benchmarks_says_which_metrics_there_are(packages: Path) -> None:
    with pytest.raises(NotImplementedError, match="'jaccard'; it has euclidean, angular"):
        load("ann_benchmarks.algorithms.tiervec.module").TierVec("jaccard", {"kind": "graph"})


def test_big_ann_builds_loads_and_answers(packages: Path) -> None:
    base = (vectors() * 30 + 128).clip(0, 255).astype(np.uint8)
    folder = packages / "data" / "tiny"
    folder.mkdir(parents=True)
    (folder / "base.1B.u8bin.crop_nb_600").write_bytes(np.array(base.shape, np.uint32).tobytes() + base.tobytes())
    module = load("neurips23.ood.tiervec.tiervec_ann")
    params = {"kind": "graph", "graph_degree": 16}
    assert not module.TierVec("euclidean", params).load_index("tiny")
    built = module.TierVec("euclidean", params)
    built.fit("tiny")
    built.fit("tiny")  # as the framework's --rebuild asks for
    built.done()
    algorithm = module.TierVec("euclidean", params)
    assert algorithm.load_index("tiny")
    algorithm.set_query_arguments({"target_recall": 0.99})
    algorithm.query(base[:20], 10)
    found = algorithm.get_results()
    assert found.shape == (20, 10)
    assert (found[:, 0] == np.arange(20)).mean() > 0.9
    algorithm.set_query_arguments({"search_list": 100, "beam_width": 2})
    algorithm.query(base[:20], 10)
    assert algorithm.get_additional()["mean_ssd_ios"] > 0
    path, prefix, files = algorithm.index_files_to_store("tiny")
    assert "manifest.json" in files
    assert (Path(path) / (prefix + files[0])).is_file()
    assert not list(Path(path).parent.glob("*.u8bin"))
    assert algorithm.track() == "T2"
    algorithm.done()


def test_another_design_is_another_index(packages: Path) -> None:
    module = load("neurips23.ood.tiervec.tiervec_ann")
    names = {str(module.TierVec("euclidean", {"kind": "graph", "graph_degree": degree})) for degree in (16, 32)}
    assert len(names) == 2


@pytest.mark.parametrize("file", ["ann_benchmarks/config.yml", "big_ann/config.yaml"])
def test_configurations_name_what_there_is(file: str) -> None:
    text = (PLUGINS / file).read_text()
    assert "constructor: TierVec" in text
    for line in text.splitlines():
        if "module:" in line:
            assert line.split("module:")[1].strip() in (
                "ann_benchmarks.algorithms.tiervec",
                "neurips23.ood.tiervec.tiervec_ann",
            )


def test_the_docker_files_are_those_that_the_configurations_name() -> None:
    # big-ann-benchmarks builds neurips23/TRACK/NAME/Dockerfile as neurips23-TRACK-NAME, from its own image neurips23.
    text = (PLUGINS / "big_ann" / "config.yaml").read_text()
    module = text.split("module:")[1].split()[0]
    assert text.split("docker-tag:")[1].split()[0] == "-".join(module.split(".")[:3])
    for folder, base in (("big_ann", "neurips23"), ("ann_benchmarks", "ann-benchmarks")):
        lines = (PLUGINS / folder / "Dockerfile").read_text().splitlines()
        assert lines[0] == f"FROM {base}"
        assert "RUN pip3 install tiervec" in lines
