#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# DuckDB's extension for HTTP, without which it speaks to no REST catalog. It has to be of the
# version that packaging/install-dependencies.sh pins.
. "$(dirname "$0")/common.sh"
place=$peers/python
pins=duckdb-extension-httpfs==1.5.5

do_install() {
    lock
    is_installed "$pins" && return 0
    rm -rf "$place"
    "$root/.cache/venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps \
        --target "$place" "$pins"
    mark_installed "$pins"
}

do_run() {
    fail "it is a library: there is nothing to run"
}

main "$@"
