"""The cluster index end to end: every layout, dtype, metric and tier; conversions; data that is hard to cluster."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiervec
from tiervec.cluster_index.bit_packing import unpack
from tiervec.cluster_index.params import LAYOUTS
from tiervec.errors import DataLossError, InvalidArgumentError, UnsupportedError
from tiervec.index_files.directory import IndexDirectory
from tiervec.placement import section_tier

pytest.importorskip("faiss", reason="clusters are built with faiss, which is not installed")

Array = np.ndarray[Any, Any]
TIERS = ("dram:", "mmap:", "emulated:cxl-x8")
POSTINGS = ("grouped", "decoupled", "replicated")
CLUSTERS = 40
K = 10
WHOLE = {"nprobe": 100_000, "rerank": 128}
# By the default rule hardly a vector is in two lists, and what concerns lists would be tested on next to none.
MANY_LISTS = {"replicas": 4, "closure": 10, "rng_factor": 1.5}

ClusterBuilder = Callable[..., Path]


@pytest.fixture(scope="session")
def cluster_index(tmp_path_factory: pytest.TempPathFactory, corpus: Callable[..., Any]) -> ClusterBuilder:
    """``cluster_index("uint8", "l2", layout="grouped")``: the index of the sample's slice, built once."""
    folder = tmp_path_factory.mktemp("clusters")
    made: dict[str, Path] = {}

    def build(dtype: str = "float32", metric: str = "cosine", **params: Any) -> Path:
        name = json.dumps([dtype, metric, params], sort_keys=True)
        if name not in made:
            part = corpus(dtype)
            out = folder / str(len(made))
            tiervec.build(
                part.vectors,
                out,
                kind="cluster",
                metric=metric,
                params={"clusters": CLUSTERS, "code_bits": 4, **MANY_LISTS, **params},
                calibration_queries=part.queries[:20],
                threads=1,
            )
            made[name] = out
        return made[name]

    return build


def replication(path: Path) -> float:
    """How many clusters list a vector."""
    return float(IndexDirectory.open(path).manifest.details["replication"])


def search(path: Path, queries: Array, *, tier: str = "dram:", k: int = K, **params: Any) -> tiervec.SearchResult:
    with tiervec.open(path, tier=tier, threads=1) as index:
        return index.search(queries, k=k, params=params)


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8"])
def test_every_dtype_and_metric(
    dtype: str, metric: str, corpus: Callable[..., Any], cluster_index: ClusterBuilder
) -> None:
    part = corpus(dtype)
    found = search(cluster_index(dtype, metric), part.queries, nprobe=20, rerank=100)
    assert part.recall(found.ids, metric, K) >= 0.95
    exact = np.take_along_axis(part.distances(metric), found.ids, axis=1)
    np.testing.assert_allclose(found.distances, exact, rtol=1e-4, atol=1e-4 * float(np.abs(exact).mean()))
    assert np.all(np.diff(found.distances, axis=1) >= 0)
    assert all(len(set(row)) == K for row in found.ids.tolist())


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
@pytest.mark.parametrize("layout", POSTINGS)
def test_whole_postings_find_everything_that_is_there(
    layout: str, metric: str, corpus: Callable[..., Any], cluster_index: ClusterBuilder
) -> None:
    part = corpus("float32")
    found = search(cluster_index("float32", metric, layout=layout), part.queries, **WHOLE)
    assert part.recall(found.ids, metric, K) == 1.0


@pytest.mark.parametrize("nprobe", [1, 3, 12])
def test_layouts_with_whole_postings_find_the_same(
    nprobe: int, corpus: Callable[..., Any], cluster_index: ClusterBuilder
) -> None:
    queries = corpus("uint8").queries
    paths = [cluster_index("uint8", "l2", layout=layout) for layout in POSTINGS]
    assert replication(paths[0]) > 1.5
    results = [search(path, queries, nprobe=nprobe) for path in paths]
    for other in results[1:]:
        np.testing.assert_array_equal(other.ids, results[0].ids)
        np.testing.assert_array_equal(other.distances, results[0].distances)
    grouped, decoupled, replicated = (result.receipt for result in results)
    assert grouped.reads < decoupled.reads
    assert grouped.bytes_read <= replicated.bytes_read * 1.2


