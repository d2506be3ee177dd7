#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Makes the one library that make static needs and Debian has not: libcurl.a with mbedTLS,
# HTTP and HTTPS alone. (Debian's own draws in OpenSSL, Kerberos, LDAP, SSH and RTMP.)
#
#   packaging/static.sh            builds it, if it is not there: half a minute
#   packaging/static.sh --where    says where it is or will be, a path from the top
#
# The sources are Debian's, with its security patches, of the version whose headers are
# installed here; so an upgrade of the machine is what renews it. They come by apt, whose
# signatures are checked, from the archives that this machine knows, through lists of our
# own: the machine's are not touched. The result lies outside of build/, under a name that
# holds the versions, as make clean shall not cost it.
set -eu
cd "$(dirname "$0")/.."

version() {
    dpkg-query -W -f='${Version}' "$1" 2>/dev/null
}

command -v dpkg-query >/dev/null 2>&1 || {
    echo "static: only Debian has the libraries for this" >&2
    exit 1
}
curl=$(version libcurl4-openssl-dev) && mbedtls=$(version libmbedtls-dev) || {
    echo "static: packaging/install-dependencies.sh build static, first" >&2
    exit 1
}
recipe=$(sha256sum packaging/static.sh | cut -c 1-8)
key=$(echo "curl-$curl-mbedtls-$mbedtls-$(dpkg --print-architecture)-$recipe" |
    tr -c 'a-zA-Z0-9.\n-' _)
where=.cache/static/$key
if [ "${1:-}" = --where ]; then
    echo "$where"
    exit 0
fi

mkdir -p .cache/static
exec 9>.cache/static/lock
flock 9
[ ! -f "$where/libcurl.a" ] || exit 0
echo "static: building libcurl $curl with mbedTLS $mbedtls"

work=$(pwd)/.cache/static/work
log=$work/log
rm -rf "$work"
mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/parts"
trap 'status=$?; [ $status -eq 0 ] || tail -n 20 "$log" >&2; rm -rf "$work"; exit $status' EXIT

# What the machine has of Debian's archives, asked for sources.
archives() {
    apt-get indextargets --format 'deb-src $(REPO_URI) $(RELEASE) $(COMPONENT)' \
        'Created-By: Packages' 'Origin: Debian'
}
archives >"$work/parts/sources.list"
if [ ! -s "$work/parts/sources.list" ]; then
    apt-get -qq update >"$log" 2>&1 || true
    archives >"$work/parts/sources.list"
fi
apt_private() {
    apt-get -qq -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$work/parts" \
        -o Dir::State::lists="$work/lists" -o Dir::Cache="$work" -o APT::Sandbox::User=root "$@"
}
apt_private update >>"$log" 2>&1
(cd "$work" && apt_private source --download-only "curl=$curl") >>"$log" 2>&1
dpkg-source -x "$work"/curl_*.dsc "$work/curl" >>"$log" 2>&1

(
    cd "$work/curl"
    # The paths of the machine that builds are in no byte of it.
    flags="-O2 -fstack-protector-strong -D_FORTIFY_SOURCE=2 -ffunction-sections"
    CFLAGS="$flags -fdata-sections -ffile-prefix-map=$work=." ./configure \
        --disable-shared --enable-static --with-mbedtls \
        --without-zlib --without-brotli --without-zstd --without-libpsl --without-libidn2 \
        --without-nghttp2 --without-libssh2 --without-librtmp --without-libgsasl \
        --disable-ldap --disable-ldaps --disable-ftp --disable-file --disable-dict \
        --disable-telnet --disable-tftp --disable-rtsp --disable-pop3 --disable-imap \
        --disable-smb --disable-smtp --disable-gopher --disable-mqtt --disable-manual \
        --disable-ntlm --disable-cookies --disable-netrc --disable-alt-svc --disable-hsts \
        --disable-doh --without-ca-path --with-ca-bundle=/etc/ssl/certs/ca-certificates.crt
    make -C lib -j2
) >>"$log" 2>&1

rm -rf "$where"
mkdir -p "$where"
cp -r "$work/curl/include" "$where/include"
cp "$work/curl/lib/.libs/libcurl.a" "$where/libcurl.a.tmp"
mv "$where/libcurl.a.tmp" "$where/libcurl.a"
