#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Toxiproxy: TCP proxies that delay, slow, cut and reset what passes; told what to do over HTTP.
#   toxiproxy.sh run PORT    of its API
. "$(dirname "$0")/common.sh"
place=$peers/toxiproxy
pins=github.com/Shopify/toxiproxy/v2/cmd/server@v2.5.0

do_install() {
    go_install "$pins"
}

do_run() {
    exec "$place/bin/server" -host 127.0.0.1 -port "$1"
}

main "$@"
