#!/bin/sh
# Checks that the Python given as $1 can make a virtual environment and build an extension; says what to install when not.
set -eu
python=$1

if ! command -v "$python" >/dev/null 2>&1; then
  echo "error: $python not found, TierVec needs Python 3.10 or newer: apt-get install python3 python3-venv python3-dev" >&2
  exit 1
fi
exec "$python" - <<'PYTHON'
import importlib.util, pathlib, sys, sysconfig

if sys.version_info < (3, 10):
    sys.exit(f"error: {sys.executable} is Python {sys.version.split()[0]}, TierVec needs 3.10 or newer: set PYTHON=python3.12 or the like")
missing = []
if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
    missing.append("python3-venv")
if not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists():
    missing.append("python3-dev")
if missing:
    sys.exit(f"error: {sys.executable} lacks {' and '.join(missing)}: apt-get install {' '.join(missing)}")
PYTHON
