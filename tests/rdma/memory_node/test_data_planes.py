from __future__ import annotations

import logging
import resource

import pytest

from tiervec.rdma.memory_node.data_planes import TcpDataPlane, raise_descriptor_limit

INFINITE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((1024, 524_288), (16_384, 524_288)),
        ((1024, 4096), (4096, 4096)),
        ((1024, INFINITE), (16_384, INFINITE)),
        ((65_536, 524_288), None),
        ((INFINITE, INFINITE), None),
    ],
)
def test_the_limit_of_files_is_raised_as_far_as_it_may(
    before: tuple[int, int], after: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _which: before)
    monkeypatch.setattr(resource, "setrlimit", lambda _which, limits: taken.append(limits))
    raise_descriptor_limit()
    assert taken == ([] if after is None else [after])


def test_a_plane_says_that_it_takes_few_readers(caplog: pytest.LogCaptureFixture) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
        plane = TcpDataPlane("127.0.0.1", 0, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with caplog.at_level(logging.WARNING):
        assert plane.stats()["max_connections"] == 256
        assert "at most 256 connections of readers at once, half of the files" in caplog.text
    plane.close()
