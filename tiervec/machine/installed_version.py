"""The version of the installed package, for modules below the public interface, which may not import it."""

from __future__ import annotations

import importlib.metadata

__all__ = ["installed_version"]


def installed_version() -> str:
    """The version of the distribution ``tiervec``; ``unknown`` when it runs without being installed."""
    try:
        return importlib.metadata.version("tiervec")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
