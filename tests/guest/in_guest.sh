#!/bin/bash
# Runs as root inside the guest that run.sh booted: makes the devices, then runs the tests that need them.
set -uo pipefail
binaries=$1
python=$2  # .tar of what Python reads, .txt of what belongs into the place of the host's
failures=0

step() {  # step NAME COMMAND...: runs it, notes a failure, goes on
  local name=$1 started=$SECONDS
  shift
  echo "--- guest: $name"
  "$@" || {
    echo "guest: $name FAILED with status $?"
    failures=$((failures + 1))
  }
  echo "--- guest: $name took $((SECONDS - started)) s"
}

python_in_memory() {
  local path memory=/run/tiervec
  mkdir "$memory" && mount -t tmpfs -o size=512M tmpfs "$memory" && tar -x -f "$python.tar" -C "$memory" || return
  while read -r path; do
    mount --bind "$memory$path" "$path" || return
  done <"$python.txt"
}

rdma_device() {
  modprobe -a rdma_rxe ib_uverbs rdma_ucm &&
    ip link set lo up && ip link add tiervec0 type dummy && ip addr add 10.0.0.1/24 dev tiervec0 &&
    ip link set tiervec0 up && rdma link add rxe0 type rxe netdev tiervec0 && rdma link show
}

dax_device() {
  modprobe -a nd_pmem nd_e820 device_dax && ndctl create-namespace -f -e namespace0.0 -m devdax >/dev/null && ls -l /dev/dax0.0
}

conformance() {  # on the devices only: the other tiers are tested where the guest runs
  "$binaries/conformance_tests" --gtest_brief=1 --gtest_filter='*/rdma:*/numa_given:*/dax_given'
}

native() {  # the suites of rdma/ that look for a device, and those that shape traffic
  modprobe -a veth sch_netem || return
  "$binaries/rdma_tests" --gtest_brief=1 --gtest_filter='Rdma*:SilentNode.*:Numa*:Dax*:CacheLines.*:Partition.*'
}

echo "guest: up after $(cut -d . -f 1 /proc/uptime) s"
step rdma rdma_device
step dax dax_device
ulimit -l unlimited  # memory registered with the RDMA device
export TIERVEC_TEST_RDMA=10.0.0.1 TIERVEC_TEST_NUMA_NODE=1 TIERVEC_TEST_DAX=/dev/dax0.0
step memory python_in_memory
# Only the files that have such tests: collecting all of them imports what the guest would take minutes to load.
mapfile -t with_hardware < <(grep -r -l --include='test_*.py' 'mark\.hardware' tests)
step python .venv/bin/python -m pytest -v -p no:cacheprovider --durations=5 --hardware -m hardware "${with_hardware[@]}"
if [ -x "$binaries/rdma_tests" ]; then
  step conformance conformance
  step native native
else
  echo "C++ tests: not built"
fi
echo "guest: $failures of its steps failed"
exit "$((failures > 0))"
