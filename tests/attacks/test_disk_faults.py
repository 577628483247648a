"""A data directory whose disk is full, fails, or whose node is killed, at every single operation of a history.

The history creates, uploads, seals, switches and deletes regions. Every operation of the storage on the disk is
counted; the history is run again for each of them, with a fault there. After every step the node is either in the state
before it or in the one after it, and all that can be asked agrees: the listing, the accounting, the health, the tokens
that readers show, and what a restart finds.
"""

from __future__ import annotations

import errno
import logging
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash

from tiervec.errors import NotFoundError, ResourceExhaustedError, TiervecError
from tiervec.rdma.memory_node.memory import memory_bytes
from tiervec.rdma.memory_node.names import EXTENT_BYTES
from tiervec.rdma.memory_node.node import MemoryNode
from tiervec.rdma.memory_node.region import Region, RegionState, RemoteKey
from tiervec.rdma.memory_node.storage import RegionStorage
from tiervec.rdma.memory_node.storage_files import StorageFiles

sys.path.insert(0, str(Path(__file__).parent))

from memory_disk import MemoryDisk

CAPACITY = 16 << 20
CONTENT = {
    ("sift", "v1"): np.random.default_rng(1).bytes(EXTENT_BYTES + 100),
    ("sift", "v2"): np.random.default_rng(2).bytes(200),
    ("peps", "v1"): np.random.default_rng(3).bytes(300),
}
#: (name, version) -> bytes of the regions that readers can read, and name -> current version.
State = tuple[frozenset[tuple[str, str]], tuple[tuple[str, str], ...]]


class KilledError(BaseException):
    """The process ends here: no handler of the node may do anything any more."""


