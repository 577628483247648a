#!/usr/bin/env bash
# One leg of the matrix: compiles everything with warnings as errors, runs the C++ tests, installs the package with the same
# compiler and runs the tests of the Python API.
#
#   leg.sh NAME COMPILER PYTHON [C++ FLAGS] [LINKER FLAGS]      an empty COMPILER skips the C++ tests
set -euo pipefail
cd "$(dirname "$0")/../.."
name=$1 compiler=$2 python=$3 flags=${4:-} link=${5:-}
folder=$PWD/build/portability/$name
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
mkdir -p "$folder"
[ -x "$folder/venv/bin/python" ] || "$python" -m venv "$folder/venv"
bin=$folder/venv/bin
for part in build test runtime; do "$bin/python" .ci/requirements.py "$part"; done >"$folder/requirements.txt"
"$bin/python" -m pip --quiet install -r "$folder/requirements.txt"
export PATH="$bin:$PATH"
if [ -n "$compiler" ]; then
  export CXX=$compiler
  cmake -S . -B "$folder/cxx" -G Ninja -DCMAKE_CXX_FLAGS="$flags" -DCMAKE_EXE_LINKER_FLAGS="$link" \
    -DTIERVEC_PYTHON=OFF -DTIERVEC_TESTS=ON -DTIERVEC_WERROR=ON
  grep -q '^TIERVEC_CXX_TESTS:INTERNAL=ON' "$folder/cxx/CMakeCache.txt" || { echo "GoogleTest was not found"; exit 1; }
  cmake --build "$folder/cxx" -j "${JOBS:-2}"
  cmake --build "$folder/cxx" --target check_headers -j "${JOBS:-2}"
  ctest --test-dir "$folder/cxx" --output-on-failure --no-tests=error -j "${JOBS:-2}"
fi
python -m pip --quiet install --no-build-isolation --no-deps --force-reinstall --config-settings=build-dir="$folder/python" \
  --config-settings=cmake.define.TIERVEC_WERROR=ON --config-settings=cmake.define.CMAKE_CXX_FLAGS="$flags" \
  --config-settings=cmake.define.CMAKE_MODULE_LINKER_FLAGS="$link" .
python -m pytest -q tests/tiervec/test_api.py tests/tiervec/core tests/tiervec/vector_files tests/tiervec/cli/test_doctor_command.py \
  tests/rdma/test_native_tiers.py tests/integration/test_readme.py
