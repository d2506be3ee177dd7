# SPDX-License-Identifier: Apache-2.0
#
# Sourced by the scripts of this folder: each is a foreign program for the tests of `make interop`.
#
#   NAME.sh install          gets it, at the version that the tests know; quick when it is there
#   NAME.sh run ARGUMENTS    runs it in the foreground, on loopback; whoever starts it ends it
#
# What is fetched lies in BIDLAKE_PEERS (.cache/peers) and may be thrown away at any time.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
peers=${BIDLAKE_PEERS:-$root/.cache/peers}
mkdir -p "$peers"
peers=$(cd "$peers" && pwd)

fail() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

need() {
    command -v "$1" >/dev/null 2>&1 || fail "no $1 on this machine: $2"
}

# TEXT: is what lies in $place of these pins? They are written last, so that an installation that
# broke off is done again.
is_installed() {
    [ -f "$place/pins" ] && [ "$(cat "$place/pins")" = "$1" ]
}

mark_installed() {
    printf '%s\n' "$1" >"$place/pins"
}

# One installation at a time.
lock() {
    mkdir -p "$place"
    exec 9>"$peers/$(basename "$place").lock"
    if command -v flock >/dev/null 2>&1; then
        flock 9
    fi
}

main() {
    verb=${1:-}
    [ $# -eq 0 ] || shift
    case $verb in
    install | run) "do_$verb" "$@" ;;
    *) fail "usage: $0 install | run ARGUMENTS" ;;
    esac
}
