#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Project Nessie's REST catalog, written by others than Apache's, in memory; its metadata files
# go to an S3 store (versitygw.sh).
#   nessie.sh run PORT WAREHOUSE S3_PORT    warehouse: s3://BUCKET/PREFIX
. "$(dirname "$0")/common.sh"
place=$peers/nessie
version=0.99.0

# Class files of Java 21. JAVA21 names a java of that age where no search finds one.
find_java() {
    for java in "${JAVA21:-}" /usr/lib/jvm/*-2[1-9]*/bin/java java; do
        [ -n "$java" ] && said=$("$java" -version 2>&1) || continue
        major=$(echo "$said" | sed -n 's/.* version "\([0-9]*\).*/\1/p')
        if [ "${major:-0}" -ge 21 ]; then
            echo "$java"
            return 0
        fi
    done
    fail "no Java of 21 or later: set JAVA21 to one"
}

do_install() {
    lock
    is_installed "$version" && return 0
    need mvn "install maven"
    find_java >/dev/null
    mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
        -Dartifact="org.projectnessie.nessie:nessie-quarkus:$version:jar:runner" \
        -DoutputDirectory="$place" -Dmdep.useBaseVersion=true
    mark_installed "$version"
}

do_run() {
    port=$1 warehouse=$2 s3_port=$3
    java=$(find_java)
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
