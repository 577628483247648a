"""The directory of an index: its manifest, its sections, how they are written and checked."""
