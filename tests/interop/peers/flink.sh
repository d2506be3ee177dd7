#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Apache Flink with Iceberg's library for it, as a process that answers statements (FlinkPeer.java).
#   flink.sh run
. "$(dirname "$0")/common.sh"
place=$peers/flink
iceberg=1.11.0
python_pins='apache-flink-libraries==2.0.1'
jars="org.apache.iceberg:iceberg-flink-runtime-2.0:$iceberg
org.apache.iceberg:iceberg-aws-bundle:$iceberg
org.apache.hadoop:hadoop-client-api:3.4.2
org.apache.hadoop:hadoop-client-runtime:3.4.2
commons-logging:commons-logging:1.2"
path="$place/classes:$place/*:$place/python/pyflink/lib/*"

do_install() {
    lock
    pins="$python_pins $jars $(cksum <"$here/FlinkPeer.java")"
    is_installed "$pins" && return 0
    need javac
    rm -rf "$place/python" "$place/classes" "$place"/*.jar
    for jar in $jars; do
        maven_copy "$jar"
    done
    python_copy $python_pins
    javac -nowarn -cp "$path" -d "$place/classes" "$here/FlinkPeer.java"
    mark_installed "$pins"
}

do_run() {
    opened=
    for package in lang lang.reflect net io nio text time util util.concurrent \
        util.concurrent.atomic util.concurrent.locks; do
        opened="$opened --add-opens=java.base/java.$package=ALL-UNNAMED"
    done
    AWS_REGION=us-east-1 exec java -Xmx768m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 $opened \
        -cp "$path" FlinkPeer
}

main "$@"
