# SPDX-License-Identifier: Apache-2.0
"""bidlake-commit serve: a turn every interval, whatever happens to store, catalog and its own
process; an event that was answered is in the table once."""
import collections
import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import unittest

from lake import BUILD, DEADLINE, DONE, USAGE, Lake, end, program, until


class Serving(unittest.TestCase):
    def setUp(self):
        self.lake = Lake(tables="openrtb/clicks")
        self.addCleanup(self.lake.__exit__)
        self.expected = collections.Counter()
        self.logs = 0

    def serve(self, *arguments, **how):
        """A service whose log goes to process.log, its reports to process.reports."""
        self.logs += 1
        log, reports = self.lake.path(f"log-{self.logs}"), self.lake.path(f"reports-{self.logs}")
        with open(log, "wb") as err, open(reports, "wb") as out:
            process = subprocess.Popen(
                [f"{BUILD}/bidlake-commit", "serve", "--json", "--interval", "1s",
                 *self.lake.commit_flags(), *arguments], stdout=out, stderr=err, **how)
        process.log, process.reports = log, reports
        self.addCleanup(end, process)
        return process

    def log(self, process):
        with open(process.log, encoding="utf-8") as file:
            return file.read()

    def reports(self, process):
        with open(process.reports, encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.endswith("\n")]

    def turns(self, process):
        return self.log(process).count('msg="turn"')

    def ingest(self, *keys, **how):
        lines = "".join(f'{{"id":"{key}","ts":1767225600000}}\n' for key in keys)
        self.expected.update(keys)
        self.lake.ingest("clicks", "-", stdin=lines.encode(), **how)

    def stop(self, process, how=signal.SIGTERM):
        process.send_signal(how)
        self.assertEqual(process.wait(timeout=DEADLINE), DONE, self.log(process))

    def taken(self):
        return self.lake.ids("clicks", "click_id") == self.expected

    def test_takes_what_comes(self):
        self.lake.init()
        process = self.serve()
        for number in range(3):
            self.ingest(f"a{number}")
            until(lambda: self.lake.inbox() == [], "the inbox is empty")
        until(self.taken, "all is in the table")
        self.stop(process)
        reports = self.reports(process)
        self.assertEqual(len(reports), self.turns(process))
        self.assertEqual(sum(report["taken"] for report in reports), 3)
        self.assertEqual(sum(report["events"] for report in reports), 3)
        self.assertEqual([report["at"] for report in reports],
                         sorted(report["at"] for report in reports))
        self.assertIn('msg="stopped"', self.log(process))
        self.lake.check("clicks")

    def test_pauses(self):
        """A turn an hour means one turn now, and a sleeping process behind it."""
        self.lake.init()
        process = self.serve("--interval", "1h")
        until(lambda: self.turns(process) == 1, "the first turn")

        def sleeps():
            with open(f"/proc/{process.pid}/stat", encoding="ascii") as file:
                return file.read().rsplit(")", 1)[1].split()[0] == "S"
        until(sleeps, "it sleeps")
        self.stop(process, signal.SIGINT)
        self.assertEqual(self.turns(process), 1)

    def test_all_tables_in_one_turn(self):
        """Two tables a moment apart must not become two turns an interval."""
        self.lake.tables = "openrtb"
        self.lake.init()
        process = self.serve()
        until(lambda: len(self.reports(process)) >= 4, "four turns")
        self.stop(process)
        at = [report["at"] for report in self.reports(process)]
        self.assertGreaterEqual(at[-1] - at[0], 1000 * (len(at) - 1) - 100 * len(at))

    def test_stops_behind_the_turn(self):
        """A stop in the middle of a commit must not leave what it took half done."""
        self.lake.init()
        holder = sqlite3.connect(self.lake.catalog_path, isolation_level=None)
        self.addCleanup(holder.close)
        process = self.serve("--catalog-busy-timeout", "30s")
        until(lambda: self.turns(process) >= 1, "the first turn")
        holder.execute("BEGIN IMMEDIATE")
        before = len(os.listdir(f"{self.lake.warehouse}/db/clicks/metadata"))
        self.ingest("late")
        until(lambda: len(os.listdir(f"{self.lake.warehouse}/db/clicks/metadata")) >= before + 3,
              "a commit waits for the catalog")
        process.send_signal(signal.SIGTERM)
        self.assertIsNone(process.poll())
        holder.execute("ROLLBACK")
        self.assertEqual(process.wait(timeout=DEADLINE), DONE)
        self.assertTrue(self.taken())
        self.assertEqual(self.lake.inbox(), [])

    def test_configuration(self):
        for arguments, word in ((["--interval", "5"], "unit"), (["--interval", "0s"], "interval"),
                                (["--catalog", "paper:x"], "paper"), (["extra"], "extra"),
                                (["--tables", "no/such"], "no/such")):
            with self.subTest(arguments):
                result = program("bidlake-commit", "serve", *self.lake.commit_flags(), *arguments)
                self.assertEqual(result.code, USAGE, result.err)
                self.assertIn(word, result.err)

    def test_catalog_comes_late_and_goes(self):
        """A volume that is mounted after the start, or away for a while, is waited for."""
        process = self.serve()
        until(lambda: "cannot open" in self.log(process), "it says that there is no catalog")
        self.assertFalse(os.path.exists(self.lake.catalog_path))
        self.lake.init()
        self.ingest("first")
        until(self.taken, "the first is taken")
        away = self.lake.path("away.db")
        os.rename(self.lake.catalog_path, away)
        self.ingest("second")
        until(lambda: self.log(process).count("catalog.db") >= 3, "it says so")
        self.assertFalse(os.path.exists(self.lake.catalog_path))
        os.rename(away, self.lake.catalog_path)
        until(self.taken, "the second is taken")
        # Put back from a copy, as a restore does: another file by the same name.
        copy = self.lake.path("copy.db")
        with contextlib.closing(sqlite3.connect(self.lake.catalog_path)) as old, \
                contextlib.closing(sqlite3.connect(copy)) as new:
            old.backup(new)
        for name in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.remove(self.lake.catalog_path + name)
        os.replace(copy, self.lake.catalog_path)
        self.ingest("third")
        until(self.taken, "the third is taken")
        self.stop(process)
        self.assertIn("moved or replaced", self.log(process))
        errors = [report["error"] for report in self.reports(process)]
        self.assertIsNone(errors[-1])

    def test_one_table_fails(self):
        """A table that was dropped must not hold up the others."""
        self.lake.tables = "openrtb/clicks,openrtb/impressions"
        self.lake.init()
        catalog = self.lake.catalog()
        catalog.drop_table("db.impressions")
        catalog.close()
        process = self.serve()
        self.ingest("a")
        until(self.taken, "the clicks are taken")
        until(lambda: "no such table" in self.log(process), "it says what is wrong")
        self.ingest("b")
        until(self.taken, "more clicks are taken")
        self.stop(process)

    def test_reports_go_nowhere(self):
        """Whoever read the reports is gone: the commits go on."""
        self.lake.init()
        process = subprocess.Popen([f"{BUILD}/bidlake-commit", "serve", "--json", "--interval",
                                    "1s", *self.lake.commit_flags()], stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL)
        self.addCleanup(end, process)
        process.stdout.readline()
        process.stdout.close()
        self.ingest("a")
        until(self.taken, "it is taken")
        self.ingest("b")
        until(self.taken, "the next too")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(timeout=DEADLINE), DONE)

    def test_three_at_once_killed_at_random(self):
        """Services in each other's way, ended at any point, while agents go on."""
        rounds = int(os.environ.get("BIDLAKE_SERVE_ROUNDS", "12"))
        seed = int(os.environ.get("BIDLAKE_SERVE_SEED", random.randrange(1 << 30)))
        dice = random.Random(seed)
        self.lake.init()
        with contextlib.closing(self.lake.catalog()) as catalog, \
                catalog.load_table("db.clicks").transaction() as change:
            change.set_properties({"commit.manifest.min-count-to-merge": "3"})
        flags = ("--snapshots-keep", "3", "--snapshots-grace", "1s", "--commit-prune-every", "2")
        served = [self.serve(*flags) for _ in range(3)]
        for number in range(rounds):
            agent = f"edge-{number % 2}"
            self.ingest(*[f"{number}-{i}" for i in range(20)], spool=self.lake.path(agent),
                        agent_id=agent)
            if dice.random() < 0.7:
                which = dice.randrange(len(served))
                end(served[which])
                served[which] = self.serve(*flags)
        until(lambda: self.lake.inbox() == [], f"the inbox is empty (seed {seed})", 60)
        until(self.taken, f"all is in the table once (seed {seed})", 60)
        for process in served:
            self.stop(process)
        self.assertEqual(sum(row["next"] for row in self.lake.table_json("ledger", "clicks")),
                         rounds * 20)
        self.lake.check("clicks")
        table = self.lake.load("clicks")
        self.assertLess(len(table.snapshots()), 6)
        for snapshot in table.snapshots():
            for manifest in snapshot.manifests(table.io):
                manifest.fetch_manifest_entry(table.io)


if __name__ == "__main__":
    unittest.main()
