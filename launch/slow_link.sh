#!/bin/bash
# Runs a command as two ranks, each on a host of its own, with a slow link between them. The hosts are network namespaces of this
# machine, the link a virtual cable whose ends send no faster than told. Needs root; leaves nothing behind.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
  cat <<'USAGE'
Usage: launch/slow_link.sh [--rate RATE] COMMAND...

--rate     of each direction, as tc writes it (100mbit, 1gbit); default 200mbit

Needs root, and the programs ip and tc. Both hosts share the cores, memory and files of this machine.
USAGE
}

enter() { # HOST COMMAND...: what ssh would do, for Open MPI's daemon.
  local host=$1 && shift
  exec ip netns exec "$host.$SLOW_LINK" unshare --uts bash -c "hostname $host && $*"
}

rate=200mbit
while [ $# -gt 0 ]; do
  case $1 in
    --enter) shift && enter "$@" ;;
    --rate) rate=${2:?--rate needs a rate} && shift ;;
    --help | -h) usage && exit 0 ;;
    -*) printf "slow_link: unknown argument '%s'\n" "$1" >&2 && usage >&2 && exit 2 ;;
    *) break ;;
  esac
  shift
done
[ $# -gt 0 ] || { usage >&2 && exit 2; }
[ "$(id -u)" = 0 ] || { echo "slow_link: network namespaces need root" >&2 && exit 3; }
for program in ip tc unshare; do
  command -v "$program" >/dev/null || { echo "slow_link: needs $program (packages iproute2, util-linux)" >&2 && exit 3; }
done

export SLOW_LINK=$$
cleanup() {
  for host in h0 h1; do
    pids=$(ip netns pids "$host.$SLOW_LINK" 2>/dev/null || true)
    [ -z "$pids" ] || kill -9 $pids 2>/dev/null || true
    ip netns del "$host.$SLOW_LINK" 2>/dev/null || true # the cable goes with it
  done
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
for host in h0 h1; do ip netns add "$host.$SLOW_LINK"; done
ip link add name wire netns "h0.$SLOW_LINK" type veth peer name wire netns "h1.$SLOW_LINK"
for host in h0 h1; do
  in_host=(-n "$host.$SLOW_LINK")
  ip "${in_host[@]}" address add "10.77.0.1${host#h}/24" dev wire
  ip "${in_host[@]}" link set lo up
  ip "${in_host[@]}" link set wire up
  # A burst passes unlimited, so it is small; at more than a few hundred Mbit/s cutting packets that finely costs too much.
  tc "${in_host[@]}" qdisc add dev wire root tbf rate "$rate" burst 32kb latency 50ms
done

# MPI has the link alone. Its daemon on the other host comes through --enter.
export OMPI_MCA_btl=self,tcp OMPI_MCA_btl_tcp_if_include=wire OMPI_MCA_oob_tcp_if_include=wire OMPI_MCA_pml=ob1
export OMPI_MCA_plm_rsh_agent="$here/slow_link.sh --enter" OMPI_MCA_plm=rsh
ip netns exec "h0.$SLOW_LINK" unshare --uts bash -c 'hostname h0 && exec "$@"' slow_link \
  "$here/mpirun.sh" --host h0:1,h1:1 -n 2 "$@"
