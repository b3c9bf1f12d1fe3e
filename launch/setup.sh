#!/bin/bash
# Installs what Ballast is built from, where it is missing. No GPU is needed.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() {
  cat <<USAGE
Usage: launch/setup.sh [--no-packages] [--help]

Installs what is missing and nothing else; a second run takes seconds.
  1. Debian 12 packages, through apt-get, as root or with sudo. The distribution pins their versions.
  2. LibTorch from pinned wheels, through pip, into the project's own .venv: ${wheels[*]}

--no-packages   leave step 1 to you (another distribution, or an administrator did it)

Environment: proxy and index settings of apt and pip are honoured.
  BALLAST_WHEELS=DIR   take the wheels from a folder and ask no index

Exit codes: 0 ready; 2 wrong usage; 3 this machine needs something that the script may not or cannot install.
USAGE
}

packages=(
  g++ cmake ninja-build ccache pkg-config git ca-certificates  # build
  python3 python3-venv                                         # to unpack the wheels; not used at run time
  openmpi-bin libopenmpi-dev                                   # mpirun, the mpi communicator
  protobuf-compiler libprotobuf-dev                            # configuration, manifests
  libcli11-dev libfmt-dev libspdlog-dev nlohmann-json3-dev     # command line, text, logs, JSON
  libxxhash-dev libhwloc-dev                                   # checkpoint hashes, what the host has
  libgtest-dev libgmock-dev librapidcheck-dev libbenchmark-dev # tests and benchmarks
)
# What libtorch_cpu.so needs to load, and no more: the Python side of torch is not used.
wheels=(torch==2.11.0 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85)

say() { printf '   %s\n' "$*"; }
stop() {
  printf 'setup: %s\n' "$@" >&2
  exit 3
}

missing_packages() {
  local package
  for package in "${packages[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || printf '%s\n' "$package"
  done
}

# as_root COMMAND...: sudo drops the proxy settings unless they are named.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
    return
  fi
  local name kept=()
  for name in http_proxy https_proxy ftp_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY APT_CONFIG DEBIAN_FRONTEND; do
    [ -z "${!name:-}" ] || kept+=("$name=${!name}")
  done
  sudo env "${kept[@]}" "$@"
}

install_packages() {
  local missing line
  mapfile -t missing < <(missing_packages)
  if [ ${#missing[@]} = 0 ]; then
    say "packages: all ${#packages[@]} are installed"
    return
  fi
  line="apt-get install --no-install-recommends ${missing[*]}"
  if [ "$(id -u)" != 0 ] && ! sudo -n true 2>/dev/null; then
    if [ ! -t 0 ] || ! command -v sudo >/dev/null; then
      stop "${#missing[@]} packages are missing and this user may not install them. Ask an administrator for:" "  $line"
    fi
    say "sudo may ask for your password"
  fi
  say "packages: installing ${#missing[@]} of ${#packages[@]}: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  as_root apt-get update -q || say "apt-get update failed; trying with the package lists that are here"
  as_root apt-get install -q -y --no-install-recommends "${missing[@]}" ||
    stop "apt-get could not install the packages (see above). By hand, as root:" "  $line"
  mapfile -t missing < <(missing_packages)
  [ ${#missing[@]} = 0 ] || stop "apt-get ended without an error, but these are still missing: ${missing[*]}"
}

# wheel_is_installed NAME==VERSION: pip writes INSTALLER after the last file of a wheel.
wheel_is_installed() {
  local name=${1%%==*} version=${1##*==}
  compgen -G "$root/.venv/lib/python3*/site-packages/${name//-/_}-$version.dist-info/INSTALLER" >/dev/null
}

install_wheels() {
  local wheel missing=() source=()
  for wheel in "${wheels[@]}"; do
    wheel_is_installed "$wheel" || missing+=("$wheel")
  done
  if [ ${#missing[@]} = 0 ]; then
    say "wheels: all ${#wheels[@]} are in .venv"
    return
  fi
  if [ -n "${BALLAST_WHEELS:-}" ]; then
    [ -d "$BALLAST_WHEELS" ] || stop "BALLAST_WHEELS is '$BALLAST_WHEELS', which is not a folder"
    source=(--no-index --find-links "$BALLAST_WHEELS")
    say "wheels: installing ${missing[*]} from $BALLAST_WHEELS into .venv"
  else
    say "wheels: installing ${missing[*]} into .venv (about 0.6 GB to fetch, 1.3 GB on disk)"
  fi
  if ! "$root/.venv/bin/python3" -m pip --version >/dev/null 2>&1; then
    /usr/bin/python3 -m venv "$root/.venv" || stop "/usr/bin/python3 -m venv $root/.venv failed (see above)"
  fi
  "$root/.venv/bin/python3" -m pip install --disable-pip-version-check --progress-bar off --no-deps "${source[@]}" \
    "${missing[@]}" ||
    stop "pip could not install the wheels (see above)." \
      "Check pip's index and proxy settings, or fetch them elsewhere and name their folder:" \
      "  pip download --no-deps -d DIR ${wheels[*]}" \
      "  BALLAST_WHEELS=DIR launch/setup.sh"
}

with_packages=1
for argument in "$@"; do
  case $argument in
    --no-packages) with_packages=0 ;;
    --help | -h) usage && exit 0 ;;
    *)
      printf "setup: unknown argument '%s'\n" "$argument" >&2
      usage >&2
      exit 2
      ;;
  esac
done

distribution=$(. /etc/os-release && echo "${PRETTY_NAME:-unknown}")
if [ $with_packages = 1 ]; then
  (. /etc/os-release && [ "${ID:-}" = debian ] && [ "${VERSION_ID:-}" = 12 ]) ||
    stop "this is $distribution; the package versions are those of Debian 12." \
      "Install the equivalents of: ${packages[*]}" "then run: launch/setup.sh --no-packages"
  install_packages
fi
install_wheels
say "ready: $distribution, $(g++ -dumpfullversion | sed 's/^/g++ /'), $(cmake --version | head -1), $(mpirun --version | head -1)," \
  "$(protoc --version), ${wheels[0]}; ${SECONDS} s"
