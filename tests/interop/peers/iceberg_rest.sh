#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Apache Iceberg's own REST catalog, the one that its tests use, over a JDBC catalog in SQLite.
#   iceberg_rest.sh run PORT KEY=VALUE...    properties of the catalog behind it ("warehouse=...")
. "$(dirname "$0")/common.sh"
place=$peers/iceberg_rest
iceberg=1.11.0
jetty=12.1.5
aws=2.31.78

# group artifact version [classifier]; those with a classifier bring nothing else along.
libraries="
org.apache.iceberg iceberg-open-api $iceberg test-fixtures
org.apache.iceberg iceberg-core $iceberg tests
org.apache.iceberg iceberg-core $iceberg
org.apache.iceberg iceberg-aws $iceberg
org.apache.iceberg iceberg-bundled-guava $iceberg
software.amazon.awssdk s3 $aws
software.amazon.awssdk sts $aws
software.amazon.awssdk glue $aws
software.amazon.awssdk dynamodb $aws
software.amazon.awssdk kms $aws
software.amazon.awssdk url-connection-client $aws
org.eclipse.jetty.ee10 jetty-ee10-servlet $jetty
org.eclipse.jetty.compression jetty-compression-server $jetty
org.eclipse.jetty.compression jetty-compression-gzip $jetty
org.xerial sqlite-jdbc 3.50.3.0
org.apache.hadoop hadoop-client-api 3.4.2
org.apache.hadoop hadoop-client-runtime 3.4.2
org.slf4j slf4j-simple 2.0.17
"

write_pom() {
    echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
    echo '<groupId>peers</groupId><artifactId>rest</artifactId><version>1</version>'
    echo '<packaging>pom</packaging><dependencies>'
    echo "$libraries" | while read -r group artifact version classifier; do
        [ -n "$group" ] || continue
        echo "<dependency><groupId>$group</groupId><artifactId>$artifact</artifactId>"
        echo "<version>$version</version>"
        if [ -n "$classifier" ]; then
            echo "<classifier>$classifier</classifier><exclusions><exclusion>"
            echo "<groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>"
        fi
        echo '</dependency>'
    done
    echo '</dependencies></project>'
}

do_install() {
    lock
    pins="$libraries $(cksum <"$here/RestPeer.java")"
    is_installed "$pins" && return 0
    need mvn
    need javac
    rm -rf "$place/libs" "$place/classes"
    write_pom >"$place/pom.xml"
    mvn -q -B -f "$place/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
        -DoutputDirectory="$place/libs"
    javac -nowarn -cp "$place/libs/*" -d "$place/classes" "$here/RestPeer.java"
    mark_installed "$pins"
}

do_run() {
    AWS_REGION=${AWS_REGION:-us-east-1}
    export AWS_REGION
    exec java -Xmx512m -XX:+UseSerialGC -cp "$place/classes:$place/libs/*" \
        org.apache.iceberg.rest.RestPeer "$@"
}

main "$@"
