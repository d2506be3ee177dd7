#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Trino, one node, with the Iceberg connector alone: catalog "lake" is that of a REST server, with
# its files in an S3 store (versitygw.sh).
#   trino.sh run PORT FOLDER REST_URL S3_URL    folder: for its configuration and logs
. "$(dirname "$0")/common.sh"
place=$peers/trino
version=476
server=$place/trino-server-$version

# lib/ has hard links into plugin/: the whole is unpacked before the other plugins go.
do_install() {
    lock
    is_installed "$version" && return 0
    find_java 24 >/dev/null
    rm -rf "$place"/trino-server-*
    maven_copy "io.trino:trino-server:$version:tar.gz"
    tar -xzf "$server.tar.gz" -C "$place"
    rm -f "$server.tar.gz"
    mv "$server/plugin" "$server/plugin.all"
    mkdir "$server/plugin"
    mv "$server/plugin.all/iceberg" "$server/plugin/"
    rm -rf "$server/plugin.all"
    mark_installed "$version"
}

configure() {
    mkdir -p "$folder/etc/catalog"
    cat >"$folder/etc/config.properties" <<X
coordinator=true
node-scheduler.include-coordinator=true
http-server.http.port=$port
node.internal-address=127.0.0.1
discovery.uri=http://127.0.0.1:$port
query.max-memory=512MB
query.max-memory-per-node=512MB
memory.heap-headroom-per-node=256MB
catalog.management=static
X
    cat >"$folder/etc/node.properties" <<X
node.environment=test
node.id=one
node.bind-ip=127.0.0.1
node.data-dir=$folder/data
X
    cat >"$folder/etc/catalog/lake.properties" <<X
connector.name=iceberg
iceberg.catalog.type=rest
iceberg.rest-catalog.uri=$rest_url
fs.native-s3.enabled=true
s3.endpoint=$s3_url
s3.region=us-east-1
s3.path-style-access=true
s3.aws-access-key=bidlake
s3.aws-secret-key=bidlake-secret
X
}

do_run() {
    port=$1 folder=$2 rest_url=$3 s3_url=$4
    configure
    java=$(find_java 24)
    ln -sfn "$server/plugin" "$folder/plugin"
    cd "$folder"
    # A Java that was cut down to what most programs want lacks it; Trino is slower then.
    vector=
    if "$java" --list-modules | grep -q '^jdk.incubator.vector@'; then
        vector=--add-modules=jdk.incubator.vector
    fi
    exec "$java" -Xmx1536M -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
        -Djdk.attach.allowAttachSelf=true $vector \
        --sun-misc-unsafe-memory-access=allow -Dnode.environment=test \
        -Dconfig="$folder/etc/config.properties" -Dnode.id=one -Dnode.data-dir="$folder/data" \
        -cp "$server/lib/*" io.trino.server.TrinoServer
}

main "$@"
