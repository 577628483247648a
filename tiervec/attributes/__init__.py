"""Typed attributes of vectors, and filters over them."""
