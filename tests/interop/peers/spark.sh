#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Apache Spark with Iceberg's library for it, for one process: spark_engine.py starts and ends it.
. "$(dirname "$0")/common.sh"
place=$peers/spark
iceberg=1.11.0
python_pins='pyspark==3.5.7 py4j==0.10.9.7'
jars="org.apache.iceberg:iceberg-spark-runtime-3.5_2.12:$iceberg
org.apache.iceberg:iceberg-aws-bundle:$iceberg"

do_install() {
    lock
    is_installed "$python_pins $jars" && return 0
    need java
    rm -rf "$place/python" "$place"/*.jar
    for jar in $jars; do
        maven_copy "$jar"
    done
    python_copy $python_pins
    mark_installed "$python_pins $jars"
}

do_run() {
    fail "it is a library: there is nothing to run"
}

main "$@"