class FaultyFiles(StorageFiles):
    """The real disk, with a fault at one operation, or from it on."""

    def __init__(self) -> None:
        self.names_of_operations: list[str] = []
        self.at = -1
        self.fault = "none"  # or enospc, eio, torn (half of a write lands, then eio), dead (eio from here on), killed

    def arm(self, at: int, fault: str) -> None:
        self.names_of_operations, self.at, self.fault = [], at, fault

    def _pass(self, name: str) -> bool:
        """Counts an operation, or lets it fail; True when half of it is still to happen."""
        hit = len(self.names_of_operations) == self.at
        later = len(self.names_of_operations) > self.at >= 0
        self.names_of_operations.append(name)
        if self.fault == "killed" and (hit or later):
            raise KilledError
        if self.fault == "dead" and (hit or later):
            raise OSError(errno.EIO, "Input/output error")
        if hit and self.fault == "enospc":
            raise OSError(errno.ENOSPC, "No space left on device")
        if hit and self.fault == "eio":
            raise OSError(errno.EIO, "Input/output error")
        return hit and self.fault == "torn"

    def write(self, descriptor: int, data: memoryview, at: int) -> int:
        if self._pass("write"):
            super().write(descriptor, data[: len(data) // 2], at)
            raise OSError(errno.EIO, "Input/output error")
        return super().write(descriptor, data, at)

    def sync(self, descriptor: int) -> None:
        if self._pass("sync"):
            raise OSError(errno.EIO, "Input/output error")
        # Nothing else: what a power failure leaves is tested in memory, and thousands of syncs take minutes.

    def close(self, descriptor: int) -> None:
        super().close(descriptor)  # so that a test does not run out of descriptors


def _counted(name: str) -> Callable[..., Any]:
    real = getattr(StorageFiles, name)

    def operation(self: FaultyFiles, *args: Any) -> Any:
        if self._pass(name):
            raise OSError(errno.EIO, "Input/output error")
        return real(self, *args)

    return operation


for _name in [
    name for name in vars(StorageFiles) if not name.startswith("_") and name not in ("write", "sync", "close")
]:
    setattr(FaultyFiles, _name, _counted(_name))


class Plane:
    """What readers see: a region is readable while it is served, with its token."""

    transport = "tcp"
    port = 4711

    def __init__(self) -> None:
        self.served: dict[int, Region] = {}

    def serve(self, region: Region) -> RemoteKey:
        self.served[region.region_id] = region
        return RemoteKey()

    def withdraw(self, region_id: int) -> None:
        del self.served[region_id]

    def stats(self) -> Mapping[str, float]:
        return {}

    def close(self) -> None:
        self.served.clear()


class Node:
    """A node over a folder, as a process would be: it can be killed and started again."""

    def __init__(self, folder: Path, files: StorageFiles) -> None:
        self.plane = Plane()
        self.health: dict[str, bool] = {}
        self.storage = RegionStorage(folder, files)
        try:
            self.node = MemoryNode(CAPACITY, [self.plane], self.storage, lock_memory="no")
            self.node.on_health = self.health.__setitem__
            self.node.load_stored()
        except BaseException:
            self.storage.close()
            raise

    def state(self) -> State:
        ready = frozenset((r.name, r.version) for r in self.node.list() if r.state is RegionState.READY)
        current = {r.name: r.version for r in self.node.list() if self.node.is_current(r)}
        return ready, tuple(sorted(current.items()))

    def check(self) -> State:
        """All that can be asked says the same."""
        regions = self.node.list()
        assert self.node.used_bytes == sum(memory_bytes(region.size_bytes) for region in regions)
        served = {(region.name, region.version) for region in self.plane.served.values()}
        ready, current = self.state()
        assert served == ready
        for name, version in CONTENT:
            if (name, version) in ready:
                region = self.node.attach(name, version, "tcp").region
                assert self.plane.served[region.region_id].token == region.token
                content = bytes(memoryview(region.memory)[: region.size_bytes])
                assert content == CONTENT[name, version]
            else:
                with pytest.raises(TiervecError):
                    self.node.attach(name, version, "tcp")
        for name in ("sift", "peps"):
            if self.health.get(name):
                assert (name, dict(current).get(name)) in ready
        return ready, current

    def close(self) -> None:
        self.node.close()


def _upload(name: str, version: str) -> Callable[[Node], None]:
    def step(at: Node) -> None:
        content = CONTENT[name, version]
        region = at.node.create(name, version, len(content))
        for index in np.flatnonzero(~region.whole()).tolist():
            data = content[index * EXTENT_BYTES : (index + 1) * EXTENT_BYTES]
            at.node.write_extent(region, index, xxhash.xxh3_64_intdigest(data), data)
        at.node.seal(name, version)

    return step


def _switch(name: str, version: str) -> Callable[[Node], None]:
    return lambda at: void(at.node.switch(name, version))


def _delete(name: str, version: str) -> Callable[[Node], None]:
    def step(at: Node) -> None:
        try:
            at.node.delete(name, version)
        except NotFoundError:
            assert (name, version) not in at.state()[0], "a delete that failed can be repeated"

    return step


def void(_value: object) -> None:
    """For steps that are one expression."""


#: `after` says what each step does to the state.
HISTORY: list[tuple[str, Callable[[Node], None]]] = [
    ("upload sift v1", _upload("sift", "v1")),
    ("switch sift v1", _switch("sift", "v1")),
    ("upload sift v2", _upload("sift", "v2")),
    ("upload peps v1", _upload("peps", "v1")),
    ("switch peps v1", _switch("peps", "v1")),
    ("delete sift v1", _delete("sift", "v1")),
    ("switch sift v2", _switch("sift", "v2")),
    ("delete sift v2", _delete("sift", "v2")),
    # It was current before it was deleted, and is not now.
    ("upload sift v2", _upload("sift", "v2")),
    ("delete peps v1", _delete("peps", "v1")),
]


def after(state: State, step: str) -> State:
    """The state that a step leads to."""
    act, name, version = step.split()
    ready, current = set(state[0]), dict(state[1])
    if act == "upload":
        ready.add((name, version))
    elif act == "switch":
        current[name] = version
    else:
        ready.discard((name, version))
        if current.get(name) == version:
            del current[name]
    return frozenset(ready), tuple(sorted(current.items()))


EMPTY: State = (frozenset(), ())


def final_state() -> State:
    state = EMPTY
    for step, _ in HISTORY:
        state = after(state, step)
    return state


def started(folder: Path) -> Node:
    return Node(folder, FaultyFiles())


#: Where a disk can be full. A torn write is one of write; where nothing is written it is the same as eio.
_NEED_SPACE = ("make_folder", "open", "write", "sync", "rename", "unlink")


def operations(folder: Path, fault: str) -> list[int]:
    """The operations of the history that can have this fault."""
    files = FaultyFiles()
    node = Node(folder, files)
    files.arm(-1, "none")
    for _, step in HISTORY:
        step(node)
        node.check()
    names = files.names_of_operations
    assert node.check() == final_state()
    node.close()
    again = started(folder)
    assert again.check() == final_state()
    again.close()
    able = {"enospc": _NEED_SPACE, "torn": ("write",)}.get(fault)
    return [at for at, name in enumerate(names) if able is None or name in able]


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Callable[[], Path]]:
    count = 0

    def fresh() -> Path:
        nonlocal count
        shutil.rmtree(tmp_path / f"data{count}", ignore_errors=True)
        count += 1
        return tmp_path / f"data{count}"

    logging.disable(logging.CRITICAL)  # a warning for each of a thousand faults
    yield fresh
    logging.disable(logging.NOTSET)


def assert_restart_finds(folder: Path, state: State) -> None:
    again = started(folder)
    assert again.check() == state
    again.close()


@pytest.mark.parametrize("fault", ["enospc", "eio", "torn", "dead"])
def test_a_step_that_fails_has_happened_or_not(folders: Callable[[], Path], fault: str) -> None:
    failed = 0
    faulty = operations(folders(), fault)
    for at in faulty:
        folder, files = folders(), FaultyFiles()
        node = Node(folder, files)
        files.arm(at, fault)
        state = EMPTY
        for name, step in HISTORY:
            try:
                step(node)
                wanted = {after(state, name)}
            except TiervecError:
                failed += 1
                wanted = {state, after(state, name)}
            found = node.check()
            if fault != "dead":  # later steps build on this one
                assert found in wanted, (at, name)
                if found != after(state, name):
                    step(node)  # again, on a disk that works
                    found = node.check()
                    assert found == after(state, name), (at, name)
            state = found
        if fault != "dead":
            assert state == final_state()
        node.close()
        assert_restart_finds(folder, state)
        left = [path.name for path in folder.rglob(".*")]
        assert left == [], "the start removes remainders"
    assert failed >= len(faulty) / 2, "half of the operations decide something; the others only tidy up"


def test_a_killed_node_finds_the_old_state_or_the_new_one(folders: Callable[[], Path]) -> None:
    for at in operations(folders(), "killed"):
        folder, files = folders(), FaultyFiles()
        node = Node(folder, files)
        files.arm(at, "killed")
        state, killed = EMPTY, False
        for name, step in HISTORY:
            try:
                step(node)
            except KilledError:
                assert not killed
                killed = True
                node.storage.close()  # as the system does
                node = started(folder)
                assert node.check() in (state, after(state, name)), (at, name)
                step(node)
            state = after(state, name)
            assert node.check() == state, (at, name)
        assert killed
        node.close()
        assert_restart_finds(folder, final_state())


def test_a_power_failure_takes_back_nothing_that_was_acknowledged(folders: Callable[[], Path]) -> None:
    folder, count = folders(), 0

    def counted() -> None:
        nonlocal count
        count += 1

    def fail_at(disk: MemoryDisk, at: int) -> None:
        def before() -> None:
            nonlocal at
            at -= 1
            if at < 0:
                raise KilledError

        disk.before = before

    def restarted(node: Node, disk: MemoryDisk) -> Node:
        node.storage.close()
        disk.before = lambda: None
        disk.lose_power()
        return Node(folder, disk)

    disk = MemoryDisk(folder)
    disk.before = counted
    node = Node(folder, disk)
    for _, step in HISTORY:
        step(node)
    for at in range(count):
        disk = MemoryDisk(folder)
        fail_at(disk, at)
        try:
            node = Node(folder, disk)
        except KilledError:
            disk.before = lambda: None
            disk.lose_power()
            node = Node(folder, disk)
        state = EMPTY
        for name, step in HISTORY:
            try:
                step(node)
            except KilledError:
                node = restarted(node, disk)
                assert node.check() in (state, after(state, name)), (at, name)
                step(node)
            state = after(state, name)
            assert node.check() == state, (at, name)
            if at % 7 == 0:  # at the step's end too
                before, node = disk.before, restarted(node, disk)
                disk.before = before
                assert node.check() == state, (at, name)
        assert restarted(node, disk).check() == final_state()


@pytest.mark.parametrize("fault", ["enospc", "eio", "dead"])
def test_a_start_serves_what_it_can_read(folders: Callable[[], Path], fault: str) -> None:
    folder = folders()
    node = started(folder)
    for name, version in CONTENT:
        _upload(name, version)(node)
    node.node.switch("sift", "v1")
    node.storage.save_ports({"tcp": 1})
    state = node.check()
    node.close()
    files = FaultyFiles()
    Node(folder, files).close()
    refused = damaged = 0
    for at in range(len(files.names_of_operations)):
        files.arm(at, fault)
        try:
            node = Node(folder, files)
        except TiervecError:
            refused += 1  # one sentence
            continue
        regions = node.node.list()
        broken = [region for region in regions if region.state is RegionState.DAMAGED]
        assert len(regions) == len(CONTENT)
        assert all(region.state in (RegionState.READY, RegionState.DAMAGED) for region in regions)
        assert len(broken) <= 1 or fault == "dead"
        assert all(region.damage for region in broken)
        damaged += len(broken)
        files.fault = "none"
        node.check()
        node.close()
        assert_restart_finds(folder, state)
    assert damaged > 10
    assert refused > 0, "a folder that cannot be listed at all"


def test_a_delete_works_on_a_full_disk(folders: Callable[[], Path]) -> None:
    class FullFiles(FaultyFiles):
        full = False

        def open(self, path: Path, to: Any) -> int:
            if self.full and to == "create":
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().open(path, to)

        def make_folder(self, path: Path) -> None:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            super().make_folder(path)

        def write(self, descriptor: int, data: memoryview, at: int) -> int:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(descriptor, data, at)

        def rename(self, old: Path, new: Path) -> None:
            if self.full:  # the longer name may need another block of the folder
                raise OSError(errno.ENOSPC, "No space left on device")
            super().rename(old, new)

        def free_bytes(self, path: Path) -> int:
            return 0 if self.full else super().free_bytes(path)

    folder, files = folders(), FullFiles()
    node = Node(folder, files)
    for name, version in CONTENT:
        _upload(name, version)(node)
    node.node.switch("sift", "v1")
    files.full = True
    with pytest.raises(ResourceExhaustedError):
        node.node.switch("sift", "v2")
    node.node.delete("sift", "v1")
    node.node.delete("sift", "v2")
    with pytest.raises(NotFoundError):
        node.node.delete("sift", "v2")
    assert node.check() == (frozenset({("peps", "v1")}), ())
    assert [path.name for path in (folder / "regions").iterdir()] == [f"{node.node.get('peps', 'v1').region_id:016x}"]
    node.close()
    assert_restart_finds(folder, (frozenset({("peps", "v1")}), ()))


@pytest.mark.parametrize("fault", ["enospc", "eio", "torn", "dead", "killed"])
def test_a_repair_that_fails_leaves_the_extent_damaged(folders: Callable[[], Path], fault: str) -> None:
    content = CONTENT["sift", "v1"]
    for at in range(20):
        folder = folders()
        node = started(folder)
        _upload("sift", "v1")(node)
        region_id = node.node.get("sift", "v1").region_id
        node.close()
        path = folder / "regions" / f"{region_id:016x}" / "extents.bin"
        path.write_bytes(b"\0" * 10 + content[10:])
        files = FaultyFiles()
        node = Node(folder, files)
        assert node.state()[0] == frozenset()
        files.arm(at, fault)
        try:
            _upload("sift", "v1")(node)
        except (TiervecError, KilledError):
            pass
        else:
            assert path.read_bytes() == content
            assert at >= 3, "open, write and sync of the repair: a fault was not seen"
        files.fault = "none"
        if fault == "killed":
            node.storage.close()
        else:
            region = node.node.get("sift", "v1")
            for index in range(region.extents):
                node.node.verify_extent(region, index)  # the scrubber, meanwhile
            ready = bool(node.check()[0])
            assert ready == (path.read_bytes() == content)
            node.close()
        again = started(folder)
        assert bool(again.check()[0]) == (path.read_bytes() == content)
        _upload("sift", "v1")(again)
        assert again.check()[0] == {("sift", "v1")}
        again.close()
