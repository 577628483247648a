"""The RDMA data plane of a memory node: without a device what it says, with one (`make guest`) what it does."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tiervec import _core
from tiervec.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError, UnavailableError, UnsupportedError
from tiervec.rdma.memory_node.verbs import VerbsDataPlane

TOKEN = bytes(range(16))
REGION_BYTES = 1 << 20


def address() -> str:
    if "TIERVEC_TEST_RDMA" not in os.environ:
        pytest.skip("TIERVEC_TEST_RDMA names no RDMA device; `make guest` runs this with one")
    return os.environ["TIERVEC_TEST_RDMA"]


@pytest.fixture
def plane() -> Iterator[VerbsDataPlane]:
    opened = VerbsDataPlane(address(), 0, None)
    yield opened
    opened.close()


@pytest.fixture
def region() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.arange(REGION_BYTES, dtype=np.uint8)


def test_without_a_device_it_says_what_is_missing() -> None:
    status = _core.verbs_status()
    if status["available"]:
        pytest.skip(f"this machine has {status['devices']}")
    with pytest.raises(UnsupportedError) as caught:
        VerbsDataPlane("127.0.0.1", 0, None)
    assert str(status["reason"]) in str(caught.value)
    assert "127.0.0.1" in str(caught.value)


@pytest.mark.hardware
def test_serves_each_region_once(plane: VerbsDataPlane, region: np.ndarray[Any, Any]) -> None:
    where, key = plane.serve(1, TOKEN, region.ctypes.data, region.nbytes)
    assert (where, key) != (0, 0)
    with pytest.raises(AlreadyExistsError, match="region 1"):
        plane.serve(1, TOKEN, region.ctypes.data, region.nbytes)
    plane.withdraw(1)
    with pytest.raises(NotFoundError, match="region 1"):
        plane.withdraw(1)
    plane.serve(1, TOKEN, region.ctypes.data, region.nbytes)
    with pytest.raises(InvalidArgumentError, match="16 bytes"):
        plane.serve(2, TOKEN[:15], region.ctypes.data, region.nbytes)
    with pytest.raises(InvalidArgumentError, match="at least 1 byte"):
        plane.serve(2, TOKEN, region.ctypes.data, 0)


@pytest.mark.hardware
def test_names_the_device_and_refuses_another(plane: VerbsDataPlane) -> None:
    assert plane.device in _core.verbs_status()["devices"]  # type: ignore[operator]
    with pytest.raises(InvalidArgumentError, match="mlx9_7"):
        VerbsDataPlane(address(), 0, "mlx9_7")
    with pytest.raises(UnavailableError, match="taken"):
        VerbsDataPlane(address(), plane.port, None)


SERVE_WITH_LITTLE_LOCKED_MEMORY = """
import numpy as np, sys
from tiervec.errors import ResourceExhaustedError
from tiervec.rdma.memory_node.verbs import VerbsDataPlane
plane = VerbsDataPlane(sys.argv[1], 0, None)
region = np.zeros(1 << 24, np.uint8)
try:
    plane.serve(1, bytes(16), region.ctypes.data, region.nbytes)
except ResourceExhaustedError as error:
    print(error)
"""


@pytest.mark.hardware
def test_too_little_locked_memory_names_the_limit() -> None:
    # Root may lock what it likes, so the right to do that is given up first.
    command = ["prlimit", "--memlock=1048576", "setpriv", "--bounding-set", "-ipc_lock", "--inh-caps", "-ipc_lock"]
    done = subprocess.run(
        [*command, sys.executable, "-c", SERVE_WITH_LITTLE_LOCKED_MEMORY, address()],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert "ulimit -l" in done.stdout, done.stderr
    assert "1048576" in done.stdout
    assert "16777216 bytes" in done.stdout


# ---- a client that TierVec did not write -----------------------------------------------------------------------------


def pyverbs(module: str) -> ModuleType:
    """A module of Debian's pyverbs, which lies outside of a virtual environment."""
    system = "/usr/lib/python3/dist-packages"
    if not Path(system, "pyverbs").is_dir():
        pytest.skip("no pyverbs: apt-get install python3-pyverbs")
    sys.path.append(system)  # behind all others: nothing else is to come from there
    try:
        return importlib.import_module(f"pyverbs.{module}")
    except ImportError as error:
        pytest.skip(f"pyverbs cannot be loaded by this Python: {error}")
    finally:
        sys.path.remove(system)


