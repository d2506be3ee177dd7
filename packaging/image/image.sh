#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds the container images of agent and commit service, from static programs:
#
#   packaging/image/image.sh VERSION PROGRAMS DIRECTORY
#
# PROGRAMS is where the static programs lie; DIRECTORY/bidlake-NAME-VERSION.tar are the images
# then, as oci-archives (skopeo copy, podman load, ctr import read them), and
# DIRECTORY/digests their manifests' digests. The same programs and authorities give the same
# bytes: the date of the last commit is the date of all (SOURCE_DATE_EPOCH, if it is set).
# Nothing is fetched, nothing is left in the machine's own image store.
set -eu
version=$1
programs=$2
directory=$3
mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
programs=$(cd "$programs" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."

[ "$(id -u)" -eq 0 ] || {
    echo "image: only root can give files of an image their owners" >&2
    exit 1
}
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGES.md)
fi
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
log=$directory/build.log
: >"$log"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export XDG_RUNTIME_DIR="$work/xdg"
mkdir -m 700 "$XDG_RUNTIME_DIR"
buildah_own() {
    buildah --root "$work/store" --runroot "$work/run" --storage-driver vfs "$@"
}

# The authorities that Debian ships, not those that this machine was told to trust.
authorities() {
    for file in /usr/share/ca-certificates/mozilla/*.crt; do
        cat "$file"
        echo
    done
}

# What is linked in has terms of its own, and those want to be passed on.
terms() {
    install -m 644 -D LICENSE "$1/bidlake/copyright"
    for package in ca-certificates libc6-dev libcurl4-openssl-dev libexpat1-dev libjansson-dev \
        liblmdb-dev libmbedtls-dev libsqlite3-dev libxxhash-dev libyaml-dev libzstd-dev \
        zlib1g-dev; do
        install -m 644 -D "/usr/share/doc/$package/copyright" "$1/$package/copyright"
    done
}

# NAME: what the image holds.
lay_out() {
    root=$work/$1/root
    terms "$root/usr/share/doc"
    mkdir -p "$root/etc/ssl/certs" "$root/etc/bidlake" "$root/usr/bin" "$root/var/lib" \
        "$root/run" "$work/$1/state"
    install -m 755 "$programs/bidlake-$1" "$root/usr/bin"
    install -m 644 "$here/$1.yaml" "$root/etc/bidlake"
    authorities >"$root/etc/ssl/certs/ca-certificates.crt"
    echo 'bidlake:x:65532:65532::/var/lib/bidlake:/nonexistent' >"$root/etc/passwd"
    echo 'bidlake:x:65532:' >"$root/etc/group"
    printf 'passwd: files\ngroup: files\nhosts: files dns\n' >"$root/etc/nsswitch.conf"
    find "$work/$1" -type d -exec chmod 755 {} +
    chmod 644 "$root"/etc/passwd "$root"/etc/group "$root"/etc/nsswitch.conf "$root"/etc/ssl/certs/*
}

# NAME TITLE
build() {
    lay_out "$1"
    label=org.opencontainers.image
    buildah_own bud --isolation chroot --format oci --timestamp "$SOURCE_DATE_EPOCH" \
        --label "$label.title=bidlake-$1" --label "$label.description=$2" \
        --label "$label.version=$version" --label "$label.revision=$revision" \
        --label "$label.licenses=Apache-2.0" \
        -t "localhost/bidlake-$1:$version" -f "$here/$1.Containerfile" "$work/$1"
    buildah_own push --format oci "localhost/bidlake-$1:$version" \
        "oci:$work/$1/oci:localhost/bidlake-$1:$version"
    tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
        --format=ustar -C "$work/$1/oci" -cf "$directory/bidlake-$1-$version.tar.tmp" .
    mv "$directory/bidlake-$1-$version.tar.tmp" "$directory/bidlake-$1-$version.tar"
}

rm -f "$directory"/*.tar "$directory/digests"
umask 022
for name in agent commit; do
    case $name in
    agent) title="takes an ad server's events and delivers them to Iceberg tables" ;;
    commit) title="registers what bidlake agents delivered in Iceberg tables" ;;
    esac
    build "$name" "$title" >>"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        exit 1
    }
    digest=$(sed -E 's/.*"digest":"(sha256:[0-9a-f]+)".*/\1/' "$work/$name/oci/index.json")
    echo "bidlake-$name:$version $digest" >>"$directory/digests.tmp"
done
mv "$directory/digests.tmp" "$directory/digests"
cat "$directory/digests"
