"""Which machine a figure is of, and when two are alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = ["environment_label", "machine_letters", "machine_of"]

_MACHINE_KEYS: Final = ("cpu", "cores", "allowed_cpus", "simd", "memory_bytes", "os", "kernel")


def machine_of(environment: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """What of an environment decides about speed; results of machines that differ in it do not mix."""
    return tuple((key, environment.get(key)) for key in _MACHINE_KEYS)


def machine_letters(environments: Iterable[Mapping[str, Any]]) -> dict[tuple[Any, ...], str]:
    """Machine to the letter that labels call it by, in the order in which they appear."""
    letters: dict[tuple[Any, ...], str] = {}
    for environment in environments:
        letters.setdefault(machine_of(environment), chr(ord("A") + len(letters) % 26))
    return letters


def environment_label(environment: Mapping[str, Any]) -> str:
    """A machine in a few words, for legends."""
    memory = environment.get("memory_bytes")
    size = "" if memory is None else f", {memory / 2**30:.0f} GiB"
    return (
        f"{environment.get('cpu') or 'unknown CPU'}, {environment.get('allowed_cpus')} CPUs{size}, "
        f"Linux {environment.get('kernel')}"
    )
