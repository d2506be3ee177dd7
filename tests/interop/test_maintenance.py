# SPDX-License-Identifier: Apache-2.0
"""Others keep house in a table while agent and commit service write to it: PyIceberg and Spark
append, Spark compacts, expires snapshots and removes orphans. All goes on, each event is in the
table once, the ledger agrees, and a file that was uploaded but not committed survives or is put
again."""
import collections
import concurrent.futures
import datetime
import os
import re
import signal
import subprocess
import threading
import time
import unittest

from engine_lake import EngineLake
from engines import Spark

import pyarrow as pa
from pyiceberg.exceptions import CommitFailedException, ValidationException

import lake as programs
from lake import DEADLINE, DONE, PATIENCE, end, until
from test_run import Agent

ROUNDS = 4
EVENTS = 25  # in a request
PACE = 0.2  # seconds between two requests, two appends
DAY_MS = 86400 * 1000
START_MS = 1767225600000  # 2026-01-01
UTC = datetime.timezone.utc


def line(key, day=0):
    return b'{"id":"%s","ts":%d,"device_geo_country":"%s"}\n' % (
        key.encode(), START_MS + day * DAY_MS, [b"DE", b"FR", b"US"][len(key) % 3])


def setUpModule():
    Case.made = EngineLake()
    unittest.addModuleCleanup(Case.made.close)
    Case.spark = Spark(Case.made.rest, Case.made.store, Case.made.home.directory)
    unittest.addModuleCleanup(Case.spark.close)


class Case(unittest.TestCase):
    made = spark = None

    def setUp(self):
        self.ours, self.theirs = collections.Counter(), collections.Counter()

    def new_lake(self, namespace):
        """Tables of their own, with its own spool."""
        lake = self.made.beside(namespace)
        lake.tables = "openrtb/clicks"
        lake.init()
        self.addCleanup(lake.__exit__)
        return lake

    def pyiceberg_appends(self, lake, *keys):
        """A refused append is not in the table, nor is one whose start an expiry took away:
        it is tried again, as its writer would."""
        rows = [{"click_id": key, "event_timestamp": datetime.datetime(2026, 1, 2, tzinfo=UTC)}
                for key in keys]
        deadline = time.monotonic() + 60 * PATIENCE
        while True:
            table = lake.load()
            names = {field.name: None for field in table.schema().fields}
            try:
                table.append(pa.Table.from_pylist([{**names, **row} for row in rows],
                                                  schema=table.schema().as_arrow()))
                break
            except (CommitFailedException, ValidationException, FileNotFoundError):
                if time.monotonic() > deadline:
                    raise
        self.theirs.update(keys)

    def spark_appends(self, lake, *keys):
        given = {"device_geo_country": "'ESP'",
                 "event_timestamp": "TIMESTAMP '2026-01-03 12:00:00 UTC'"}
        columns = [field.name for field in lake.load().schema().fields]
        values = ", ".join("(" + ", ".join({**given, "click_id": f"'{key}'"}.get(name, "NULL")
                                           for name in columns) + ")" for key in keys)
        self.spark.query(f"INSERT INTO {lake.namespace}.clicks ({', '.join(columns)}) "
                         f"VALUES {values}")
        self.theirs.update(keys)

    def call(self, lake, procedure, *arguments):
        """The one row that it answers with, as a dictionary."""
        said = ", ".join([f"table => '{lake.namespace}.clicks'", *arguments])
        return [row.asDict() for row in
                self.spark.session.sql(f"CALL lake.system.{procedure}({said})").collect()]

    def compact(self, lake, *options):
        options = ", ".join(["'min-input-files', '2'", *options])
        [said] = self.call(lake, "rewrite_data_files", f"options => map({options})")
        return said["rewritten_data_files_count"]

    def expire(self, lake):
        now = datetime.datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        [said] = self.call(lake, "expire_snapshots", f"older_than => TIMESTAMP '{now} UTC'",
                           "retain_last => 1")
        return said["deleted_manifest_lists_count"]

    def remove_orphans(self, lake):
        """What is older than three days and named by no snapshot."""
        return [row["orphan_file_location"] for row in
                self.call(lake, "remove_orphan_files", "prefix_listing => true")]

    def judge(self, lake):
        expected = self.ours + self.theirs
        self.assertEqual(lake.ids(), expected)
        by_spark = self.spark.query(f"SELECT click_id, count(*) FROM {lake.namespace}.clicks "
                                    "GROUP BY click_id")
        self.assertEqual(dict(by_spark), dict(expected))
        lake.table("check", "--deep", f"{lake.namespace}.clicks")
        ledger = lake.table_json("ledger", f"{lake.namespace}.clicks")
        self.assertEqual(sum(stream["next"] for stream in ledger), self.ours.total())
        self.assertEqual(sum(stream["lost_events"] for stream in ledger), 0)


