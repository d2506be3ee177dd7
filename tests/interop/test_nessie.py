# SPDX-License-Identifier: Apache-2.0
"""The commit service over Nessie, a REST catalog that shows one snapshot only, gives ids of its own
and calls a client's mistakes 500; its files and ours are in an S3 store."""
import collections
import unittest

from peer import Nessie, PeerCase, Versitygw, duck_with_http
from faulty_wire import Wire
from rest_lake import SCHEDULES, RestLake, line, schedules

EVENTS = collections.Counter(f"c{n}" for n in range(20))


class Case(PeerCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.store = cls.keep(Versitygw(cls.home.directory))
        cls.peer = cls.keep(Nessie(cls.home.directory, "s3://lake/wh", cls.store))

    def lake(self, namespace, url=None):
        lake = RestLake(url or self.peer.url, self.home.path("s3", "lake", "wh"), namespace,
                        warehouse="s3://lake/wh", store=self.store, direct=self.peer.url)
        self.addCleanup(lake.__exit__)
        return lake

    def ready(self, namespace):
        lake = self.lake(namespace)
        lake.init()
        lake.ingest("clicks", "-", stdin=b"".join(map(line, EVENTS)))
        self.assertEqual(lake.once()["taken"], 1)
        return lake


class Readers(Case):
    def test_pyiceberg(self):
        self.assertEqual(self.ready("py").ids(), EVENTS)

    def test_duckdb(self):
        self.ready("duck")
        connection = duck_with_http()
        connection.execute(
            "CREATE SECRET (TYPE s3, KEY_ID 'bidlake', SECRET 'bidlake-secret', REGION 'us-east-1',"
            f" ENDPOINT '127.0.0.1:{self.store.port}', URL_STYLE 'path', USE_SSL false)")
        connection.execute(f"ATTACH '' AS lake (TYPE ICEBERG, ENDPOINT '{self.peer.url}', "
                           "AUTHORIZATION_TYPE 'none', ACCESS_DELEGATION_MODE 'none')")
        found = connection.execute("SELECT click_id FROM lake.duck.clicks").fetchall()
        self.assertEqual(collections.Counter(row[0] for row in found), EVENTS)

    def test_levels(self):
        self.assertEqual(self.ready("a.b").ids(), EVENTS)

    def test_one_snapshot(self):
        """However often we commit; and what is behind it is never taken for dropped."""
        lake = self.ready("one")
        for n in range(5):
            lake.ingest("clicks", "-", stdin=line(f"more{n}"))
            report = lake.once("--snapshots-keep", "2", "--snapshots-age", "1s",
                               "--snapshots-grace", "1s", "--commit-prune-every", "1")
            self.assertEqual(report["taken"], 1)
        self.assertEqual(len(lake.table_json("snapshots", "one.clicks")), 1)
        self.assertEqual(lake.ids(), EVENTS + collections.Counter(f"more{n}" for n in range(5)))
        lake.table("check", "one.clicks", "--deep")


class Schedules(Case):
    def test_schedules(self):
        """A server by others, with snapshot ids of its own. That our requirement on main is what
        holds is not shown here: a build that sends none passes, Nessie finds the stale one of two
        commits by itself."""
        wire = Wire(self.peer.port)
        self.addCleanup(wire.close)
        schedules(self, wire, lambda namespace: self.lake(namespace, f"{wire.url}/iceberg"),
                  (SCHEDULES + 1) // 2)


if __name__ == "__main__":
    unittest.main()
