# SPDX-License-Identifier: Apache-2.0
"""From a notice to the turn: `serve` with an interval that nobody waits for, over real stores. A
program that waits is answered behind the commit, and the stores' own webhooks (Versity's gateway,
MinIO) bring what is in the inbox into the table with nobody else calling."""
import collections
import os
import signal
import sqlite3
import threading
import time
import unittest

from peer import Minio, Versitygw, until
from test_s3 import S3Lake, line

from lake import DONE, PATIENCE, Lake
from test_port import PortCase, s3_event

PAUSE_S = 3


class Case(PortCase):
    def setUp(self):
        self.home = Lake()
        self.addCleanup(self.home.__exit__)

    def ready(self, peer, prefix="wh/x"):
        self.peer = peer
        self.addCleanup(lambda: self.peer.close())
        self.lake = S3Lake(peer, prefix)
        self.addCleanup(self.lake.__exit__)
        self.lake.init()

    def serve(self, *arguments, **how):
        return super().serve(*arguments, env=dict(os.environ, **self.peer.environment()), **how)

    def wait_ready(self):
        until(lambda: self.ask("/readyz")[0] == 200, "ready", seconds=60)

    def webhook(self):
        return f"http://127.0.0.1:{self.port}/v1/notify"

    def ingest(self, *keys):
        self.lake.ingest("clicks", "-", stdin=b"".join(map(line, keys)))

    def found(self):
        rows = self.lake.load().scan(selected_fields=("click_id",)).to_arrow()
        return collections.Counter(rows.column("click_id").to_pylist())

    def turns(self):
        return self.metric('bidlake_turn_turns_total{table="db.clicks",result="ok"}')

    def notices(self, result):
        return self.metric(f'bidlake_notice_notices_total{{result="{result}"}}')

    def comes_by_itself(self):
        """Each ingest by a notice of its own: nothing else brings a turn for an hour."""
        expected = collections.Counter()
        for name in ("a", "b", "c"):
            keys = [f"{name}{n}" for n in range(100)]
            expected.update(keys)
            self.ingest(*keys)
            until(lambda: self.metric('bidlake_turn_events_total{table="db.clicks"}') ==
                  expected.total(), f"{name} is committed")
            self.assertEqual(self.found(), expected)
        self.assertGreaterEqual(self.notices("taken"), 3)
        self.assertEqual(self.notices("malformed"), 0)


class ByHand(Case):
    def announcement(self):
        """The key of the one that waits; Versity's objects are files."""
        folder = os.path.join(self.peer.folder, "lake")
        found = [os.path.relpath(os.path.join(place, name), folder)
                 for place, _, names in os.walk(f"{folder}/wh/x/_bidlake/inbox/db.clicks")
                 for name in names if name.endswith(".json")]
        self.assertEqual(len(found), 1, found)
        return found[0]

    def test_who_waits_is_answered_behind_the_commit(self):
        self.ready(Versitygw(self.home.directory))
        start = time.monotonic()
        self.serve("--notify-pause", f"{PAUSE_S}s")
        self.wait_ready()
        self.ingest("a")
        first = time.monotonic()
        self.assertEqual(self.ask("/v1/notify?wait=1", s3_event("lake", self.announcement())),
                         (200, "done\n"))
        self.assertEqual(self.found(), collections.Counter(["a"]))

        # Many agents' notices at once make few turns, each notify.pause behind the one before.
        self.ingest("b")
        event = s3_event("lake", self.announcement())
        for _ in range(20):
            self.assertEqual(self.ask("/v1/notify", event)[0], 202)
        self.assertEqual(self.ask("/v1/notify?wait=1", event)[0], 200)
        end = time.monotonic()
        self.assertEqual(self.found(), collections.Counter(["a", "b"]))
        self.assertGreaterEqual(end - first, PAUSE_S - 0.1)
        self.assertGreaterEqual(self.turns(), 3)
        self.assertLessEqual(self.turns(), 2 + (end - start) / PAUSE_S)


    def test_who_waits_hears_of_a_stop(self):
        """A platform that gives ten seconds must not kill a service that still owes an answer."""
        self.ready(Versitygw(self.home.directory))
        process = self.serve("--notify-pause", "0s", "--catalog-busy-timeout", "1ms")
        self.wait_ready()
        holder = sqlite3.connect(self.lake.catalog_path, isolation_level=None)
        self.addCleanup(holder.close)
        holder.execute("BEGIN IMMEDIATE")
        self.ingest("a")
        event = s3_event("lake", self.announcement())
        answers = []
        waiting = threading.Thread(
            target=lambda: answers.append(self.ask("/v1/notify?wait=1", event)[0]))
        waiting.start()

        def said():
            with open(self.lake.path("log"), encoding="utf-8") as file:
                return file.read()
        until(lambda: "attempt=6" in said(), "it pauses long between its attempts", seconds=60)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        self.assertEqual(process.wait(timeout=60 * PATIENCE), DONE, said())
        self.assertLess(time.monotonic() - began, 5 * PATIENCE, said())
        waiting.join()
        self.assertEqual(answers, [503])
        holder.execute("ROLLBACK")
        self.assertEqual(self.lake.once()["taken"], 1)
        self.assertEqual(self.found(), collections.Counter(["a"]))


class Webhooks(Case):
    def test_minio(self):
        self.ready(Minio(self.home.directory))
        self.serve("--notify-pause", "0s")
        self.wait_ready()
        self.peer.close()
        self.peer = Minio(self.home.directory, port=self.peer.port, webhook=self.webhook())
        until(self.is_taken_by_minio, "MinIO knows its webhook")
        self.comes_by_itself()
        # The prefix is the inbox's: nothing else was told.
        self.assertEqual(self.notices("ignored"), 0)

    def is_taken_by_minio(self):
        try:
            self.peer.notify("wh/x/_bidlake/inbox/")
        except AssertionError as error:
            self.assertIn("ARN", str(error))
            return False
        return True

    def test_versity(self):
        self.ready(Versitygw(self.home.directory))
        self.serve("--notify-pause", "0s")
        self.wait_ready()
        self.peer.close()
        self.peer = Versitygw(self.home.directory, port=self.peer.port, webhook=self.webhook())
        self.comes_by_itself()
        # It asks first whether the port is there, and tells of every object.
        self.assertGreater(self.notices("ignored"), 3)


if __name__ == "__main__":
    unittest.main()
