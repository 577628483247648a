#!/usr/bin/env bash
# Runs the tests that need devices this machine lacks, in a QEMU guest with Debian's own kernel on this file system: soft
# RoCE (real RDMA verbs over a dummy network device), a NUMA node with memory and no CPU, as CXL memory appears, and a real
# /dev/dax0.0. One boot for all of it; what the guest writes is gone afterwards.
#
# Where QEMU or the kernel is missing it says so in one line and succeeds; with TIERVEC_GUEST=required it fails.
#   TIERVEC_GUEST_TIMEOUT  seconds after which a guest is ended, 900 by default
#   TIERVEC_GUEST_KERNEL   a kernel image; by default the newest /boot/vmlinuz-* that has soft RoCE
set -euo pipefail
cd "$(dirname "$0")/../.."
binaries=${1:?usage: tests/guest/run.sh FOLDER_OF_THE_CXX_TESTS}

not_run() {
  echo "guest: not run, $1"
  [ "${TIERVEC_GUEST:-}" != required ]
  exit
}

soft_roce_kernel() {  # the newest kernel of this machine with the modules that the tests need
  local kernel version
  for kernel in $(ls -v -r /boot/vmlinuz-* 2>/dev/null); do
    version=${kernel#/boot/vmlinuz-}
    if [ -e "/lib/modules/$version/kernel/drivers/infiniband/sw/rxe/rdma_rxe.ko" ]; then
      echo "$kernel"
      return
    fi
  done
}

export PATH="/usr/sbin:/sbin:/bin:$PWD/.venv/bin:$PATH"
[ "${TIERVEC_GUEST:-}" != off ] || not_run "TIERVEC_GUEST=off"
[ "$(uname -m)" = x86_64 ] || not_run "it needs an x86-64 machine"
kernel=${TIERVEC_GUEST_KERNEL:-$(soft_roce_kernel)}
[ -n "$kernel" ] || not_run "no kernel with soft RoCE in /boot: apt-get install linux-image-amd64"
for tool in qemu-system-x86_64:qemu-system-x86 busybox:busybox-static modprobe:kmod ip:iproute2 rdma:iproute2 \
            ndctl:ndctl setpriv:util-linux; do
  command -v "${tool%%:*}" >/dev/null || not_run "${tool%%:*} not found: apt-get install ${tool##*:}"
done
command -v vng >/dev/null || not_run "vng not found: pip install virtme-ng"
# The guest takes 3 GiB of this machine's memory.
available_kib=$(awk '/^MemAvailable/ { print $2 }' /proc/meminfo)
[ "$available_kib" -gt $((4 * 1024 * 1024)) ] || not_run "it needs 4 GiB of free memory, there are $((available_kib / 1024)) MiB"

work=$PWD/build/guest
mkdir -p "$work/data"
.venv/bin/python tests/guest/make_indexes.py "$work/data"

# vng does not pass the environment on.
cat >"$work/session.sh" <<SESSION
#!/bin/bash
export PATH='$PATH' HOME=/root LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
export TIERVEC_GUEST_DATA='$work/data'
cd '$PWD' && exec tests/guest/in_guest.sh '$binaries'
SESSION
chmod +x "$work/session.sh"

# 3 GiB: 2 for the CPUs, of which 512 MiB become /dev/dax0.0, and 1 on a node of its own.
guest=(vng --run "$kernel" --user root --cpus 2 --memory 3G --numa 2G,cpus=0-1 --numa 1G --append "memmap=512M!1024M"
       --exec "$work/session.sh")
[ -w /dev/kvm ] || guest+=(--disable-kvm)  # software emulation: slower, and the same tests

echo "guest: booting $kernel"
status=0
# A pipe: the guest's kernel and its tests write to the same console. `timeout` ends the whole group of processes.
timeout --kill-after=10 "${TIERVEC_GUEST_TIMEOUT:-900}" "${guest[@]}" </dev/null 2>&1 | cat || status=$?
case $status in
  0) echo "guest: passed" ;;
  124 | 137) echo "guest: FAILED, ended after ${TIERVEC_GUEST_TIMEOUT:-900} s" ;;
  *) echo "guest: FAILED with status $status" ;;
esac
exit "$status"
