#!/usr/bin/env bash
# The machines that people have: g++ 12, a current g++, clang, a static libstdc++, and every Python that is supported. A leg
# prints passed, FAILED, or skipped with the reason; with PORTABILITY=required a skipped leg fails.
#
#   run.sh [LEG...]      all without names: gcc12 gcc-current clang static python3.10 python3.13 python3.14
set -euo pipefail
cd "$(dirname "$0")/../.."
base=build/portability
mkdir -p "$base"
failed=0

first_of() {  # the first of these commands that exists
  local candidate
  for candidate; do command -v "$candidate" && return; done
  return 1
}

report() {  # report LEG RESULT WHAT
  printf 'portability: %-12s %-8s %s\n' "$@"
  if [ "$2" = FAILED ] || { [ "$2" = skipped ] && [ "${PORTABILITY:-}" = required ]; }; then failed=1; fi
}

leg() {  # leg NAME WHAT COMMAND...
  local name=$1 what=$2 log=$base/$1.log started=$SECONDS
  shift 2
  if "$@" >"$log" 2>&1; then
    report "$name" passed "$what, $((SECONDS - started)) s, $(grep -Eo '[0-9]+ passed' "$log" | tail -n 1) in Python"
  else
    report "$name" FAILED "$what, see $log"
    tail -n 30 "$log"
  fi
}

described() { "$1" --version | head -n 1; }

python_named() {  # python3.13, also those of pyenv that are on no path
  local found
  for found in "$(command -v "$1" || true)" "$HOME"/.pyenv/versions/"${1#python}".*/bin/python; do
    if [ -x "$found" ] && "$found" -c 'import venv, sysconfig, pathlib, sys
sys.exit(not (pathlib.Path(sysconfig.get_path("include")) / "Python.h").exists())' 2>/dev/null; then
      echo "$found"
      return
    fi
  done
  return 1
}

default_python=${PYTHON:-python3}

# As distributions compile: Ubuntu's own flags warn where Debian's are silent.
distribution_flags="-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2"

run_gcc12() {
  local cxx
  cxx=$(first_of g++-12) || { report gcc12 skipped "no g++-12: apt-get install g++-12"; return; }
  leg gcc12 "$(described "$cxx")" tests/portability/leg.sh gcc12 "$cxx" "$default_python" "$distribution_flags"
}

run_clang() {
  local cxx
  cxx=$(first_of clang++-{16..22}) || { report clang skipped "no clang++-16 or newer: apt-get install clang-16"; return; }
  leg clang "$(described "$cxx")" tests/portability/leg.sh clang "$cxx" "$default_python"
}

# With g++ 12 and its leg's flags where there is one: then everything is in the compiler cache, and linking is left.
run_static() {
  local cxx
  cxx=$(first_of g++-12 || cmake/choose_compiler.sh) || { report static skipped "no g++"; return; }
  leg static "$(described "$cxx") -static-libstdc++" \
    tests/portability/leg.sh static "$cxx" "$default_python" "$distribution_flags" -static-libstdc++
}

# debian_leg NAME SUITE WHY LEG.SH'S ARGUMENTS...: in another release of Debian. WHY says what this machine itself lacks.
debian_leg() {
  local name=$1 suite=$2 why=$3 log=$base/$1.log status=0
  shift 3
  if [ "$(id -u)" != 0 ]; then report "$name" skipped "$why, and only root can set up Debian $suite"; return; fi
  if ! command -v debootstrap >/dev/null; then
    report "$name" skipped "$why, and no debootstrap for Debian $suite: apt-get install debootstrap"
    return
  fi
  if ! unshare --mount true 2>/dev/null; then report "$name" skipped "$why, and unshare --mount is not allowed here"; return; fi
  unshare --mount tests/portability/in_debian.sh "$suite" true >"$log" 2>&1 || status=$?
  case $status in
    0) leg "$name" "Debian $suite" unshare --mount tests/portability/in_debian.sh "$suite" tests/portability/leg.sh "$name" "$@" ;;
    75) report "$name" skipped "$why, and debootstrap of Debian $suite failed: $(tail -n 1 "$log")" ;;
    *) report "$name" FAILED "Debian $suite cannot be entered: $(tail -n 1 "$log")" ;;
  esac
}

run_gcc-current() {
  local cxx
  if cxx=$(first_of g++-1{9,8,7,6,5,4}); then
    leg gcc-current "$(described "$cxx")" tests/portability/leg.sh gcc-current "$cxx" "$default_python"
  else
    debian_leg gcc-current trixie "no g++-14 or newer" g++ python3
  fi
}

run_python() {
  local found
  # The legs of the compilers look at warnings. Here everything but the bindings comes from the compiler cache, as built for
  # build/editable; and forky's g++ moves.
  local -x WERROR=OFF
  if found=$(python_named "$1"); then
    leg "$1" "$("$found" --version)" tests/portability/leg.sh "$1" "" "$found"
    return
  fi
  case $1 in
    python3.13) debian_leg "$1" trixie "no $1 with its headers" "" "$1" ;;
    python3.14) debian_leg "$1" forky "no $1 with its headers" "" "$1" ;;
    *) report "$1" skipped "no $1 with its headers, neither on the path nor of pyenv" ;;
  esac
}

[ "$#" != 0 ] || set -- gcc12 gcc-current clang static python3.10 python3.13 python3.14
for name; do
  case $name in
    python3.*) run_python "$name" ;;
    gcc12 | gcc-current | clang | static) "run_$name" ;;
    *) echo "portability: there is no leg '$name'" >&2; exit 2 ;;
  esac
done
exit "$failed"
