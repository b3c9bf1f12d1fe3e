#!/bin/bash
# Configures and builds one preset. Usage: launch/build.sh [cpu|asan|tsan|gpu]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
preset=${1:-cpu}

# A file that includes torch needs up to 2 GiB to compile.
jobs=$(nproc)
by_memory=$(awk '/^MemAvailable:/ {print int($2 / 2097152)}' /proc/meminfo)
[ "$by_memory" -ge "$jobs" ] || jobs=$((by_memory > 1 ? by_memory : 1))

# Objects of another clone of the same sources are found in the cache.
export CCACHE_BASEDIR=${CCACHE_BASEDIR:-$PWD}
cmake --preset "$preset"
cmake --build --preset "$preset" -j "$jobs"
