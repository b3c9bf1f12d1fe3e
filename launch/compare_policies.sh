#!/bin/bash
# Measures this machine, then runs one batch as real training steps under several policies, in turn.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'USAGE'
Usage: launch/compare_policies.sh [--ranks N | --slow-link RATE] [--policies A,B,...] [--lengths FILE] [--json] [--set path=value]... [--help]

--ranks N     default 2; OMP_NUM_THREADS threads each, default 1
--slow-link   two hosts of one rank with a link of that rate (200mbit); 2000 documents of 64 to 512 tokens; needs root
--policies    default dp_balanced,te_cp,ballast
--lengths     one length per line, or a distribution of configs/workloads; default one document of 16384 tokens and 200 short ones
--json        the measurements as two lines of JSON
--set         handed to both commands: any field of configs/runs/one_long_document.textproto (short_documents with a slow link)
USAGE
}

ranks=
policies=dp_balanced,te_cp,ballast
lengths=
rate=
options=()
while [ $# -gt 0 ]; do
  case $1 in
    --ranks) ranks=${2:?--ranks needs a number} && shift ;;
    --slow-link) rate=${2:?--slow-link needs a rate} && shift ;;
    --policies) policies=${2:?--policies needs names} && shift ;;
    --lengths) lengths=${2:?--lengths needs a file} && shift ;;
    --json) options+=(--json) ;;
    --set) options+=(--set "${2:?--set needs path=value}") && shift ;;
    --help | -h) usage && exit 0 ;;
    *)
      printf "compare_policies: unknown argument '%s'\n" "$1" >&2
      usage >&2
      exit 2
      ;;
  esac
  shift
done

if [ -n "$ranks" ] && [ -n "$rate" ]; then
  echo "compare_policies: --ranks $ranks with --slow-link $rate: a slow link joins two hosts of one rank; leave out --ranks" >&2
  exit 2
fi
ranks=${ranks:-2}

cluster=$(mktemp --suffix .textproto)
trap 'rm -f "$cluster"' EXIT
if [ -n "$rate" ]; then
  example=short_documents
  ballast() { launch/slow_link.sh --rate "$rate" build/cpu/ballast "$@"; }
else
  example=one_long_document
  options+=(--set "cluster.uniform.node.num_ranks=$ranks")
  ballast() { launch/mpirun.sh -n "$ranks" build/cpu/ballast "$@"; }
fi
run=configs/runs/$example.textproto
ballast bench calibrate "$run" "${options[@]}" --out "$cluster"
ballast bench policies "$run" "${options[@]}" --cluster "$cluster" --policy "$policies" --lengths "${lengths:-configs/workloads/$example.csv}"
