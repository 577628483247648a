"""Benchmarks: measured systems, runs, figures. Nothing here is imported by the service or the library."""

from __future__ import annotations
