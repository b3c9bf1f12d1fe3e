# shellcheck shell=bash
# Sourced by the scripts beside it: runs named phases and tells at the end how long each took.
phase_lines=()

say() { printf '== %s\n' "$*"; }

# phase NAME COMMAND...: runs the command; its exit code is the function's.
phase() {
  local name=$1 begin=$SECONDS code=0 seconds
  shift
  say "$name: $*"
  "$@" || code=$?
  seconds=$((SECONDS - begin))
  phase_lines+=("$(printf '%-14s %3d min %02d s   exit %d' "$name" $((seconds / 60)) $((seconds % 60)) "$code")")
  return "$code"
}

# Prints the table when the script ends, also when a phase failed.
print_phases() {
  local code=$?
  say "phases of $(basename "$0")"
  printf '   %s\n' "${phase_lines[@]}" "$(printf '%-14s %3d min %02d s   exit %d' total $((SECONDS / 60)) $((SECONDS % 60)) "$code")"
}
trap print_phases EXIT
