"""The comparison harness: data sets, measured systems, runs, figures. The service and the library do not import it."""

from __future__ import annotations
