#!/bin/sh
# Prints the C++ compiler to build with: $CXX when set, else the first g++ of version 12 or newer. Explains on stderr when
# there is none.
set -eu

version_of() { "$1" -dumpfullversion -dumpversion 2>/dev/null | cut -d. -f1; }

if [ -n "${CXX:-}" ]; then
  echo "$CXX"
  exit 0
fi
for candidate in g++ g++-16 g++-15 g++-14 g++-13 g++-12; do
  version=$(version_of "$candidate") || continue
  if [ "${version:-0}" -ge 12 ]; then
    echo "$candidate"
    exit 0
  fi
done
found=$(version_of g++ || true)
if [ -n "$found" ]; then
  echo "error: g++ is version $found, TierVec needs 12 or newer: apt-get install g++-12, or set CXX" >&2
else
  echo "error: no g++ found, TierVec needs 12 or newer: apt-get install g++, or set CXX" >&2
fi
exit 1
