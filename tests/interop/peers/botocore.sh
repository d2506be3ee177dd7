#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# botocore, on which the AWS CLI and boto3 stand: how it reads environment and files is the measure.
. "$(dirname "$0")/common.sh"
place=$peers/botocore
pins=botocore==1.40.61

do_install() {
    lock
    is_installed "$pins" && return 0
    rm -rf "$place"
    "$root/.cache/venv/bin/python" -m pip install -q --disable-pip-version-check \
        --target "$place" "$pins"
    mark_installed "$pins"
}

do_run() {
    fail "it is a library: there is nothing to run"
}

main "$@"
