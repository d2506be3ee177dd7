#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Amazon's own command line, for the upload that ours is measured against.
#   awscli.sh run ARGUMENT...
. "$(dirname "$0")/common.sh"
place=$peers/awscli
pins=awscli==1.46.3

do_install() {
    lock
    is_installed "$pins" && return 0
    rm -rf "$place/venv"
    python3 -m venv "$place/venv"
    "$place/venv/bin/python" -m pip install -q --disable-pip-version-check "$pins"
    mark_installed "$pins"
}

do_run() {
    exec "$place/venv/bin/python" "$place/venv/bin/aws" "$@"
}

main "$@"