def request(region_id: int = 1, token: bytes = TOKEN, version: int = 1) -> bytes:
    """What a client sends to connect: rdma/src/verbs/handshake.h."""
    return b"TVR1" + version.to_bytes(4, "little") + region_id.to_bytes(8, "little") + token


class Client:
    """A reliable connection made by pyverbs, with all the rights that a client can give itself."""

    def __init__(self, port: int, private_data: bytes) -> None:
        cmid, qp = pyverbs("cmid"), pyverbs("qp")
        node = cmid.AddrInfo(dst=address(), dst_service=str(port), port_space=pyverbs("cm_enums").RDMA_PS_TCP)
        room = qp.QPCap(max_send_wr=4, max_recv_wr=4, max_send_sge=1, max_recv_sge=1)
        attributes = qp.QPInitAttr(cap=room, qp_type=pyverbs("enums").IBV_QPT_RC)
        self._id = cmid.CMID(creator=node, qp_init_attr=attributes)
        parameters = cmid.ConnParam(resources=1, depth=1, retry=7, data_len=len(private_data))
        parameters.set_private_data(private_data)
        self._id.connect(parameters)

    def read(self, where: int, key: int, length: int) -> bytes:
        """Raises ConnectionError with the status of the completion."""
        memory = self._id.reg_msgs(length)
        self._id.post_read(memory, length, where, key, pyverbs("enums").IBV_SEND_SIGNALED)
        self._wait()
        return bytes(memory.read(length, 0))

    def write(self, where: int, key: int, data: bytes) -> None:
        memory = self._id.reg_msgs(len(data))
        memory.write(data, len(data))
        self._id.post_write(memory, len(data), where, key, pyverbs("enums").IBV_SEND_SIGNALED)
        self._wait()

    def _wait(self) -> None:
        status = self._id.get_send_comp().status
        if status != pyverbs("enums").IBV_WC_SUCCESS:
            raise ConnectionError(status)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._id.close()


@pytest.mark.hardware
def test_a_client_can_read_and_cannot_write(plane: VerbsDataPlane, region: np.ndarray[Any, Any]) -> None:
    where, key = plane.serve(1, TOKEN, region.ctypes.data, region.nbytes)
    before = region.copy()
    with Client(plane.port, request()) as client:
        assert client.read(where + 5, key, 1000) == region[5:1005].tobytes()
        with pytest.raises(ConnectionError) as caught:
            client.write(where, key, b"overwritten")
        assert caught.value.args == (pyverbs("enums").IBV_WC_REM_ACCESS_ERR,)
    assert (region == before).all()


@pytest.mark.hardware
def test_a_client_cannot_read_beside_its_region(plane: VerbsDataPlane, region: np.ndarray[Any, Any]) -> None:
    half = region.nbytes // 2
    where, key = plane.serve(1, TOKEN, region.ctypes.data, half)
    other_where, other_key = plane.serve(2, bytes(16), region.ctypes.data + half, half)
    for place, shown in [(where + half - 10, key), (where - 10, key), (other_where, other_key), (where, key ^ 1)]:
        with Client(plane.port, request()) as client:
            assert client.read(where, key, 20) == region[:20].tobytes()
            with pytest.raises(ConnectionError):
                client.read(place, shown, 20)


@pytest.mark.hardware
@pytest.mark.parametrize(
    "private_data",
    [
        bytes(32),
        b"TVR1",
        request()[:31],
        b"tvr1" + request()[4:],
        request(version=0),
        request(version=2),
        request(region_id=7),
        request(token=bytes(16)),
        request(token=TOKEN[:15] + b"\0"),
        b"GET / HTTP/1.1\r\nHost: node\r\n\r\n",
    ],
)
def test_refuses_whoever_does_not_show_the_token(
    plane: VerbsDataPlane, region: np.ndarray[Any, Any], private_data: bytes
) -> None:
    plane.serve(1, TOKEN, region.ctypes.data, region.nbytes)
    with pytest.raises(pyverbs("pyverbs_error").PyverbsError):
        Client(plane.port, private_data)
    stats = plane.stats()
    assert (stats["accepted"], stats["refused"], stats["connections"]) == (0, 1, 0)
