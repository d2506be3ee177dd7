#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Versity's S3 gateway over a folder: buckets are its folders, objects are files in them. It checks
# signatures, regions, checksums and conditions.
#   versitygw.sh run PORT FOLDER [ARGUMENT...]    key "bidlake", secret "bidlake-secret"
. "$(dirname "$0")/common.sh"
place=$peers/versitygw
pins=github.com/versity/versitygw/cmd/versitygw@v1.8.0

do_install() {
    go_install "$pins"
}

do_run() {
    port=$1 folder=$2
    shift 2
    mkdir -p "$folder"
    ROOT_ACCESS_KEY=bidlake ROOT_SECRET_KEY=bidlake-secret exec "$place/bin/versitygw" \
        --port "127.0.0.1:$port" --region us-east-1 "$@" posix "$folder"
}

main "$@"