def test_codes_decide_nothing_when_every_vector_is_read(
    corpus: Callable[..., Any], cluster_index: ClusterBuilder
) -> None:
    part = corpus("uint8")
    everything = {"nprobe": CLUSTERS, "rerank": len(part.vectors)}
    coded, *others = (
        search(cluster_index("uint8", "l2", layout=layout), part.queries, **everything) for layout in LAYOUTS
    )
    for other in others:
        np.testing.assert_array_equal(other.ids, coded.ids)
        np.testing.assert_array_equal(other.distances, coded.distances)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tiers_find_the_same(layout: str, corpus: Callable[..., Any], cluster_index: ClusterBuilder) -> None:
    queries = corpus("int8").queries
    results = [
        search(cluster_index("int8", "l2", layout=layout), queries, tier=tier, nprobe=8, rerank=40) for tier in TIERS
    ]
    for tier, other in zip(TIERS, results, strict=True):
        np.testing.assert_array_equal(other.ids, results[0].ids)
        np.testing.assert_array_equal(other.distances, results[0].distances)
        assert other.receipt.tier == tier
        assert other.receipt.emulated == tier.startswith("emulated:")


def test_the_coded_layout_takes_one_round_and_few_reads(
    corpus: Callable[..., Any], cluster_index: ClusterBuilder
) -> None:
    part = corpus("uint8")
    with tiervec.open(cluster_index("uint8", "l2"), tier="emulated:rdma-200g", threads=2) as index:
        receipt = index.search(part.queries, k=K, params={"nprobe": 10, "rerank": 40}).receipt
        assert index.info.amplification <= 1.02
    assert receipt.rounds == len(part.queries)
    assert 0 < receipt.reads <= 40 * len(part.queries)
    assert receipt.bytes_read >= receipt.reads * part.vectors.shape[1]
    assert receipt.code_distances > receipt.reads
    assert receipt.params == {"nprobe": 10, "rerank": 40, "pipeline": True, "split": False}


def test_more_neighbours_than_one_batch_of_reads(corpus: Callable[..., Any], cluster_index: ClusterBuilder) -> None:
    part = corpus("uint8")
    for layout in LAYOUTS:
        found = search(cluster_index("uint8", "l2", layout=layout), part.queries[:5], k=400, nprobe=1000)
        assert (found.ids >= 0).all(), layout
        assert all(len(set(row)) == 400 for row in found.ids.tolist())


def test_without_the_pipeline_the_ids_are_the_same(corpus: Callable[..., Any], cluster_index: ClusterBuilder) -> None:
    queries = corpus("float32").queries
    for layout in LAYOUTS:
        path = cluster_index(layout=layout)
        pipelined, alone = (search(path, queries, nprobe=6, pipeline=pipeline) for pipeline in (True, False))
        np.testing.assert_array_equal(pipelined.ids, alone.ids)
        assert alone.receipt.threads == 1


def test_a_split_query_takes_two_threads_and_finds_the_same(tmp_path: Path) -> None:
    base = np.random.default_rng(2).normal(size=(4000, 8)).astype(np.float32)
    for layout, threads in (("coded", 2), ("grouped", 1)):
        params = {"clusters": CLUSTERS, "layout": layout}
        path = tmp_path / layout
        tiervec.build(base, path, kind="cluster", params=params, calibration_queries=base[:2], threads=2)
        with tiervec.open(path, tier="emulated:cxl-x8", threads=2) as index:
            together = index.search(base[:9], k=K, params=WHOLE)
            assert together.receipt.threads == 2
            for row, query in enumerate(base[:9]):
                alone = index.search(query, k=K, params={**WHOLE, "split": True})
                assert alone.receipt.threads == threads
                assert alone.receipt.cpu_us > 0
                assert alone.ids.tolist() == together.ids[row : row + 1].tolist()
            for how in ({}, {"split": True, "pipeline": False}):
                assert index.search(base[0], k=K, params={**WHOLE, **how}).receipt.threads == 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_description_adds_up(layout: str, cluster_index: ClusterBuilder, corpus: Callable[..., Any]) -> None:
    path = cluster_index("uint8", "l2", layout=layout)
    with tiervec.open(path) as index:
        info = index.info
    by_placement: dict[str, int] = {}
    for section in info.sections:
        by_placement[section["placement"]] = by_placement.get(section["placement"], 0) + section["bytes"]
    assert set(by_placement) == {"fast", "tier", "disk"}
    assert (info.tier_bytes, info.fast_bytes) == (by_placement["tier"], by_placement["fast"])
    assert info.kind == "cluster"
    assert info.params["layout"] == layout
    manifest = IndexDirectory.open(path).manifest
    assert manifest.details["clusters"] == CLUSTERS
    sizes = manifest.details["posting_sizes"]
    assert 0 <= sizes["least"] <= sizes["median"] <= sizes["most"]
    assert manifest.details["own_sizes"]["mean"] == pytest.approx(info.vectors / CLUSTERS, rel=1e-3)
    assert len(IndexDirectory.open(path).verify()) == len(info.sections)
    if layout == "replicated":
        assert info.amplification > manifest.details["replication"]
    else:
        raw = info.dim * np.dtype(info.dtype).itemsize
        assert info.tier_bytes == info.vectors * (raw + 3) + 64


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fast_memory_without_a_use_is_noted(
    layout: str, corpus: Callable[..., Any], cluster_index: ClusterBuilder
) -> None:
    path, queries = cluster_index("uint8", "l2", layout=layout), corpus("uint8").queries[:2]
    with tiervec.open(path) as index:
        needed = index.info.fast_bytes
    for spare, notes in ((0, ()), (1, ("fast_memory is ",)), (1 << 20, ("fast_memory is ",))):
        with tiervec.open(path, fast_memory=needed + spare) as index:
            assert index.info.fast_bytes == needed
            receipt = index.search(queries, k=1).receipt
        assert tuple(note[: len("fast_memory is ")] for note in receipt.notes) == notes
        assert all("it holds no records in the rest" in note for note in receipt.notes)


