from __future__ import annotations

from collections.abc import Callable

from tiervec.bench.machines import environment_label, machine_letters
from tiervec.bench.results import Result


def test_a_label_tells_machines_apart(make_result: Callable[..., Result]) -> None:
    assert environment_label(make_result().environment) == "Fast 1, 2 CPUs, 16 GiB, Linux 6.1"


def test_machines_are_lettered_as_they_appear(make_result: Callable[..., Result]) -> None:
    here = make_result().environment
    there = {**here, "cpu": "other"}
    assert list(machine_letters([there, here, {**there, "commit": "x"}]).values()) == ["A", "B"]
