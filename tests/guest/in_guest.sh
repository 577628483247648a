#!/bin/bash
# Runs as root inside the guest that run.sh booted: makes the devices, then runs the tests that need them.
set -uo pipefail
binaries=$1
failures=0

step() {  # step NAME COMMAND...: runs it, notes a failure, goes on
  local name=$1 started=$SECONDS
  shift
  echo "--- guest: $name"
  "$@" || {
    failures=$((failures + 1))
    echo "guest: $name FAILED with status $?"
  }
  echo "--- guest: $name took $((SECONDS - started)) s"
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
  local binary status=0
  for binary in "$binaries"/conformance_*_test; do
    echo "$(basename "$binary"):"
    "$binary" --gtest_brief=1 --gtest_filter='*/rdma:*/numa_given:*/dax_given' || status=1
  done
  return "$status"
}

native() {
  local binary status=0
  for binary in rdma_rdma_tier_test rdma_silent_node_test rdma_numa_test rdma_dax_test; do
    [ ! -x "$binaries/$binary" ] || "$binaries/$binary" --gtest_brief=1 || status=1
  done
  return "$status"
}

step rdma rdma_device
step dax dax_device
ulimit -l unlimited  # memory registered with the RDMA device
export TIERVEC_TEST_RDMA=10.0.0.1 TIERVEC_TEST_NUMA_NODE=1 TIERVEC_TEST_DAX=/dev/dax0.0
step conformance conformance
step native native
step python .venv/bin/python -m pytest -p no:cacheprovider --hardware -m hardware tests
echo "guest: $failures of its steps failed"
exit "$((failures > 0))"