# ---- groups ----------------------------------------------------------------------------------------------------------


def group_of_each_vector(path: Path) -> Array:
    """The cluster whose own range holds it; of a grouped index without ids."""
    manifest = IndexDirectory.open(path).manifest
    rows = unpack(np.fromfile(path / "ids.bin", np.uint8), manifest.vectors, manifest.details["id_bits"])
    cluster_at_place = np.argsort(np.fromfile(path / "cluster_places.bin", np.uint32))
    groups = np.empty(manifest.vectors, np.int64)
    groups[rows] = np.repeat(cluster_at_place, np.diff(np.fromfile(path / "cluster_offsets.bin", np.uint32)))
    return groups


def test_groups_follow_what_the_queries_of_the_build_search(tmp_path: Path) -> None:
    random = np.random.default_rng(8)
    base = random.normal(size=(6000, 6)).astype(np.float32)

    def asked(side: int) -> Array:
        points = random.normal(size=(400, 6)) * 0.7
        points[:, 0] += 1.5 * side
        return points.astype(np.float32)

    # Other queries of the same kind are measured than those that choose the groups.
    asked_of = {"left": asked(-1), "right": asked(1)}
    params = {"layout": "grouped", "clusters": 300, **MANY_LISTS}
    for name, side in (("left", -1), ("right", 1)):
        queries = asked(side)
        tiervec.build(base, tmp_path / name, kind="cluster", params=params, calibration_queries=queries, threads=1)
    left, right = tmp_path / "left", tmp_path / "right"
    assert (left / "memberships.bin").read_bytes() == (right / "memberships.bin").read_bytes()
    assert replication(left) > 1.5
    assert (group_of_each_vector(left) != group_of_each_vector(right)).mean() > 0.2

    def reads(path: Path, name: str) -> int:
        return search(path, asked_of[name], nprobe=20).receipt.reads

    assert reads(left, "left") < 0.6 * reads(right, "left")
    assert reads(right, "right") < 0.6 * reads(left, "right")


def test_an_order_of_groups_saves_reads_and_changes_no_answer(tmp_path: Path) -> None:
    random = np.random.default_rng(9)
    base, asked, queries = (random.normal(size=(count, 6)).astype(np.float32) for count in (6000, 400, 100))
    params = {"layout": "grouped", "clusters": 300, **MANY_LISTS}  # far more than a query of the sample searches
    paths = {name: tmp_path / name for name in ("ordered", "plain")}
    for name, path in paths.items():
        given = {**params, "ordered": name == "ordered"}
        tiervec.build(base, path, kind="cluster", params=given, calibration_queries=asked, threads=1)
    ordered, plain = (search(path, queries, nprobe=20) for path in paths.values())
    np.testing.assert_array_equal(plain.ids, ordered.ids)
    np.testing.assert_array_equal(plain.distances, ordered.distances)
    assert ordered.receipt.reads < 0.9 * plain.receipt.reads
    for source, other in (("ordered", "plain"), ("plain", "ordered")):
        out = tmp_path / f"from {source}"
        info = tiervec.relayout(paths[source], out, params={"ordered": other == "ordered"}, threads=1)
        assert info.params["ordered"] is (other == "ordered")
        for file in paths[other].iterdir():
            if file.name != "manifest.json":
                assert (out / file.name).read_bytes() == file.read_bytes(), file.name
    with pytest.raises(InvalidArgumentError, match="ordered is 2; it must be on or off"):
        tiervec.relayout(paths["plain"], tmp_path / "out", params={"ordered": 2})


