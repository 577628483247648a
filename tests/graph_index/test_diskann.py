from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tiervec
from tiervec import _core
from tiervec.errors import DataLossError, InvalidArgumentError, NotFoundError, TiervecError, UnsupportedError
from tiervec.graph_index.diskann_files import open_diskann
from tiervec.graph_index.params import LAYOUTS

N, DIM, ROOM = 300, 20, 12
Array = np.ndarray[Any, Any]
_CODES = {"float32": 0, "int8": 1, "uint8": 2}


@dataclass
class Written:
    """What a test's own writer of the published format puts on the disk."""

    folder: Path
    vectors: Array
    neighbors: Array
    degrees: Array
    header: dict[str, int] = field(default_factory=dict)

    def write(self, *, metadata: bool = True, metric: int = 0, **changed: int) -> Path:
        count, dim = self.vectors.shape
        room = self.neighbors.shape[1]
        node = self.vectors.itemsize * dim + 4 + 4 * room
        shared = 4096 // node
        nodes = np.zeros((count, node), np.uint8)
        nodes[:, : node - 4 - 4 * room] = self.vectors.view(np.uint8).reshape(count, -1)
        lists = np.concatenate([self.degrees[:, None], self.neighbors], axis=1).astype("<u4")
        nodes[:, node - 4 - 4 * room :] = np.ascontiguousarray(lists).view(np.uint8)
        step, sectors = max(shared, 1), -(-node // 4096)
        body = np.zeros((-(-count // step), sectors * 4096), np.uint8)
        for vertex in range(count):
            at = vertex % step * node
            body[vertex // step, at : at + node] = nodes[vertex]
        size = 4096 + body.size
        values = {
            "vectors": count,
            "dim": dim,
            "medoid": 3,
            "node": node,
            "shared": shared,
            "frozen": 0,
            "place": 0,
            "reorder": 0,
            "size": size,
        } | changed
        head = struct.pack("<II9Q", values.pop("values", 9), 1, *values.values())
        path = self.folder / "ann_disk.index"
        path.write_bytes(head.ljust(4096, b"\0") + body.tobytes())
        (self.folder / "ann_pq_compressed.bin").write_bytes(struct.pack("<II", count, 4) + bytes(4 * count))
        pivots = struct.pack("<II5Q", 5, 1, 4096, 0, 0, 0, 0).ljust(4096, b"\0") + struct.pack("<II", 256, dim)
        (self.folder / "ann_pq_pivots.bin").write_bytes(pivots + bytes(4 * 256 * dim))
        if metadata:
            code = _CODES[str(self.vectors.dtype)]
            (self.folder / "ann_metadata.bin").write_bytes(struct.pack("<4Q", code, metric, count, dim))
        return path


def linked(folder: Path, dtype: str = "uint8", dim: int = DIM, count: int = N) -> Written:
    random = np.random.default_rng(5)
    centers = random.normal(size=(6, dim)) * 2
    base = centers[random.integers(0, 6, count)] + random.normal(size=(count, dim))
    vectors = (
        base.astype(np.float32) if dtype == "float32" else (base * 12 + (110 if dtype == "uint8" else 0)).astype(dtype)
    )
    builder = _core.GraphBuilder(vectors, "l2", 1)
    builder.link(ROOM, 2 * ROOM, 1.2, 1)
    adjacency = builder.adjacency()[:, :ROOM]
    degrees = (adjacency >= 0).sum(axis=1).astype(np.uint32)
    return Written(folder, vectors, np.where(adjacency < 0, 0xEEEEEEEE, adjacency).astype(np.uint32), degrees)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("dtype", "dim"), [("uint8", DIM), ("int8", 33), ("float32", DIM), ("float32", 1100)])
def test_graph_and_vectors_are_kept(tmp_path: Path, dtype: str, dim: int, layout: str) -> None:
    source = linked(tmp_path, dtype, dim)
    source.write()
    vectors, neighbors, degrees = open_diskann(tmp_path).read()
    np.testing.assert_array_equal(vectors, source.vectors)
    np.testing.assert_array_equal(neighbors, source.neighbors)
    np.testing.assert_array_equal(degrees, source.degrees)
    out = tmp_path / "index"
    info = tiervec.import_diskann(tmp_path, out, params={"layout": layout}, threads=1)
    assert (info.vectors, info.dim, info.dtype, info.metric) == (N, dim, dtype, "l2")
    assert info.params["layout"] == layout
    assert info.params["graph_degree"] == ROOM
    if layout == "sectors":
        node = 4096 // (source.vectors.itemsize * dim + 5 + 4 * int(degrees.max()))
        sectors = -(-N // node) if node else 2 * N
        assert info.tier_bytes == sectors * 4096 + 64
    exact = _core.exact_search(source.vectors, "l2", source.vectors[:50], 5, None, 1, _core.WorkMonitor())[0]
    with tiervec.open(out) as index:
        found = index.search(source.vectors[:50], 5, params={"search_list": 60})
        assert tiervec.recall(found.ids, exact, 5) > 0.97
        assert found.ids[:, 0].tolist() == list(range(50))
    assert info.calibration is not None


def test_both_layouts_and_a_relayout_hold_the_same(tmp_path: Path) -> None:
    linked(tmp_path).write()
    for layout in ("packed", "sectors"):
        tiervec.import_diskann(tmp_path / "ann", tmp_path / layout, params={"layout": layout}, threads=1)
    tiervec.relayout(tmp_path / "packed", tmp_path / "there", params={"layout": "sectors"})
    tiervec.relayout(tmp_path / "there", tmp_path / "back", params={"layout": "packed"})
    for one, other in (("there", "sectors"), ("back", "packed")):
        contents = [
            {f.name: f.read_bytes() for f in (tmp_path / name).iterdir() if f.name != "manifest.json"}
            for name in (one, other)
        ]
        assert contents[0] == contents[1]


def test_the_types_come_from_the_metadata_or_the_caller(tmp_path: Path) -> None:
    source = linked(tmp_path)
    source.write(metadata=False)
    with pytest.raises(InvalidArgumentError, match="give dtype and metric"):
        open_diskann(tmp_path)
    opened = open_diskann(tmp_path, dtype="uint8", metric="cosine")
    assert (str(opened.dtype), opened.metric) == ("uint8", "cosine")
    with pytest.raises(DataLossError, match="is dtype right"):
        open_diskann(tmp_path, dtype="float32", metric="l2")
    with pytest.raises(InvalidArgumentError, match="'float64'"):
        open_diskann(tmp_path, dtype="float64", metric="l2")
    source.write(metric=2)
    assert open_diskann(tmp_path).metric == "cosine"
    with pytest.raises(InvalidArgumentError, match="says uint8"):
        open_diskann(tmp_path, dtype="int8")
    source.write(metric=1)
    with pytest.raises(UnsupportedError, match="inner products"):
        open_diskann(tmp_path)


@pytest.mark.parametrize(
    ("changed", "error", "word"),
    [
        ({"vectors": N + 40}, DataLossError, "bytes"),
        ({"vectors": 1}, DataLossError, "no index"),
        ({"vectors": 2**63}, DataLossError, "no index"),
        ({"dim": 0}, DataLossError, "no index"),
        ({"dim": DIM + 1}, DataLossError, "dimension"),
        ({"medoid": N}, DataLossError, "medoid"),
        ({"node": 0}, DataLossError, "nodes of 0"),
        ({"node": 2**40}, DataLossError, "nodes of"),
        ({"shared": 0}, DataLossError, "0 in a sector"),
        ({"size": 8192}, DataLossError, "bytes"),
        ({"values": 8}, DataLossError, "does not start"),
        ({"values": 12}, UnsupportedError, "reorder"),
        ({"reorder": 1}, UnsupportedError, "reorder"),
        ({"frozen": 1}, UnsupportedError, "frozen"),
    ],
)
def test_a_wrong_header(tmp_path: Path, changed: dict[str, int], error: type[Exception], word: str) -> None:
    linked(tmp_path).write(**changed)
    with pytest.raises(error, match=word):
        open_diskann(tmp_path)


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    source = linked(tmp_path)
    path = source.write()
    for name, content in (
        ("ann_pq_compressed.bin", struct.pack("<II", N - 1, 4) + bytes(4 * (N - 1))),
        ("ann_pq_compressed.bin", struct.pack("<II", N, 4) + bytes(4 * N - 1)),
        ("ann_pq_pivots.bin", b""),
        ("ann_pq_pivots.bin", struct.pack("<II5Q", 5, 1, 2**60, 0, 0, 0, 0)),
        ("ann_metadata.bin", bytes(31)),
        ("ann_metadata.bin", struct.pack("<4Q", 9, 0, N, DIM)),
        ("ann_metadata.bin", struct.pack("<4Q", 2, 0, N, DIM + 1)),
    ):
        source.write()
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataLossError, match=name):
            open_diskann(tmp_path)
    source.write()
    with open(path, "ab") as file:
        file.write(bytes(4096))
    with pytest.raises(DataLossError, match="bytes"):
        open_diskann(tmp_path)
    Path(f"{path}_pq_pivots.bin").touch()
    with pytest.raises(UnsupportedError, match="compressed"):
        open_diskann(tmp_path)


def test_a_wrong_place(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no DiskANN index"):
        open_diskann(tmp_path)
    with pytest.raises(NotFoundError, match="neither"):
        open_diskann(tmp_path / "absent")
    linked(tmp_path).write()
    (tmp_path / "other_disk.index").touch()
    with pytest.raises(InvalidArgumentError, match="several"):
        open_diskann(tmp_path)


def test_a_wrong_graph_leaves_nothing_behind(tmp_path: Path) -> None:
    for change, word in (("degree", "has 13 neighbours"), ("id", "does not exist")):
        source = linked(tmp_path)
        if change == "degree":
            source.degrees[7] = ROOM + 1
        else:
            source.neighbors[9, 0] = N
        source.write()
        with pytest.raises(DataLossError, match=word):
            tiervec.import_diskann(tmp_path, tmp_path / "index", threads=1)
        assert not (tmp_path / "index").exists()
    with pytest.raises(InvalidArgumentError, match="alpha"):
        tiervec.import_diskann(tmp_path, tmp_path / "index", params={"alpha": 1.1})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_end_in_a_sentence(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("diskann")
    linked(folder, count=60).write()
    name = data.draw(
        st.sampled_from(["ann_disk.index", "ann_metadata.bin", "ann_pq_pivots.bin", "ann_pq_compressed.bin"])
    )
    content = bytearray((folder / name).read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    for _ in range(data.draw(st.integers(0, 4))):
        if content:
            content[data.draw(st.integers(0, min(len(content), 200) - 1))] = data.draw(st.integers(0, 255))
    (folder / name).write_bytes(content)
    refusal = None
    try:
        vectors, neighbors, degrees = open_diskann(folder).read()
        builder = _core.GraphBuilder(vectors, "l2", 1)
        builder.adopt(neighbors, degrees)
    except TiervecError as error:  # anything else is a failure
        refusal = str(error)
    if refusal is None:
        assert vectors.shape == (60, vectors.shape[1])
    else:
        assert "\n" not in refusal
        assert "a bug of tiervec" not in refusal


def test_the_command(tmp_path: Path) -> None:
    linked(tmp_path).write()
    command = [
        sys.executable,
        "-m",
        "tiervec.cli",
        "import",
        "diskann",
        str(tmp_path),
        "--out",
        str(tmp_path / "index"),
    ]
    run = subprocess.run([*command, "--layout", "sectors", "--json"], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout)["params"]["layout"] == "sectors"
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert again.stderr.count("\n") == 1


def test_an_index_of_diskannpy(tmp_path: Path) -> None:
    """With TIERVEC_DISKANN_PYTHON, a Python that has diskannpy (it pins another numpy than ours)."""
    python = os.environ.get("TIERVEC_DISKANN_PYTHON")
    if python is None:
        pytest.skip("TIERVEC_DISKANN_PYTHON does not name a Python with diskannpy")
    vectors = np.random.default_rng(2).integers(0, 255, (2000, 32)).astype(np.uint8)
    np.save(tmp_path / "vectors.npy", vectors)
    build = (
        "import sys, numpy, diskannpy; diskannpy.build_disk_index(data=numpy.load(sys.argv[1] + '/vectors.npy'), "
        "distance_metric='l2', index_directory=sys.argv[1], complexity=40, graph_degree=16, "
        "search_memory_maximum=0.01, build_memory_maximum=1, num_threads=1, pq_disk_bytes=0)"
    )
    subprocess.run([python, "-c", build, str(tmp_path)], check=True, capture_output=True)
    tiervec.import_diskann(tmp_path, tmp_path / "index", threads=1)
    exact = _core.exact_search(vectors, "l2", vectors[:100], 10, None, 1, _core.WorkMonitor())[0]
    with tiervec.open(tmp_path / "index") as index:
        found = index.search(vectors[:100], 10, params={"search_list": 200})
    assert tiervec.recall(found.ids, exact, 10) > 0.95
