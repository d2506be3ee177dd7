#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Project Nessie's REST catalog, written by others than Apache's, in memory; its metadata files
# go to an S3 store (versitygw.sh).
#   nessie.sh run PORT WAREHOUSE S3_PORT    warehouse: s3://BUCKET/PREFIX
. "$(dirname "$0")/common.sh"
place=$peers/nessie
version=0.99.0

do_install() {
    lock
    is_installed "$version" && return 0
    find_java 21 >/dev/null
    maven_copy "org.projectnessie.nessie:nessie-quarkus:$version:jar:runner"
    mark_installed "$version"
}

do_run() {
    port=$1 warehouse=$2 s3_port=$3
    java=$(find_java 21)
    s3=-Dnessie.catalog.service.s3.default-options
    AWS_REGION=us-east-1 exec "$java" -Xmx768m -XX:+UseSerialGC \
        -Dquarkus.http.host=127.0.0.1 -Dquarkus.http.port="$port" \
        -Dquarkus.management.host=127.0.0.1 -Dquarkus.management.port=0 \
        -Dnessie.version.store.type=IN_MEMORY -Dnessie.server.authentication.enabled=false \
        -Dnessie.catalog.default-warehouse=wh \
        -Dnessie.catalog.warehouses.wh.location="$warehouse" \
        $s3.endpoint="http://127.0.0.1:$s3_port" $s3.path-style-access=true \
        $s3.region=us-east-1 $s3.auth-type=STATIC $s3.request-signing-enabled=false \
        $s3.access-key=urn:nessie-secret:quarkus:cred \
        -Dcred.name=bidlake -Dcred.secret=bidlake-secret \
        -jar "$place/nessie-quarkus-$version-runner.jar"
}

main "$@"