# ---- conversions -----------------------------------------------------------------------------------------------------

UNCHANGED = ("centroids.bin", "memberships.bin", "membership_sizes.bin", "sample_probes.bin", "group_offsets.bin")


@pytest.mark.parametrize("layout", POSTINGS)
@pytest.mark.parametrize("ids", [None, "own"])
def test_a_round_trip_of_layouts_gives_the_same_index(
    layout: str, ids: str | None, corpus: Callable[..., Any], tmp_path: Path
) -> None:
    part = corpus("uint8")
    labels = None if ids is None else np.random.default_rng(1).permutation(len(part.vectors)) * 7 + 3
    params = {"clusters": CLUSTERS, "code_bits": 4, **MANY_LISTS}
    options: dict[str, Any] = {"calibration_queries": part.queries[:10], "threads": 1, "ids": labels}
    tiervec.build(part.vectors, tmp_path / "coded", kind="cluster", params=params, **options)
    assert replication(tmp_path / "coded") > 1.5
    tiervec.build(part.vectors, tmp_path / "direct", kind="cluster", params={**params, "layout": layout}, **options)
    tiervec.relayout(tmp_path / "coded", tmp_path / "there", params={"layout": layout}, threads=1)
    tiervec.relayout(tmp_path / "there", tmp_path / "back", params={"layout": "coded"}, threads=1)
    for one, other in (("there", "direct"), ("back", "coded")):
        contents = [{file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in (one, other)]
        assert contents[0].keys() == contents[1].keys()
        assert [name for name in contents[0] if contents[0][name] != contents[1][name]] == []
    for name in UNCHANGED:
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "coded" / name).read_bytes()
    found = search(tmp_path / "there", part.queries, **WHOLE)
    rows = found.ids if labels is None else np.argsort(labels)[np.searchsorted(np.sort(labels), found.ids)]
    assert part.recall(rows, "l2", K) == 1.0


def test_in_place_the_new_layout_takes_the_old_ones_place(
    cluster_index: ClusterBuilder, corpus: Callable[..., Any], tmp_path: Path
) -> None:
    path = Path(shutil.copytree(cluster_index("uint8", "l2"), tmp_path / "index"))
    info = tiervec.relayout(path, params={"layout": "grouped"})
    assert info.params["layout"] == "grouped"
    assert [entry.name for entry in tmp_path.iterdir()] == ["index"]
    expected = search(cluster_index("uint8", "l2", layout="grouped"), corpus("uint8").queries, nprobe=5)
    np.testing.assert_array_equal(search(path, corpus("uint8").queries, nprobe=5).ids, expected.ids)


def test_what_relayout_refuses(cluster_index: ClusterBuilder, built: Callable[..., Path], tmp_path: Path) -> None:
    path = cluster_index("uint8", "l2")
    for params, word in (
        ({"clusters": 3}, "clusters cannot change"),
        ({"replicas": 3}, "replicas cannot change"),
        ({"layout": "heap"}, "'heap'"),
        ({"nprobe": 3}, "'nprobe'"),
    ):
        with pytest.raises(InvalidArgumentError, match=word):
            tiervec.relayout(path, tmp_path / "out", params=params)
    for params, word in (({"layout": "coded"}, "packed, plain, sectors"), ({"graph_degree": 3}, "graph_degree cannot")):
        with pytest.raises(InvalidArgumentError, match=word):
            tiervec.relayout(built(), tmp_path / "out", params=params)
    assert list(tmp_path.iterdir()) == []


# ---- hard data -------------------------------------------------------------------------------------------------------

RANDOM = np.random.default_rng(1)
HARD: dict[str, Array] = {
    "equal vectors": np.ones((300, 4), np.float32),
    "zeros": np.zeros((60, 5), np.float32),
    "one giant cluster": np.concatenate([np.full((500, 6), 3.0), RANDOM.normal(size=(40, 6)) * 50]).astype(np.float32),
    "dimension 1": RANDOM.normal(size=(400, 1)).astype(np.float32),
    "three vectors": np.array([[1, 2], [3, 4], [200, 6]], np.uint8),
    "two vectors": np.array([[1.0], [2.0]], np.float32),
    "a far one": np.concatenate([RANDOM.normal(size=(99, 3)), [[1e6, 0, 0]]]).astype(np.float32),
}


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("what", HARD)
def test_data_that_is_hard_to_cluster(what: str, layout: str, metric: str, tmp_path: Path) -> None:
    data = HARD[what]
    clusters = min(7, len(data))
    info = tiervec.build(
        data,
        tmp_path / "index",
        kind="cluster",
        metric=metric,
        params={"layout": layout, "clusters": clusters, "code_bits": 8},
        calibration_queries=data[:3],
        threads=1,
    )
    assert info.vectors == len(data)
    found = search(tmp_path / "index", data[:20], k=5, **WHOLE)
    exists = min(5, len(data))
    assert np.isfinite(found.distances[:, :exists]).all()
    assert (found.ids[:, :exists] >= 0).all()
    assert (found.ids[:, exists:] == -1).all()
    assert all(len(set(row[:exists])) == exists for row in found.ids.tolist())
    if metric == "l2":
        assert np.allclose(found.distances[:, 0], 0)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("what", HARD)
