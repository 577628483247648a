#!/usr/bin/env bash
# Runs a command of this tree in Debian trixie: in_trixie.sh FOLDER COMMAND... Fills the folder first, when it is empty. Run it
# in a mount name space of its own (unshare --mount), so that nothing stays mounted.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$1
shift
packages=g++,ccache,libgtest-dev,python3-dev,python3-venv,ninja-build,cmake,make,ca-certificates
if [ ! -x "$root/usr/bin/g++" ]; then
  debootstrap --variant=minbase --include="$packages" trixie "$root" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}"
fi
mkdir -p "$root/tree" "$root/ccache"
cp /etc/resolv.conf /etc/hosts "$root/etc/"
if [ -d /usr/local/share/ca-certificates ]; then  # a company's own
  cp -r /usr/local/share/ca-certificates "$root/usr/local/share/" && chroot "$root" update-ca-certificates >/dev/null 2>&1
fi
mount --bind "$PWD" "$root/tree"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
exec env -i PATH=/usr/bin:/bin HOME=/root CCACHE_DIR=/ccache JOBS="${JOBS:-2}" \
  ${PIP_INDEX_URL:+PIP_INDEX_URL="$PIP_INDEX_URL"} ${HTTPS_PROXY:+HTTPS_PROXY="$HTTPS_PROXY"} \
  chroot "$root" bash -c 'cd /tree && exec "$@"' bash "$@"
