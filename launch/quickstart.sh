#!/bin/bash
# Sets this machine up, builds, and trains a small mixture-of-experts model on real text.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'USAGE'
Usage: launch/quickstart.sh [--data DIR] [--tiny] [--set path=value]... [--help]

Installs what is missing, builds, and trains with four ranks under mpirun; about five minutes of training on two cores.
--data DIR   train on the files of DIR, each one document (default: the *.py files of the Python standard library)
--tiny       a run of under a minute (configs/runs/tiny.textproto)
--set        handed to the training: any field of the run

Exit code: that of the first step that failed; 0 when the model is trained and saved.
USAGE
}

run=quickstart
data=
settings=()
while [ $# -gt 0 ]; do
  case $1 in
    --data) data=${2:?--data needs a folder} && shift ;;
    --tiny) run=tiny ;;
    --set) settings+=(--set "${2:?--set needs path=value}") && shift ;;
    --help | -h) usage && exit 0 ;;
    *)
      printf "quickstart: unknown argument '%s'\n" "$1" >&2
      usage >&2
      exit 2
      ;;
  esac
  shift
done
[ -z "$data" ] || [ -d "$data" ] || {
  printf "quickstart: --data is '%s', which is not a folder\n" "$data" >&2
  exit 4
}

. launch/phases.sh
phase set-up launch/setup.sh
unset BALLAST_WHEELS # read by the set-up alone
phase build launch/build.sh cpu

if [ -n "$data" ]; then
  source=(--set "data.text_files.folder=\"$(realpath "$data")\"" --set 'data.text_files.glob="**/*"')
else
  library=$(/usr/bin/python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
  source=(--set "data.text_files.folder=\"$library\"" --set 'data.text_files.glob="**/*.py"')
fi
ranks=4
cores=$(nproc)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores > ranks ? cores / ranks : 1))}
phase training launch/mpirun.sh -n "$ranks" build/cpu/ballast train "configs/runs/$run.textproto" "${source[@]}" "${settings[@]}"