class AtOnce(Case):
    """Nobody waits for the others: an agent under load, two committers, PyIceberg, Spark."""

    def serve(self, lake, name):
        log = lake.path(f"{name}.log")
        with open(log, "wb") as out:
            process = subprocess.Popen(
                [os.path.join(programs.BUILD, "bidlake-commit"), "serve", "--interval", "1s",
                 "--commit-prune-every", "2", *lake.commit_flags()],
                stdout=subprocess.DEVNULL, stderr=out, env=dict(os.environ, **lake.environment))
        process.log = log
        self.addCleanup(end, process)
        return process

    @staticmethod
    def figures(process, name):
        """The sum of a figure over the turns of a service."""
        with open(process.log, encoding="utf-8") as log:
            return sum(map(int, re.findall(rf'msg="turn" .* {name}=(\d+)', log.read())))

    def feed(self, agent, stop):
        turn = 0
        while not stop.wait(PACE):
            keys = [f"ours-{turn}-{n}" for n in range(EVENTS)]
            status, answer = agent.post("clicks", b"".join(line(key, turn % 3) for key in keys))
            self.assertEqual((status, answer["accepted"]), (200, EVENTS), answer)
            self.ours.update(keys)
            turn += 1

    def append(self, lake, stop):
        turn = 0
        while not stop.wait(PACE):
            self.pyiceberg_appends(lake, *[f"py-{turn}-{n}" for n in range(5)])
            turn += 1
        return turn

    def test_all_at_once(self):
        lake = self.new_lake("busy")
        # Commits come from all sides, a hundred times as often as in service: the five tries that
        # Spark makes of its own by default can all be lost.
        with lake.load().transaction() as change:
            change.set_properties({"commit.retry.num-retries": "50",
                                   "commit.retry.max-wait-ms": "500"})
        agent = Agent(lake, "--event-time-past", "0", "--announce-repeat", "2s",
                      env=lake.environment)
        self.addCleanup(end, agent.process)
        services = [self.serve(lake, name) for name in ("one", "two")]
        compacted = expired = 0
        stop = threading.Event()
        with concurrent.futures.ThreadPoolExecutor(2) as workers:
            beside = [workers.submit(self.feed, agent, stop),
                      workers.submit(self.append, lake, stop)]
            try:
                for turn in range(ROUNDS):
                    self.spark_appends(lake, *[f"spark-{turn}-{n}" for n in range(5)])
                    compacted += self.compact(lake)
                    expired += self.expire(lake)
                    self.remove_orphans(lake)
            finally:
                stop.set()
            self.assertGreaterEqual([job.result() for job in beside][1], 1)
        until(lambda: sum(stream["next"] for stream in lake.table_json(
            "ledger", "busy.clicks")) == self.ours.total(), "all of ours in the table", 60)
        agent.stop()
        # An announcement that was repeated just before its receipt was read is of no more use;
        # the next turn sees that.
        until(lambda: not lake.waiting(), "the inbox empty", 60)
        for service in services:
            service.send_signal(signal.SIGTERM)
            self.assertEqual(service.wait(timeout=DEADLINE), DONE)
        print(f"{self.ours.total()} events of ours, {self.theirs.total()} rows of theirs; "
              f"{compacted} files compacted, {expired} snapshots expired; committers: " +
              str({name: sum(self.figures(service, name) for service in services)
                   for name in ("taken", "snapshots", "attempts", "failed", "missing")}))
        self.assertGreater(compacted, 0)
        self.assertGreater(expired, 0)
        self.judge(lake)
        self.compact(lake, "'rewrite-all', 'true'")
        files = [task.file for task in lake.load().scan().plan_files()]
        self.assertEqual({file.spec_id for file in files}, {0})
        self.judge(lake)


class Orphans(Case):
    """A clean-up of what no snapshot names finds files that are about to be named."""

    def age(self, lake):
        """All that is in the table's folder becomes four days old."""
        past = time.time() - 4 * 86400
        aged = []
        for folder, _, names in os.walk(os.path.join(lake.folder, lake.namespace)):
            for name in names:
                os.utime(os.path.join(folder, name), (past, past))
                aged.append(os.path.join(folder, name))
        return aged

    def send(self, lake, *keys):
        lake.ingest("clicks", "-", stdin=b"".join(map(line, keys)))
        self.ours.update(keys)

    def test_young_files_stay(self):
        lake = self.new_lake("young")
        self.send(lake, "first")
        lake.once()
        self.send(lake, "waits")
        self.remove_orphans(lake)
        self.assertEqual(lake.once()["missing"], 0)
        self.judge(lake)

    def test_old_files_are_copied_first(self):
        """They may be on a clean-up's list at the time of their commit."""
        lake = self.new_lake("old")
        self.send(lake, "first")
        lake.once()
        self.send(lake, "waits")
        self.age(lake)
        self.assertEqual(lake.once()["taken"], 1)
        [removed] = self.remove_orphans(lake)
        self.assertRegex(removed, r"-0-1-1\.parquet$")
        live = [task.file.file_path for task in lake.load().scan().plan_files()]
        self.assertIn(removed.replace("-1.parquet", "-2.parquet"), live)
        self.judge(lake)

    def test_removed_files_are_put_again(self):
        lake = self.new_lake("gone")
        self.send(lake, "first")
        lake.once()
        self.send(lake, "waits")
        self.age(lake)
        self.assertEqual(len(self.remove_orphans(lake)), 1)
        result = lake.once()
        self.assertEqual((result["taken"], result["missing"]), (0, 1))
        self.send(lake, "more")  # the agent reads of it, and puts again what is gone
        self.assertEqual(lake.once()["taken"], 2)
        self.judge(lake)


if __name__ == "__main__":
    unittest.main()
