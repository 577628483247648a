from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiervec.errors import InvalidArgumentError
from tiervec.rdma.memory_node.names import EXTENT_BYTES, extents_of
from tiervec.rdma.remote_url import RemoteUrl, is_remote, stripe_extents, stripe_size, stripe_version


@pytest.mark.parametrize(
    ("text", "replicas", "options"),
    [
        ("tcp://node:7800/sift", (("node:7800",),), {}),
        ("rdma://a:1,b:2/sift", (("a:1",), ("b:2",)), {}),
        ("tcp://a:1+b:2,c:3+d:4/sift?timeout_ms=200", (("a:1", "b:2"), ("c:3", "d:4")), {"timeout_ms": "200"}),
        ("tcp://[::1]:1,[fe80::1%eth0]:2/sift", (("[::1]:1",), ("[fe80::1%eth0]:2",)), {}),
    ],
)
def test_forms(text: str, replicas: tuple[tuple[str, ...], ...], options: dict[str, str]) -> None:
    url = RemoteUrl.parse(text)
    assert (url.transport, url.region) == (text.partition(":")[0], "sift")
    assert (url.replicas, url.options) == (replicas, options)
    assert str(url) == text


def test_the_region_may_be_understood() -> None:
    assert str(RemoteUrl.parse("tcp://a:1", "sift")) == str(RemoteUrl.parse("tcp://a:1/", "sift")) == "tcp://a:1/sift"
    assert RemoteUrl.parse("tcp://a:1/other", "sift").region == "other"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dram:", "does not begin with tcp:// or rdma://"),
        ("tcp:a:1/x", "does not begin with tcp://"),
        ("tcp://a/x", "has the node 'a', which is not HOST:PORT"),
        ("tcp://a:0/x", "which is not HOST:PORT"),
        ("tcp://a:65536/x", "which is not HOST:PORT"),
        ("tcp://a:1,/x", "has the node ''"),
        ("tcp://a:1+/x", "has the node ''"),
        ("tcp://::1:1/x", "which is not HOST:PORT"),
        ("tcp://user:secret@a:1/x", "which is not HOST:PORT"),
        ("tcp://a:1,a:1/x", "has a node twice"),
        ("tcp://a:1+a:1/x", "has a node twice"),
        ("tcp://a:1", "names no region"),
        ("tcp://a:1/x/y", "region name is 'x/y'"),
        ("tcp://a:1/..", "region name is '..'"),
        ("tcp://a:1/x?token=abc", "has the option 'token'; known is timeout_ms"),
        ("tcp://a:1/x?timeout_ms=0", "timeout_ms must be 1 to"),
        ("tcp://a:1/x?timeout_ms=1&timeout_ms=2", "timeout_ms, once"),
        ("tcp://" + ",".join(f"a:{port}" for port in range(1, 18)) + "/x", "more than 16 replicas"),
    ],
)
def test_refusals(text: str, words: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        RemoteUrl.parse(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=30))
def test_any_text(text: str) -> None:
    for candidate in (text, "tcp://" + text, "tcp://a:1/" + text):
        try:
            url = RemoteUrl.parse(candidate)
        except InvalidArgumentError:
            continue
        assert RemoteUrl.parse(str(url)) == url


def test_what_is_remote() -> None:
    assert is_remote("tcp://a:1/x")
    assert is_remote("rdma://a:1/x")
    assert not any(is_remote(url) for url in ("dram:", "mmap:", "emulated:rdma-200g", "", "tcpx://a:1/x"))


@given(st.integers(1, 40 * EXTENT_BYTES), st.integers(1, 7))
def test_stripes_cover_the_region_once(size: int, stripes: int) -> None:
    parts = [stripe_extents(size, at, stripes) for at in range(stripes)]
    assert sorted(extent for part in parts for extent in part) == list(range(extents_of(size)))
    assert sum(stripe_size(size, at, stripes) for at in range(stripes)) == size
    for at, part in enumerate(parts):
        assert extents_of(stripe_size(size, at, stripes)) == len(part)


def test_versions_of_stripes_differ() -> None:
    assert stripe_version("0123456789abcdef", 0, 1) == "0123456789abcdef"
    assert stripe_version("0123456789abcdef", 1, 2) == "0123456789abcdef-1of2"
