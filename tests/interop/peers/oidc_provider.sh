#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# npm's oidc-provider, a certified implementation of OpenID Connect, as a token service.
#   oidc_provider.sh run PORT SECONDS    as authlib.sh; the clients want Basic
# With resource=urn:any:AUDIENCE the token is a signed JWT, as a web identity's is.
. "$(dirname "$0")/common.sh"
place=$peers/oidc_provider
pins=oidc-provider@9.13.3

do_install() {
    lock
    is_installed "$pins" && return 0
    need npm
    rm -rf "$place"
    mkdir -p "$place"
    npm install --prefix "$place" --silent --no-audit --no-fund --no-save "$pins"
    mark_installed "$pins"
}

do_run() {
    cp "$here/oidc_provider.mjs" "$place/server.$$.mjs"
    exec node "$place/server.$$.mjs" "$@"
}

main "$@"
