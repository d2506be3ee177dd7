# SPDX-License-Identifier: Apache-2.0
"""Engines that are not ours over the tables of one REST catalog, each behind the same three calls:

  query(sql)            rows as tuples; table names need no namespace
  files(table, where)   data files that it reads for this filter, as it says itself
  close()

`rest` and `store` are an IcebergRest and a Versitygw. An engine of Java holds `alone()` while it
runs: two of them want more memory than a small machine has.
"""
import contextlib
import fcntl
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
import warnings

from peer import PEERS, Peer, die_with_parent, duck_with_http, free_port, install

from lake import DEADLINE, PATIENCE, end

NAMESPACE = "db"
SHORT_LIVED = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # to compile well costs more than it gives


@contextlib.contextmanager
def alone():
    os.makedirs(PEERS, exist_ok=True)
    with open(os.path.join(PEERS, "engine.lock"), "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def library(script, folder):
    install(script)
    path = os.path.join(PEERS, folder, "python")
    if path not in sys.path:
        sys.path.append(path)


def java_catalog(rest, store):
    """What Iceberg's own library is told, whoever loads it."""
    return {"uri": rest.url, "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
            "s3.endpoint": store.url, "s3.path-style-access": "true",
            "s3.access-key-id": "bidlake", "s3.secret-access-key": "bidlake-secret",
            "client.region": "us-east-1"}


class DuckDB:
    def __init__(self, rest, store, _folder):
        self.connection = duck_with_http()
        self.connection.execute(
            "CREATE SECRET (TYPE s3, KEY_ID 'bidlake', SECRET 'bidlake-secret', REGION 'us-east-1',"
            f" ENDPOINT '127.0.0.1:{store.port}', URL_STYLE 'path', USE_SSL false)")
        self.connection.execute(f"ATTACH 'any' AS lake (TYPE ICEBERG, ENDPOINT '{rest.url}', "
                                "AUTHORIZATION_TYPE 'none')")
        self.connection.execute(f"USE lake.{NAMESPACE}")

    def query(self, sql):
        found = self.connection.execute(sql).to_arrow_table().to_pylist()
        return [tuple(row.values()) for row in found]

    def files(self, table, where):
        plan = self.connection.execute(
            f"EXPLAIN ANALYZE SELECT count(*), count(received_at) FROM {table} WHERE {where}"
        ).fetchall()[0][1]
        return int(re.search(r"Total Files Read: +([0-9]+)", plan).group(1))

    def close(self):
        self.connection.close()


class ClickHouse:
    """Its tables are named in one piece: views give them the names of the others."""

    def __init__(self, rest, store, _folder):
        library("clickhouse.sh", "clickhouse")
        from chdb.session import Session
        self.session = Session()
        self.session.query("SET allow_database_iceberg = 1")
        self.session.query(
            f"CREATE DATABASE lake ENGINE = DataLakeCatalog('{rest.url}/v1', 'bidlake', "
            "'bidlake-secret') SETTINGS catalog_type = 'rest', warehouse = 'lake', "
            f"storage_endpoint = '{store.url}/lake'")
        for (name,) in self.query("SHOW TABLES FROM lake"):
            self.session.query(f"CREATE VIEW {name.partition('.')[2]} AS "
                               f"SELECT * FROM lake.`{name}`")

    def query(self, sql):
        answer = self.session.query(sql, "JSONCompactEachRow").bytes().decode()
        return [tuple(json.loads(line)) for line in answer.splitlines()]

    def counted(self):
        return int(self.query("SELECT value FROM system.events WHERE event = "
                              "'IcebergMetadataReturnedObjectInfos' "
                              "SETTINGS system_events_show_zero_values = 1")[0][0])

    def files(self, table, where):
        before = self.counted()
        self.query(f"SELECT sum(ignore(received_at)) FROM {table} WHERE {where}")
        return self.counted() - before

    def close(self):
        self.session.close()


class Spark:
    """Its Java process ends when this one does."""

    def __init__(self, rest, store, folder):
        library("spark.sh", "spark")
        os.environ.update(SPARK_LOCAL_IP="127.0.0.1", TZ="UTC")
        time.tzset()  # of the moments that it hands to Python
        warnings.filterwarnings("ignore", category=ResourceWarning)  # it leaves sockets to the GC
        from pyspark.sql import SparkSession
        jars = [os.path.join(PEERS, "spark", name) for name in
                sorted(os.listdir(os.path.join(PEERS, "spark"))) if name.endswith(".jar")]
        settings = {
            "spark.driver.extraClassPath": ":".join(jars),
            "spark.driver.extraJavaOptions": SHORT_LIVED,
            "spark.driver.memory": "1g", "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1", "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.local.dir": folder, "spark.sql.warehouse.dir": os.path.join(folder, "none"),
            "spark.sql.shuffle.partitions": "2", "spark.sql.adaptive.enabled": "false",
            "spark.sql.session.timeZone": "UTC", "spark.sql.defaultCatalog": "lake",
            "spark.sql.extensions":
                "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
            "spark.sql.catalog.lake": "org.apache.iceberg.spark.SparkCatalog",
            "spark.sql.catalog.lake.type": "rest",
            "spark.sql.catalog.lake.cache-enabled": "false",  # what others commit is seen at once
        }
        for key, value in java_catalog(rest, store).items():
            settings[f"spark.sql.catalog.lake.{key}"] = value
        builder = SparkSession.builder.master("local[2]")
        for key, value in settings.items():
            builder = builder.config(key, value)
        self.held = contextlib.ExitStack()
        self.held.enter_context(alone())
        self.session = builder.getOrCreate()
        self.session.sparkContext.setLogLevel("ERROR")
        self.session.sql(f"USE lake.{NAMESPACE}")

    def query(self, sql):
        return [tuple(row) for row in self.session.sql(sql).collect()]

    def files(self, table, where):
        frame = self.session.sql(f"SELECT received_at FROM {table} WHERE {where}")
        frame.collect()
        leaves = frame._jdf.queryExecution().executedPlan().collectLeaves()
        return leaves.head().metrics().apply("resultDataFiles").value()

    def close(self):
        from pyspark import SparkContext
        gateway = self.session.sparkContext._gateway
        self.session.stop()
        gateway.shutdown()
        gateway.proc.stdin.close()
        try:
            gateway.proc.wait(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            end(gateway.proc)
        SparkContext._gateway = SparkContext._jvm = None
        self.held.close()


class Trino(Peer):
    def __init__(self, rest, store, folder):
        install("trino.sh")
        self.held = contextlib.ExitStack()
        self.held.enter_context(alone())
        self.url = f"http://127.0.0.1:{free_port()}"
        folder = os.path.join(folder, "trino")
        os.makedirs(folder)
        try:
            super().__init__("trino.sh", [self.url.rpartition(":")[2], folder, rest.url, store.url],
                             f"{self.url}/v1/info", os.path.join(folder, "log"))
            self.wait()
        except BaseException:
            self.held.close()
            raise

    def wait(self):
        """It answers before it has found out that it is its own worker, and what needs none it
        answers even then."""
        deadline = time.monotonic() + 60 * PATIENCE
        while True:
            try:
                table = self.query("SHOW TABLES")[0][0]
                return self.query(f"SELECT max(received_at) FROM {table}")
            except (AssertionError, OSError):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def ask(self, url, body=None):
        request = urllib.request.Request(url, data=body, headers={
            "X-Trino-User": "test", "X-Trino-Catalog": "lake", "X-Trino-Schema": NAMESPACE})
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            return json.load(answer)

    def query(self, sql):
        answer, rows = self.ask(f"{self.url}/v1/statement", sql.encode()), []
        while True:
            if "error" in answer:
                raise AssertionError(f"{sql}: {answer['error']['message']}")
            rows += answer.get("data", [])
            if "nextUri" not in answer:
                return [tuple(row) for row in rows]
            answer = self.ask(answer["nextUri"])

    def files(self, table, where):
        plan = self.query(f"EXPLAIN ANALYZE VERBOSE SELECT received_at FROM {table} "
                          f"WHERE {where}")[0][0]
        return int(re.search(r"'dataFiles' = LongCount{total=([0-9]+)}", plan).group(1))

    def close(self):
        super().close()
        self.held.close()


class Flink:
    """A process that answers statements; peers/FlinkPeer.java says how."""

    def __init__(self, rest, store, folder):
        script = install("flink.sh")
        self.held = contextlib.ExitStack()
        self.held.enter_context(alone())
        self.log = os.path.join(folder, "flink.log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([script, "run"], stdin=subprocess.PIPE, stderr=log,
                                            stdout=subprocess.PIPE, preexec_fn=die_with_parent)
        settings = {"type": "iceberg", "catalog-type": "rest",
                    "metrics-reporter-impl": "FlinkPeer$Reporter", **java_catalog(rest, store)}
        settings = ", ".join(f"'{key}'='{value}'" for key, value in settings.items())
        self.query(f"CREATE CATALOG lake WITH ({settings})")
        self.query("USE CATALOG lake")
        self.query(f"USE {NAMESPACE}")

    def answer(self, sql):
        self.process.stdin.write(sql.encode() + b"\0")
        self.process.stdin.flush()
        lines = []
        for line in self.process.stdout:
            line = line.decode().rstrip("\n")
            if line == "ok":
                return lines
            if line.startswith("failed "):
                raise AssertionError(f"{sql}: {line}")
            lines.append(line)
        with open(self.log, "rb") as log:
            raise AssertionError(f"Flink ended: {log.read()[-3000:].decode()}")

    def query(self, sql):
        return [tuple(line[len("row "):].split("\t")) for line in self.answer(sql)
                if line.startswith("row ")]

    def files(self, table, where):
        said = [line for line in self.answer(f"SELECT received_at FROM {table} WHERE {where}")
                if line.startswith("files ")]
        return int(said[-1].split()[1])

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            end(self.process)
        self.process.stdout.close()
        self.held.close()
