#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds the Debian packages from the sources as they lie here, and judges them by lintian:
#
#   packaging/deb.sh VERSION DIRECTORY     the packages are DIRECTORY/*.deb
#
# The sources are copied to DIRECTORY/source, so that nothing but what git tracks (or a
# release holds) comes in. Packages that are newer than all sources are not built anew.
# The same sources give the same bytes, wherever they are built: the date of the last
# commit is the date of all that is packed (SOURCE_DATE_EPOCH, if it is set).
set -eu
version=$1
directory=$2
mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
cd "$(dirname "$0")/.."
source=$directory/source

if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGES.md)
fi
export SOURCE_DATE_EPOCH
unset MAKEFLAGS MAKELEVEL MFLAGS MAKEOVERRIDES # of a make that calls us

list() {
    git ls-files --cached --others --exclude-standard 2>/dev/null | while read -r name; do
        [ ! -f "$name" ] || printf '%s\n' "$name"
    done | grep . || find . -type f ! -path './build/*' ! -path './.cache/*'
}

sum=$(list | LC_ALL=C sort | tr '\n' '\0' | xargs -0 sha256sum | sha256sum)
key="$version $SOURCE_DATE_EPOCH $sum"
if [ -f "$directory/built" ] && [ "$(cat "$directory/built")" = "$key" ]; then
    echo "deb: up to date in $directory"
    exit 0
fi

rm -rf "$source" "$directory/built"
rm -f "$directory"/*.deb "$directory"/*.changes "$directory"/*.buildinfo
mkdir -p "$source"
list | tar -cf - -T - | tar -xf - -C "$source"
cp -r packaging/debian "$source/debian"
cat >"$source/debian/changelog" <<END
bidlake ($version) unstable; urgency=medium

  * See CHANGES.md.

 -- bidlake maintainers <maintainers@bidlake.invalid>  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
END

log=$directory/build.log
if ! (cd "$source" && DEB_BUILD_OPTIONS="nocheck parallel=$(nproc) ${DEB_BUILD_OPTIONS:-}" \
    dpkg-buildpackage --build=binary --unsigned-source --unsigned-changes) >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    echo "deb: the build failed, all of it in $log" >&2
    exit 1
fi
rm -rf "$source"
lintian --allow-root --display-info --pedantic --fail-on error,warning,info "$directory"/*.changes
printf '%s\n' "$key" >"$directory/built"
echo "deb: $(cd "$directory" && echo bidlake-*.deb)"
