"""Where the sections of an index lie: on a tier of this machine, or published to memory nodes."""
