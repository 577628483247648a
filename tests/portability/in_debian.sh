#!/usr/bin/env bash
# Runs a command of this tree in another release of Debian, as root: in_debian.sh SUITE COMMAND...
#
# debootstrap fills the root file system once. It stays in ${XDG_CACHE_HOME:-~/.cache}/tiervec/debian/SUITE for the next clone;
# TIERVEC_DEBIAN_ROOTS names another folder, DEBIAN_MIRROR another mirror. The compiler cache is the caller's. pip is configured as
# outside. Run it in a mount name space of its own (unshare --mount), so that nothing stays mounted.
set -euo pipefail
cd "$(dirname "$0")/../.."
suite=$1
shift
roots=${TIERVEC_DEBIAN_ROOTS:-${XDG_CACHE_HOME:-$HOME/.cache}/tiervec/debian}
root=$roots/$suite
packages=g++,ccache,libgtest-dev,libibverbs-dev,librdmacm-dev,python3-dev,python3-venv,ninja-build,cmake,make,iproute2,ca-certificates
not_filled=75  # the exit status that tells run.sh so

fill() {  # beside the root: what was broken off is not taken for whole
  local script=/usr/share/debootstrap/scripts/$suite
  [ -e "$script" ] || script=${script%/*}/sid  # a release that this machine's debootstrap does not know yet
  rm -rf --one-file-system "$root" "$root.new" &&
    debootstrap --variant=minbase --include="$packages" "$suite" "$root.new" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" "$script" &&
    rm -rf "$root.new"/var/cache/apt/archives/*.deb &&
    echo "$packages" >"$root.new/packages" &&
    mv "$root.new" "$root"
}

mount_same() {  # mount_same PATH: the path in the root is the machine's
  if [ -d "$1" ]; then
    mkdir -p "$root$1"
  else
    mkdir -p "$(dirname "$root$1")" && touch "$root$1"
  fi
  mount --rbind "$1" "$root$1"
}

# pip's configuration, and the indexes, folders and files on this machine that it names. The pages of an index are in its
# simple/ and the packages often beside that.
pip_paths() {
  local -a files=()
  local file
  for file in /etc/pip.conf /etc/xdg/pip/pip.conf "$HOME/.pip/pip.conf" "$HOME/.config/pip/pip.conf" "${PIP_CONFIG_FILE:-}"; do
    if [ -f "$file" ]; then files+=("$file"); fi
  done
  printf '%s\n' "${files[@]}"
  { cat /dev/null "${files[@]}"; env | grep '^PIP_'; } | grep -v '^[[:space:]]*[#;]' | grep -Eo '/[^[:space:]]+' | sed -E 's,^///,/,; s,/simple/?$,,' | sort -u
}

mkdir -p "$roots"
exec 9>"$root.lock"
flock 9  # another clone may be filling it
if [ "$(cat "$root/packages" 2>/dev/null)" != "$packages" ] && ! fill; then exit "$not_filled"; fi
flock -u 9

cache=${CCACHE_DIR:-$(ccache --get-config cache_dir 2>/dev/null || echo "$roots/ccache")}
mkdir -p "$root/tree" "$root/ccache" "$root$HOME" "$cache"
cp /etc/resolv.conf /etc/hosts "$root/etc/"
mount --bind "$PWD" "$root/tree"
mount --bind "$cache" "$root/ccache"
pip_paths | while read -r path; do
  if [ -e "$path" ] && [[ $path != /tree* ]]; then mount_same "$path"; fi
done
for path in /proc /sys /dev /etc/ssl/certs/ca-certificates.crt "$HOME/.cache/pip"; do
  if [ -e "$path" ]; then mount_same "$path"; fi
done
passed=()
while IFS= read -r -d '' variable; do
  if [[ $variable =~ ^(PIP_[A-Z_]+|(HTTPS?|ALL|NO)_PROXY|(https?|all|no)_proxy|SSL_CERT_FILE|REQUESTS_CA_BUNDLE|CCACHE_[A-Z]+|CI)= ]]; then
    passed+=("$variable")
  fi
done < <(env -0)
exec chroot "$root" /usr/bin/env -i "${passed[@]}" PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME="$HOME" CCACHE_DIR=/ccache \
  JOBS="${JOBS:-2}" WERROR="${WERROR:-ON}" bash -c 'cd /tree && exec "$@"' bash "$@"
