from __future__ import annotations

import math
import resource

import pytest

from tiervec.errors import InvalidArgumentError, ResourceExhaustedError
from tiervec.rpc.limits import MAX_WAIT_S, CallLimits, PeerCount, peer_host, usable_time_left


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:10.0.0.1:50051", "10.0.0.1"),
        ("ipv6:[2001:db8:1:2:3:4:5:6]:50051", "2001:db8:1:2::/64"),
        ("ipv6:%5B2001:db8:1:2::9%5D:50051", "2001:db8:1:2::/64"),
        ("ipv6:[::1]:5", "::/64"),
        ("ipv6:[::ffff:10.0.0.1]:5", "10.0.0.1"),
        ("ipv6:[fe80::1%25eth0]:5", "fe80::/64"),
        ("unix:/run/x", "unix"),
        ("unix:", "unix"),
        ("", ""),
        ("ipv6:nonsense:5", "nonsense"),
    ],
)
def test_a_client_is_a_host(peer: str, host: str) -> None:
    assert peer_host(peer) == host


@pytest.mark.parametrize(
    ("given", "usable"),
    [
        (None, None),
        (math.inf, None),
        (9.2e18, None),
        (MAX_WAIT_S, MAX_WAIT_S),
        (1.5, 1.5),
        (0, 0),
        (-1, 0),
        (-math.inf, 0),
        (math.nan, 0),
    ],
)
def test_a_time_left_can_be_waited_for(given: float | None, usable: float | None) -> None:
    assert usable_time_left(given) == usable


def test_counts() -> None:
    count = PeerCount("calls", 3, 2)
    count.enter("a"), count.enter("a")
    with pytest.raises(
        ResourceExhaustedError, match="the client a has 2 calls here, the most that one client may have"
    ):
        count.enter("a")
    count.enter("b")
    with pytest.raises(ResourceExhaustedError, match="the server is busy: it has 3 calls, the most it takes"):
        count.enter("c")
    count.leave("a"), count.leave("b")
    count.enter("c")
    count.leave("a"), count.leave("c")
    assert (count.total, count._held) == (0, {})


def test_connections_are_a_share_of_the_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    for files, connections in ((1024, 256), (20, 16), (1 << 20, 4096), (resource.RLIM_INFINITY, 4096)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, files=files: (files, files))
        assert CallLimits().connections == connections
        assert CallLimits(max_connections=7).connections == 7


def test_calls_of_one_client() -> None:
    assert CallLimits().calls_per_peer(70) == 52
    assert CallLimits().calls_per_peer(8) == 16
    assert CallLimits(max_calls_per_peer=3).calls_per_peer(70) == 3
    with pytest.raises(InvalidArgumentError, match=r"limits\.max_calls_per_peer is -1; it must be an integer from 0"):
        CallLimits(max_calls_per_peer=-1)


def test_amounts_are_bounded_and_a_large_one_comes_in_alone() -> None:
    count = PeerCount("bytes", 100, 60)
    count.enter("a", 500)
    with pytest.raises(ResourceExhaustedError, match="500 bytes"):
        count.enter("b", 1)
    count.leave("a", 500)
    count.enter("a", 60)
    with pytest.raises(ResourceExhaustedError, match="the client a has 60 bytes"):
        count.enter("a", 1)
    count.enter("b", 40)
    with pytest.raises(ResourceExhaustedError, match="100 bytes"):
        count.enter("c", 1)
    count.leave("a", 60)
    count.leave("b", 40)
    assert count.total == 0
