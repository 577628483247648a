"""Readers for files of vectors, one module per format, all behind `open_vectors`."""

from __future__ import annotations

from tiervec.vectors.vector_files.big_ann import write_big_ann
from tiervec.vectors.vector_files.opening import VECTOR_SUFFIXES, open_vectors
from tiervec.vectors.vector_files.vector_file import Progress, VectorFile

__all__ = ["VECTOR_SUFFIXES", "Progress", "VectorFile", "open_vectors", "write_big_ann"]
