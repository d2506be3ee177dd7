# SPDX-License-Identifier: Apache-2.0
"""What a turn asks of an S3 store, request by request, and an inbox that piled up while the catalog
was away: Apache's REST server over Versity's store. The full sizes are `make bench-commit` and
`make bench-outage`."""
import os
import subprocess
import sys
import tempfile
import time
import unittest

from peer import ROOT
from slow_wire import NarrowWire, SlowWire

from lake import BUILD, DEADLINE, FAILED, end, until

sys.path.insert(0, os.path.join(ROOT, "tests", "bench"))

from cloud_turn import Cloud, CountingWire  # noqa: E402
from outage import pile_up  # noqa: E402

MIB = 1 << 20


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="bidlake-", dir=os.environ.get("BIDLAKE_TEST_DIR"))
        cls.addClassCleanup(folder.cleanup)
        cls.cloud = Cloud(BUILD, folder.name)
        cls.addClassCleanup(cls.cloud.close)

    def rows(self, table):
        return int(self.cloud.run("bidlake-table", "count", *table.commit_flags(),
                                  table.pile.table)["text"])


class Requests(Case):
    """Of each announcement one GET, one HEAD a file, one receipt, many at a time; of the turn a
    few, whatever it takes. What is one request more for each announcement is an hour a day at a store's price."""

    def asked(self, announcements, files):
        table = self.cloud.new_table(files)
        for number in range(announcements):
            table.pile.announce(number, 0)
        with self.cloud.behind(CountingWire(self.cloud.store.port, 0.01)) as wire:
            # One turn in 64 looks for old objects besides.
            report = table.turn("--commit-prune-every", "1000000")["report"]
        self.assertEqual((report["taken"], report["snapshots"]), (announcements, 1))
        self.assertEqual(self.rows(table), report["rows"])
        return wire.asked, wire.most

    def test_of_each_announcement(self):
        few, _ = self.asked(5, 3)
        many, most = self.asked(45, 3)
        more = {kind: count - few[kind] for kind, count in many.items() if count != few[kind]}
        self.assertEqual(more, {"get": 40, "head": 120, "put": 40})
        self.assertEqual(few["delete_many"], 1, few)
        self.assertEqual(few["delete"], 0, few)
        self.assertGreaterEqual(most, 16, "requests under way at once")
        self.assertLessEqual(sum(few.values()), 5 + 15 + 5 + 16, few)


class Narrow(Case):
    """A store that takes six requests at a time and tells the others to come back: a turn waits, asks
    for about as many as it takes, and is done in one go."""

    def test_slow_down(self):
        table = self.cloud.new_table(1)
        for number in range(150):
            table.pile.announce(number, 0)
        wire = NarrowWire(self.cloud.store.port, 6, after=[3, 1], delay=0.05)
        with self.cloud.behind(wire):
            report = table.turn()["report"]
        self.assertEqual((report["taken"], report["snapshots"], report["attempts"]), (150, 1, 1))
        self.assertEqual(self.rows(table), report["rows"])
        self.assertGreater(wire.refused.total(), 0)
        # Without a limit of its own more than half are refused, with it a sixth.
        self.assertLess(wire.refused.total(), wire.asked.total() * 0.4, (wire.refused, wire.asked))


class InboxWire(SlowWire):
    """Lets nobody see an announcement."""

    def refuses(self, request, kind):
        return kind == "get" and "/inbox/" in request.path


class Stop(Case):
    def test_while_the_store_wants_a_pause(self):
        """A turn that waits for the store ends when it is asked to; the next one does its work."""
        table = self.cloud.new_table(1)
        for number in range(40):
            table.pile.announce(number, 0)
        with self.cloud.behind(InboxWire(self.cloud.store.port, after=[100])) as wire:
            command = [os.path.join(BUILD, "bidlake-commit"), "once", *table.commit_flags()]
            with subprocess.Popen(command, env=dict(os.environ, **self.cloud.environment),
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
                self.addCleanup(end, process)
                until(lambda: wire.refused["get"] >= 32, "all of the turn's threads wait", 30)
                at = time.monotonic()
                process.terminate()
                said = process.communicate(timeout=DEADLINE)[1].decode()
        self.assertLess(time.monotonic() - at, 25)  # one pause is half a minute
        self.assertEqual(process.returncode, FAILED, said)
        self.assertEqual(table.turn()["report"]["taken"], 40)


class Outage(Case):
    """The catalog was away for a day."""

    def test_catches_up(self):
        table = self.cloud.new_table(1)
        pile_up(table, streams=3, segments=1440)
        turn = table.turn()
        report = turn["report"]
        self.assertEqual((report["taken"], report["copied"]), (3 * 1440, 3 * 60))
        self.assertEqual(report["snapshots"], 1)
        self.assertLess(turn["peak_rss_bytes"], 96 * MIB)
        self.assertEqual(self.rows(table), report["rows"])
        self.assertEqual(table.turn()["report"]["seen"], 0)

    def test_pages_and_snapshots(self):
        """More than a page of the store's list and of the turn's, with small snapshots."""
        table = self.cloud.new_table(1)
        pile_up(table, streams=30, segments=48)
        report = table.turn("--commit-announcements", "500")["report"]
        self.assertEqual((report["taken"], report["copied"]), (30 * 48, 30 * 2))
        self.assertLessEqual(report["snapshots"], 4)
        self.assertEqual(self.rows(table), report["rows"])
        self.assertEqual(table.turn()["report"]["seen"], 0)


if __name__ == "__main__":
    unittest.main()
