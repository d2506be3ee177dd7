#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# MinIO: a second S3 store, by others than versitygw's. No release of it comes by Go's modules any
# more, so the pin is a commit. Without MINIO_SITE_REGION it takes a signature for any region.
#   minio.sh run PORT FOLDER    key "bidlake", secret "bidlake-secret"
. "$(dirname "$0")/common.sh"
place=$peers/minio
pins=github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c

do_install() {
    go_install "$pins"
}

do_run() {
    port=$1 folder=$2
    mkdir -p "$folder"
    MINIO_ROOT_USER=bidlake MINIO_ROOT_PASSWORD=bidlake-secret MINIO_BROWSER=off \
        MINIO_UPDATE=off MINIO_SITE_REGION=us-east-1 exec "$place/bin/minio" server --quiet \
        --address "127.0.0.1:$port" "$folder"
}

main "$@"
