#!/bin/bash
# Sets this machine up, builds and runs the tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'USAGE'
Usage: launch/test.sh [--all] [--preset NAME] [--help]

Installs what is missing, builds, and runs the tests with the labels unit and mpi. Tests that need a GPU skip themselves.
--all           the slow ones too
--preset NAME   cpu (default), asan, tsan or gpu

Exit code: that of the first step that failed; 0 when every test passed.
USAGE
}

preset=cpu
selection=(--label-exclude '^slow$')
while [ $# -gt 0 ]; do
  case $1 in
    --all) selection=() ;;
    --preset) preset=${2:?--preset needs a name} && shift ;;
    --help | -h) usage && exit 0 ;;
    *)
      printf "test: unknown argument '%s'\n" "$1" >&2
      usage >&2
      exit 2
      ;;
  esac
  shift
done

. launch/phases.sh
phase set-up launch/setup.sh
unset BALLAST_WHEELS # read by the set-up alone
phase build launch/build.sh "$preset"
phase tests ctest --test-dir "build/$preset" --output-on-failure --no-tests=error -j "$(nproc)" "${selection[@]}"
