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
# What the machine has not, or too old, by packaging/install-dependencies.sh interop.
PATH=$root/.cache/tools/bin:$PATH

fail() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

need() {
    command -v "$1" >/dev/null 2>&1 || fail "no $1: run packaging/install-dependencies.sh interop"
}

# TEXT: is what lies in $place of these pins? They are written last, so that an installation that
# broke off is done again.
is_installed() {
    [ -f "$place/pins" ] && [ "$(cat "$place/pins")" = "$1" ]
}

mark_installed() {
    printf '%s\n' "$1" >"$place/pins"
}

# GROUP:ARTIFACT:VERSION[:TYPE[:CLASSIFIER]]: that one file from Maven's repository, into $place.
maven_copy() {
    need mvn
    mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy -Dartifact="$1" \
        -DoutputDirectory="$place" -Dmdep.useBaseVersion=true
}

# PIN...: Python packages for the interpreter that the tests run by, into $place/python.
python_copy() {
    "$root/.cache/venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps \
        --target "$place/python" "$@"
}

# MAJOR: a java of that age or later. JAVA21 names one where no search finds it.
find_java() {
    for java in "${JAVA21:-}" java-new /usr/lib/jvm/*-2[1-9]*/bin/java java; do
        [ -n "$java" ] && said=$("$java" -version 2>&1) || continue
        major=$(echo "$said" | sed -n 's/.* version "\([0-9]*\).*/\1/p')
        if [ "${major:-0}" -ge "$1" ]; then
            echo "$java"
            return 0
        fi
    done
    fail "no Java of $1 or later: run packaging/install-dependencies.sh interop, or set JAVA21"
}

# One installation at a time.
lock() {
    mkdir -p "$place"
    exec 9>"$peers/$(basename "$place").lock"
    if command -v flock >/dev/null 2>&1; then
        flock 9
    fi
}

# PIN: the whole installation of a program that is one Go package, into $place/bin.
go_install() {
    lock
    is_installed "$1" && return 0
    need go
    rm -rf "$place/bin"
    mkdir -p "$place/bin"
    GOBIN=$place/bin CGO_ENABLED=0 go install -trimpath -ldflags='-s -w' "$1"
    mark_installed "$1"
}

main() {
    verb=${1:-}
    [ $# -eq 0 ] || shift
    case $verb in
    install | run) "do_$verb" "$@" ;;
    *) fail "usage: $0 install | run ARGUMENTS" ;;
    esac
}
