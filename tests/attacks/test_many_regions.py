"""The smallest regions there are, as many as fit: a node takes no more memory than the capacity it was given."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

#: In a process of its own, so that nothing else grows meanwhile.
PROGRAM = """
import os, sys
from tiervec.errors import ResourceExhaustedError
from tiervec.rdma.memory_node.data_planes import TcpDataPlane
from tiervec.rdma.memory_node.node import MemoryNode

import xxhash

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE")

def put(name):
    region = node.create(name, "v1", 1)
    node.write_extent(region, 0, xxhash.xxh3_64_intdigest(b"x"), b"x")
    node.seal(name, "v1")

lock, capacity, wanted = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
node = MemoryNode(capacity, [TcpDataPlane("127.0.0.1", 0, 1)], lock_memory=lock)
put("first")  # what is made once
before, used_before = resident(), node.used_bytes
made = 0
try:
    while made < wanted:
        put(f"region{made}")
        made += 1
except ResourceExhaustedError as error:
    assert "delete old versions" in str(error), error
print(made, resident() - before, node.used_bytes - used_before, node.used_bytes)
node.close()
"""


def run(lock: str, capacity: int, wanted: int) -> tuple[int, int, int, int]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, lock, str(capacity), str(wanted)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MALLOC_ARENA_MAX": "1"},
    )
    assert done.returncode == 0, done.stderr
    made, taken, counted, used = map(int, done.stdout.split())
    return made, taken, counted, used


@pytest.mark.parametrize("lock", ["try", "no"])
def test_a_thousand_regions_of_a_byte_take_what_is_counted(lock: str) -> None:
    made, taken, counted, used = run(lock, 64 << 20, 1000)
    assert made == 1000
    assert taken <= counted <= used <= 64 << 20, f"{taken:,} bytes taken, {counted:,} counted"


def test_the_capacity_ends_it_before_the_memory_does() -> None:
    made, taken, _, used = run("no", 4 << 20, 4000)
    assert 100 < made < 1024
    assert taken <= used <= 4 << 20
