#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# ClickHouse as a library of Python (chdb).
. "$(dirname "$0")/common.sh"
place=$peers/clickhouse
pins='chdb==4.4.0 chdb-core==26.9.0'

do_install() {
    lock
    is_installed "$pins" && return 0
    rm -rf "$place/python"
    python_copy $pins
    mark_installed "$pins"
}

do_run() {
    fail "it is a library: there is nothing to run"
}

main "$@"
