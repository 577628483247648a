#!/usr/bin/env bash
# One leg of the matrix: compiles everything with warnings as errors, runs the C++ tests, installs the package with the same
# compiler and runs the tests of the Python API.
#
#   leg.sh NAME COMPILER PYTHON [C++ FLAGS] [LINKER FLAGS]      an empty COMPILER skips the C++ tests
#
# WERROR=OFF: warnings are no errors.
set -euo pipefail
cd "$(dirname "$0")/../.."
name=$1 compiler=$2 python=$3 flags=${4:-} link=${5:-}
# As deep below the tree as build/editable, asan and tsan: paths in the compiler cache are relative.
base=$PWD/build/portability cxx=$PWD/build/$name-cxx extension=$PWD/build/$name-python
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
mkdir -p "$base"
# Legs with the same Python share its environment; each installs its own build of the package there.
release=$(. /etc/os-release && echo "$ID${VERSION_ID:-}")
venv=$base/venv-$release-$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
bin=$venv/bin
for part in build test runtime; do "$bin/python" .ci/requirements.py "$part"; done >"$base/$name.txt"
if ! cmp -s "$base/$name.txt" "$venv/installed.txt"; then
  "$bin/python" -m pip --quiet install -r "$base/$name.txt"
  cp "$base/$name.txt" "$venv/installed.txt"
fi
export PATH="$bin:$PATH"
if [ -n "$compiler" ]; then
  export CXX=$compiler
  cmake -S . -B "$cxx" -G Ninja -DCMAKE_CXX_FLAGS="$flags" -DCMAKE_EXE_LINKER_FLAGS="$link" \
    -DTIERVEC_PYTHON=OFF -DTIERVEC_TESTS=ON -DTIERVEC_WERROR="${WERROR:-ON}"
  grep -q '^TIERVEC_CXX_TESTS:INTERNAL=ON' "$cxx/CMakeCache.txt" || { echo "GoogleTest was not found"; exit 1; }
  cmake --build "$cxx" -j "${JOBS:-2}"
  cmake --build "$cxx" --target check_headers -j "${JOBS:-2}"
  ctest --test-dir "$cxx" --output-on-failure --no-tests=error -j "${JOBS:-2}"
fi
python -m pip --quiet install --no-build-isolation --no-deps --force-reinstall --config-settings=build-dir="$extension" \
  --config-settings=cmake.define.TIERVEC_WERROR="${WERROR:-ON}" --config-settings=cmake.define.CMAKE_CXX_FLAGS="$flags" \
  --config-settings=cmake.define.CMAKE_MODULE_LINKER_FLAGS="$link" .
# From a folder where no `tiervec` lies: the tests and what they start shall import the installed package.
api_tests=(tiervec/test_api.py tiervec/core tiervec/vectors/vector_files tiervec/cli/test_doctor_command.py rdma/test_native_tiers.py
           integration/test_readme.py)
tests=$PWD/tests
cd "$base"
"$bin/pytest" -q -c "$tests/../pyproject.toml" --rootdir "$tests/.." -n "${JOBS:-2}" --dist worksteal \
  "${api_tests[@]/#/$tests/}"
