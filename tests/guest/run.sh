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
# The guest takes 3 GiB of this machine's memory.
available_kib=$(awk '/^MemAvailable/ { print $2 }' /proc/meminfo)
[ "$available_kib" -gt $((4 * 1024 * 1024)) ] || not_run "it needs 4 GiB of free memory, there are $((available_kib / 1024)) MiB"

work=$PWD/build/guest
mkdir -p "$work/data"
.venv/bin/python tests/guest/make_indexes.py "$work/data"
.venv/bin/python tests/guest/pack.py "$work/python.tar" tiervec rdma graph_index cluster_index tests >"$work/python.txt"

# The first files of the guest: what it takes to see this machine's. `cache=loose` keeps what was read; nothing changes it.
first=$work/initramfs
rm -rf "$first" && mkdir -p "$first/root"
cp "$(command -v busybox)" "$first/busybox"
modules=$(for name in virtio_pci 9pnet_virtio 9p; do
  modprobe --set-version "${kernel#/boot/vmlinuz-}" --show-depends "$name"
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }')
xargs cp -t "$first" <<<"$modules"
cat >"$first/init" <<INIT
#!/busybox sh
for module in $(xargs -n 1 basename <<<"$modules" | paste -sd ' '); do
  /busybox insmod /\$module
done
/busybox mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose machine /root
for system in proc:proc sysfs:sys devtmpfs:dev tmpfs:run; do
  /busybox mount -t \${system%:*} none /root/\${system#*:}
done
exec /busybox chroot /root '$work/session.sh'
INIT
chmod +x "$first/init"
(cd "$first" && find . | busybox cpio -o -H newc 2>/dev/null) >"$work/initramfs.cpio"

# Only /run and /dev can be written to in the guest.
cat >"$work/session.sh" <<SESSION
#!/bin/bash
export PATH='$PATH' LANG=C.UTF-8 TERM=dumb PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 OPENBLAS_NUM_THREADS=1
export TMPDIR=/run HOME=/run/home HYPOTHESIS_STORAGE_DIRECTORY=/run/hypothesis TIERVEC_GUEST_DATA='$work/data'
mkdir /run/home && ln -s /proc/self/fd /dev/fd
cd '$PWD' && tests/guest/in_guest.sh '$binaries' '$work/python'
busybox poweroff -f
SESSION
chmod +x "$work/session.sh"

# 3 GiB: 2 for the CPUs, of which 512 MiB become /dev/dax0.0, and 1 on a node of its own.
guest=(qemu-system-x86_64 -machine q35 -cpu max -smp 2 -m 3G -no-reboot -nodefaults -display none -serial stdio
       -object memory-backend-ram,id=near,size=2G -numa node,nodeid=0,cpus=0-1,memdev=near
       -object memory-backend-ram,id=far,size=1G -numa node,nodeid=1,memdev=far
       -fsdev local,id=machine,path=/,security_model=none,readonly=on,multidevs=remap
       -device virtio-9p-pci,fsdev=machine,mount_tag=machine
       -kernel "$kernel" -initrd "$work/initramfs.cpio"
       -append "console=ttyS0 quiet panic=-1 mitigations=off tiervec_guest=1 memmap=512M!1024M")
# A machine may have /dev/kvm without the processor's help: then only kernels made for it boot there.
if [ -w /dev/kvm ] && grep -qwE 'vmx|svm' /proc/cpuinfo; then
  guest+=(-accel kvm)
else
  guest+=(-accel tcg,thread=multi)  # software emulation: slower, and the same tests
fi

echo "guest: booting $kernel"
status=0
timeout --kill-after=10 "${TIERVEC_GUEST_TIMEOUT:-900}" "${guest[@]}" </dev/null 2>&1 | sed -u 's/\r$//' | tee "$work/console.txt" || status=$?
[ "$status" != 0 ] || grep -qx 'guest: 0 of its steps failed' "$work/console.txt" || status=1
case $status in
  0) echo "guest: passed" ;;
  124 | 137) echo "guest: FAILED, ended after ${TIERVEC_GUEST_TIMEOUT:-900} s" ;;
  *) echo "guest: FAILED with status $status" ;;
esac
exit "$status"