def test_hard_data_with_nothing_given_but_the_layout(what: str, layout: str, tmp_path: Path) -> None:
    data = HARD[what]
    info = tiervec.build(data, tmp_path / "index", kind="cluster", params={"layout": layout}, threads=1)
    assert (info.calibration is None) == (IndexDirectory.open(info.path).manifest.vectors < 100)
    exists = min(5, len(data))
    # Every vector is read: the codes of a few bits decide nothing.
    found = search(tmp_path / "index", data[:20], k=5, nprobe=100_000, rerank=1000)
    squared = ((data[:20, None].astype(np.float64) - data[None].astype(np.float64)) ** 2).sum(axis=2)
    nearest = np.sort(squared, axis=1)[:, :exists]
    np.testing.assert_allclose(found.distances[:, :exists], nearest, rtol=1e-5)
    assert all(len(set(row[:exists])) == exists for row in found.ids.tolist())
    assert (found.ids[:, exists:] == -1).all()
    with tiervec.open(tmp_path / "index", threads=1) as index:
        aimed = index.search(data[:20], k=5, target_recall=0.9)
    kth = nearest[:, -1:]
    assert (aimed.distances[:, :exists] <= kth * (1 + 1e-5)).mean() >= 0.8


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_cluster_and_as_many_as_vectors(layout: str, tmp_path: Path) -> None:
    data = np.random.default_rng(2).normal(size=(100, 5)).astype(np.float32)
    for clusters in (1, 100):
        out = tmp_path / str(clusters)
        params = {"layout": layout, "clusters": clusters, "code_bits": 8}
        tiervec.build(data, out, kind="cluster", params=params, calibration_queries=data[:3], threads=1)
        assert search(out, data, k=1, **WHOLE).ids.ravel().tolist() == list(range(100))


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "more clusters than vectors": ({"clusters": 101}, "clusters is 101, but there are 100 vectors"),
    "no clusters": ({"clusters": 0}, "clusters is 0"),
    "clusters as a text": ({"clusters": "8"}, "clusters is '8'"),
    "no replicas": ({"replicas": 0}, "replicas is 0; it must be an integer from 1 to 32"),
    "too many replicas": ({"replicas": 33}, "replicas is 33"),
    "layout": ({"layout": "packed"}, "layout is 'packed'; a cluster index has coded, grouped, decoupled, replicated"),
    "closure": ({"closure": -1}, "closure is -1"),
    "rng_factor": ({"rng_factor": 0.5}, "rng_factor is 0.5"),
    "align": ({"align": 3}, "align is 3"),
    "code": ({"code": "zip"}, "code is 'zip'"),
    "code_bits": ({"code_bits": 0}, "code_bits is 0"),
    "a graph's key": ({"graph_degree": 8}, "unknown build parameter 'graph_degree'; a cluster index has clusters"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_parameters(what: str, tmp_path: Path) -> None:
    params, text = BAD[what]
    data = np.zeros((100, 3), np.float32)
    with pytest.raises(InvalidArgumentError) as caught:
        tiervec.build(data, tmp_path / "index", kind="cluster", params=params)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_without_faiss_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(UnsupportedError, match="faiss, which is not installed: pip install faiss-cpu"):
        tiervec.build(np.zeros((100, 3), np.float32), tmp_path / "index", kind="cluster")
    assert list(tmp_path.iterdir()) == []


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(2, 120),
    dim=st.integers(1, 20),
    dtype=st.sampled_from(["float32", "float16", "int8", "uint8"]),
    metric=st.sampled_from(["l2", "ip", "cosine"]),
    layout=st.sampled_from(LAYOUTS),
    replicas=st.integers(1, 9),
    data=st.data(),
)
@settings(max_examples=40)
def test_any_index_finds_each_vector(
    seed: int, count: int, dim: int, dtype: str, metric: str, layout: str, replicas: int, data: st.DataObject
) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(size=(count, dim))[random.integers(0, data.draw(st.sampled_from([1, 5, count])), count)]
    base = (values if dtype.startswith("f") else values * 30 + (100 if dtype == "uint8" else 0)).astype(dtype)
    params = {
        "layout": layout,
        "replicas": replicas,
        "clusters": data.draw(st.integers(1, count)),
        "closure": data.draw(st.sampled_from([0, 0.07, 1, 10])),
        "rng_factor": data.draw(st.sampled_from([1, 1.5, 10])),
        "code_bits": 8,
    }
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "index"
        queries = base[:2].astype(np.float32) if dtype == "float16" else base[:2]
        info = tiervec.build(
            base, out, kind="cluster", metric=metric, params=params, calibration_queries=queries, threads=1
        )
        assert (info.vectors, info.dim, info.dtype, info.metric) == (count, dim, dtype, metric)
        IndexDirectory.open(out).verify()
        results = [search(out, base[:20], tier=tier, k=5, **WHOLE) for tier in ("dram:", "mmap:")]
    np.testing.assert_array_equal(results[0].ids, results[1].ids)
    exists = min(5, count)
    assert all(len(set(row[:exists])) == exists for row in results[0].ids.tolist())
    assert (results[0].ids[:, exists:] == -1).all()
    assert np.all(np.diff(results[0].distances[:, :exists], axis=1) >= 0)
    if metric == "l2":
        np.testing.assert_allclose(results[0].distances[:, 0], 0, atol=1e-3)


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(20, 200),
    dim=st.integers(1, 20),
    metric=st.sampled_from(["l2", "ip", "cosine"]),
    replicas=st.integers(2, 9),
    closure=st.sampled_from([0.07, 1, 10]),
    rng_factor=st.sampled_from([1, 1.5, 10]),
    data=st.data(),
)
@settings(max_examples=25)
def test_any_layouts_of_one_clustering_have_the_same_members(
    seed: int,
    count: int,
    dim: int,
    metric: str,
    replicas: int,
    closure: float,
    rng_factor: float,
    data: st.DataObject,
) -> None:
    base = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    clusters = data.draw(st.integers(2, count // 5))
    params = {"clusters": clusters, "replicas": replicas, "closure": closure, "rng_factor": rng_factor}
    nprobe = data.draw(st.integers(1, clusters))
    found = []
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "built"
        tiervec.build(
            base,
            built,
            kind="cluster",
            metric=metric,
            params={**params, "layout": data.draw(st.sampled_from(LAYOUTS))},
            calibration_queries=base[:2],
            threads=1,
        )
        if closure == rng_factor == 10:
            assert replication(built) > 1  # hardly anything but `replicas` decides
        for layout in POSTINGS:
            out = Path(folder) / layout
            tiervec.relayout(built, out, params={"layout": layout}, threads=1)
            found.append(search(out, base[:20], k=5, nprobe=nprobe))
    for other in found[1:]:
        np.testing.assert_array_equal(other.ids, found[0].ids)
        np.testing.assert_array_equal(other.distances, found[0].distances)


# ---- build -----------------------------------------------------------------------------------------------------------


def test_one_thread_and_one_seed_write_the_same_bytes(tmp_path: Path) -> None:
    base = np.random.default_rng(3).normal(size=(900, 12)).astype(np.float32)
    for layout in ("coded", "grouped"):
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            params = {"layout": layout, "clusters": 90}
            tiervec.build(base, tmp_path / f"{layout}-{name}", kind="cluster", threads=1, seed=seed, params=params)
        files = {
            name: {path.name: path.read_bytes() for path in (tmp_path / f"{layout}-{name}").iterdir()}
            for name in ("a", "b", "c")
        }
        assert files["a"] == files["b"]
        assert files["a"]["vectors.bin"] != files["c"]["vectors.bin"]


def test_a_file_larger_than_the_limit_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiervec.cluster_index.build import estimate_memory_bytes
    from tiervec.cluster_index.params import ClusterBuildParams
    from tiervec.errors import ResourceExhaustedError

    base = np.random.default_rng(5).normal(size=(2000, 600)).astype(np.float32)
    np.save(tmp_path / "base.npy", base)
    np.save(tmp_path / "wide.npy", base.astype(np.float64))  # cannot be mapped as it is
    params = {"clusters": 20}
    held, streamed = (
        estimate_memory_bytes(2000, 600, 4, ClusterBuildParams(**params), streamed=streamed)
        for streamed in (False, True)
    )
    assert streamed == held - base.nbytes
    found = []
    for name in ("base", "wide"):
        out = tmp_path / f"of-{name}"
        tiervec.build(
            tmp_path / f"{name}.npy", out, kind="cluster", params=params, memory_limit=streamed, threads=1,
            calibration_queries=base[:5],
        )  # fmt: skip
        found.append(search(out, base[:50], k=1, **WHOLE).ids.ravel().tolist())
    assert found == [list(range(50))] * 2
    with pytest.raises(ResourceExhaustedError, match="memory_limit"):
        tiervec.build(tmp_path / "base.npy", tmp_path / "x", kind="cluster", params=params, memory_limit=streamed - 1)
    with pytest.raises(ResourceExhaustedError, match="memory_limit"):
        tiervec.build(base, tmp_path / "x", kind="cluster", params=params, memory_limit=held - 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base.npy", "of-base", "of-wide", "wide.npy"]


def test_progress_names_every_stage(tmp_path: Path) -> None:
    base = np.random.default_rng(6).normal(size=(600, 8)).astype(np.float32)
    for layout, stages in (
        ("coded", ["training code", "encoding", "writing vectors"]),
        ("grouped", ["ordering groups", "writing vectors"]),
        ("decoupled", ["writing vectors"]),
        ("replicated", ["writing postings"]),
    ):
        seen: dict[str, list[tuple[int, int]]] = {}
        tiervec.build(
            base,
            tmp_path / layout,
            kind="cluster",
            params={"layout": layout, "clusters": 100},
            progress=lambda stage, done, total, _, seen=seen: seen.setdefault(stage, []).append((done, total)),  # type: ignore[misc]
        )
        names = [name for name in seen if "estimated" not in name]
        sizes = names.pop(2)
        assert sizes.startswith("100 clusters of ")
        assert names == [
            "clustering",
            "assigning",
            *stages,
            "calibration: exact neighbours",
            "calibration",
            "calibration: far queries",
        ]
        assert all(0 <= done <= total for steps in seen.values() for done, total in steps)
        assert all(steps[-1][0] == steps[-1][1] for steps in seen.values())


STAGES = {
    "coded": [
        "training code",
        "encoding",
        "writing vectors",
        "calibration: exact neighbours",
        "calibration",
        "calibration: far queries",
    ],
    "grouped": ["ordering groups", "writing vectors", "calibration"],
    "replicated": ["writing postings", "calibration"],
}


def stopping(at: str, error: type[BaseException]) -> Callable[..., None]:
    def progress(stage: str, done: int, total: int, eta_s: float | None) -> None:
        if stage == at:
            raise error("stopped by the callback")

    return progress


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
@pytest.mark.parametrize("stage", ["clustering", "assigning", *STAGES["coded"]])
def test_a_build_that_is_stopped_leaves_nothing(stage: str, error: type[BaseException], tmp_path: Path) -> None:
    base = np.random.default_rng(6).normal(size=(600, 8)).astype(np.float32)
    with pytest.raises(error, match="stopped by the callback"):
        tiervec.build(base, tmp_path / "index", kind="cluster", threads=1, progress=stopping(stage, error))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("out", ["other", None], ids=["beside", "in place"])
@pytest.mark.parametrize(("layout", "stage"), [(name, stage) for name in STAGES for stage in STAGES[name]])
def test_a_relayout_that_is_stopped_leaves_the_old_index(
    layout: str, stage: str, out: str | None, tmp_path: Path
) -> None:
    base, path = np.random.default_rng(6).normal(size=(600, 8)).astype(np.float32), tmp_path / "index"
    tiervec.build(base, path, kind="cluster", params={"layout": "decoupled"}, calibration_queries=base[:9], threads=1)
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    with pytest.raises(KeyboardInterrupt, match="stopped by the callback"):
        tiervec.relayout(
            path,
            None if out is None else tmp_path / out,
            params={"layout": layout},
            threads=1,
            progress=stopping(stage, KeyboardInterrupt),
        )
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["index"]


# ---- target_recall ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_target_recall_is_reached(layout: str, corpus: Callable[..., Any], tmp_path: Path) -> None:
    part = corpus("float32")
    rows = np.random.default_rng(7).permutation(len(part.vectors))
    base, calibration, asked = (part.vectors[rows[a:b]] for a, b in ((0, 1000), (1000, 1200), (1200, 1500)))
    info = tiervec.build(
        base,
        tmp_path / "index",
        kind="cluster",
        metric="cosine",
        params={"clusters": 60, "layout": layout, "code_bits": 2},
        calibration_queries=calibration,
    )
    assert info.calibration is not None
    dots = asked @ base.T
    with tiervec.open(tmp_path / "index") as index:
        for k in (1, 5, 10):
            kth = -np.partition(-dots, k - 1, axis=1)[:, k - 1 : k]
            costs = []
            for target in (0.8, 0.9, 0.95):
                found = index.search(asked, k=k, target_recall=target)
                reached = (np.take_along_axis(dots, found.ids, axis=1) >= kth - 1e-6).mean()
                assert reached >= target - 0.04, (k, target, found.receipt.params)
                costs.append(found.receipt.params["nprobe"])
            assert costs == sorted(costs)
        with pytest.raises(InvalidArgumentError, match="target_recall chooses nprobe itself"):
            index.search(asked, target_recall=0.9, params={"nprobe": 3})


# ---- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_damage_of_any_section_that_is_loaded_is_found_at_open(
    layout: str, cluster_index: ClusterBuilder, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(cluster_index("uint8", "l2", layout=layout), tmp_path / "index"))
    for section in IndexDirectory.open(path).manifest.sections:
        file = path / section.file
        content = bytearray(file.read_bytes())
        if not content:
            continue
        content[len(content) // 2] ^= 0x55
        file.write_bytes(content)
        with pytest.raises(DataLossError, match=rf"{section.file} is damaged"):
            IndexDirectory.open(path).verify()
        if section.placement == "disk":
            with tiervec.open(path) as index:
                assert index.info.kind == "cluster"
            if section.name.endswith("_extents"):  # for tiers that are not read whole
                with pytest.raises(DataLossError, match=rf"{section.file} is damaged"):
                    tiervec.open(path, tier="mmap:")
            else:
                with pytest.raises(DataLossError, match=rf"{section.file} is damaged"):
                    tiervec.relayout(path, tmp_path / "other", params={"layout": "decoupled"})
        else:
            with pytest.raises(DataLossError, match=rf"{section.file} is damaged"):
                tiervec.open(path)
        content[len(content) // 2] ^= 0x55
        file.write_bytes(content)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_mmap_finds_damaged_vectors_when_it_reads_them(
    layout: str,
    cluster_index: ClusterBuilder,
    corpus: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As where the damage lies in no extent that opening compares.
    monkeypatch.setattr(section_tier, "compare_sample", lambda directory, name, tier: None)
    path = Path(shutil.copytree(cluster_index("uint8", "l2", layout=layout), tmp_path / "index"))
    big = path / ("postings.bin" if layout == "replicated" else "vectors.bin")
    size = big.stat().st_size
    queries = corpus("uint8").queries
    for content in (bytes(size), b"\xff" * size, np.random.default_rng(2).bytes(size)):
        big.write_bytes(content)
        with tiervec.open(path, tier="mmap:") as index, pytest.raises(DataLossError):
            index.search(queries, k=K, params={"nprobe": 20})
        with pytest.raises(DataLossError, match=rf"{big.name}"):
            tiervec.open(path, tier="dram:")


def test_a_forged_manifest_is_refused(cluster_index: ClusterBuilder, tmp_path: Path) -> None:
    from tiervec.errors import NotFoundError, TiervecError
    from tiervec.index_files.manifest import serialize_manifest

    for layout in LAYOUTS:
        path = Path(shutil.copytree(cluster_index("uint8", "l2", layout=layout), tmp_path / layout))
        manifest = IndexDirectory.open(path).manifest
        for changes in (
            {"vectors": manifest.vectors + 1},
            {"vectors": 1},
            {"vectors": 2**40},
            {"dim": manifest.dim + 1},
            {"dim": 2**31},
            {"dtype": "float32"},
            {"details": {}},
            *(
                {"details": {**manifest.details, key: value}}
                for key, value in (
                    ("layout", "heap"),
                    ("layout", next(other for other in LAYOUTS if other != layout)),
                    ("clusters", 0),
                    ("clusters", CLUSTERS + 1),
                    ("clusters", "8"),
                    ("id_bits", 0),
                    ("id_bits", 57),
                    ("id_bits", 63),
                    ("code", "pq" if layout == "coded" else 5),
                )
            ),
        ):
            values = {**{name: getattr(manifest, name) for name in manifest.__dataclass_fields__}, **changes}
            (path / "manifest.json").write_bytes(serialize_manifest(type(manifest)(**values)))
            if layout != "coded" and changes.get("details", {}).get("code") == 5:
                continue  # nobody looks at it
            with pytest.raises(TiervecError) as caught:
                tiervec.open(path)
            assert type(caught.value) in (DataLossError, NotFoundError), (layout, changes, caught.value)
