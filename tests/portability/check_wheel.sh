#!/usr/bin/env bash
# Installs the wheel of dist/ into a bare environment without a compiler, and runs the README's first example there.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${1:?usage: check_wheel.sh PYTHON}

newest_glibc=36  # manylinux_2_36: Debian 12
wheels=(dist/tiervec-*.whl)
[ "${#wheels[@]}" = 1 ] && [ -e "${wheels[0]}" ] || { echo "wheel: dist/ must hold one wheel, it has: ${wheels[*]}" >&2; exit 1; }
wheel=${wheels[0]}
glibc=$(sed -nE 's/.*-manylinux_2_([0-9]+)_.*/\1/p' <<<"$wheel")
if [ -z "$glibc" ] || [ "$glibc" -gt "$newest_glibc" ]; then
  echo "wheel: $wheel is not for manylinux_2_$newest_glibc or older" >&2
  exit 1
fi
needed=$(unzip -p "$wheel" 'tiervec/_core*.so' | strings 2>/dev/null | grep -E '^lib(uring|ibverbs|rdmacm|numa)\.so' || true)
folder=build/portability/wheel
rm -rf "$folder"
"$python" -m venv "$folder"
"$folder/bin/python" -m pip --disable-pip-version-check --quiet install "$wheel"

bare() { env -i PATH="$PWD/$folder/bin" HOME="$PWD/$folder" "$folder/bin/python" "$@"; }
bare -I - <<'PROGRAM'
import ctypes
import shutil
import tiervec
from tiervec import _core

assert shutil.which("g++") is None and shutil.which("gcc") is None and shutil.which("cc") is None, "there is a compiler"
assert "site-packages" in tiervec.__file__, tiervec.__file__
from tiervec.machine.doctor import diagnose

def loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


# Whatever the machine that compiled had: what this one lacks is what is missing.
libraries = ("libibverbs.so.1", "librdmacm.so.1")
missing = [library for library in libraries if not loads(library)]
reason = str(_core.verbs_status()["reason"])
assert [library for library in libraries if library in reason] == missing[:1], reason
print(f"wheel: {' and '.join(libraries)}:", f"{missing[0]} is not installed" if missing else "loaded, with all functions")

for finding in diagnose():
    words = f"{finding.found} {finding.advice}"
    assert not any(word in words for word in ("-dev", "was compiled", "install TierVec again")), words
    if finding.name.startswith(("ssd:", "rdma:")):
        print(f"wheel: {finding.name} {finding.state}: {finding.found}")
PROGRAM
bare tests/portability/run_readme_example.py README.md
echo "wheel: passed, $(basename "$wheel")${needed:+, loads at run time: $(echo $needed)}"
