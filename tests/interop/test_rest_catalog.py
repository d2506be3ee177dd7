# SPDX-License-Identifier: Apache-2.0
"""The commit service over Apache Iceberg's own REST catalog: foreign readers find through it what
we committed, foreign writers and we go on after each other, and no schedule of lost, late and
doubled requests loses an event or has it twice. INTEROP_SCHEDULES=100 of them."""
import collections
import unittest

from peer import IcebergRest, PeerCase, duck_with_http
from faulty_wire import Wire
from rest_lake import SCHEDULES, RestLake, line, schedules

import pyarrow as pa

from lake import FAILED, program


class Case(PeerCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.peer = cls.keep(IcebergRest(cls.home.directory, f"file://{cls.home.warehouse}"))

    def lake(self, namespace, url=None):
        lake = RestLake(url or self.peer.url, self.home.warehouse, namespace,
                        direct=self.peer.url)
        self.addCleanup(lake.__exit__)
        return lake

    def ready(self, namespace):
        lake = self.lake(namespace)
        lake.init()
        lake.ingest("clicks", "-", stdin=b"".join(line(f"c{n}") for n in range(20)))
        self.assertEqual(lake.once()["taken"], 1)
        return lake


class Readers(Case):
    EVENTS = collections.Counter(f"c{n}" for n in range(20))

    def test_pyiceberg(self):
        lake = self.ready("py")
        self.assertEqual(lake.ids(), self.EVENTS)
        found = lake.load().scan(row_filter="device_geo_country = 'DEU'").to_arrow()
        self.assertEqual(found.num_rows, 20)

    def test_table_tool(self):
        lake = self.ready("tool")
        lake.table("check", "tool.clicks", "--deep")
        listed = [row["table"] for row in lake.table_json("ls")]
        self.assertIn("tool.clicks", listed)
        self.assertEqual(len(lake.table_json("snapshots", "tool.clicks")), 2)

    def test_duckdb(self):
        self.ready("duck")
        connection = duck_with_http()
        connection.execute(f"ATTACH 'any' AS lake (TYPE ICEBERG, ENDPOINT '{self.peer.url}', "
                           "AUTHORIZATION_TYPE 'none')")
        found = connection.execute("SELECT click_id, count(*) FROM lake.duck.clicks "
                                   "GROUP BY ALL").fetchall()
        self.assertEqual(collections.Counter(dict(found)), self.EVENTS)

    def test_levels(self):
        """A namespace within another: both are made, and the table is found by both names."""
        lake = self.ready("a.b")
        self.assertEqual(lake.ids(), self.EVENTS)
        self.assertIn(("a", "b"), lake.catalog().list_namespaces(("a",)))
        self.assertIn("a.b.clicks", [row["table"] for row in lake.table_json("ls")])

    def test_again(self):
        """init on what is there already changes nothing."""
        lake = self.ready("again")
        before = lake.load().metadata_location
        lake.init()
        self.assertEqual(lake.once()["taken"], 0)
        self.assertEqual(lake.load().metadata_location, before)

    def test_foreign_append(self):
        """PyIceberg appends between two of our commits; both stay, and ours goes on from it."""
        lake = self.ready("both")
        table = lake.load()
        row = {field.name: None for field in table.schema().fields} | {"click_id": "theirs"}
        table.append(pa.Table.from_pylist([row], schema=table.schema().as_arrow()))
        lake.ingest("clicks", "-", stdin=line("ours"))
        self.assertEqual(lake.once()["taken"], 1)
        self.assertEqual(lake.ids(),
                         self.EVENTS + collections.Counter(["theirs", "ours"]))

    def test_table_made_by_others(self):
        """Ids are the server's: a table that lacks our second spec and the sort order gets them."""
        lake = self.lake("adopted")
        self.ready("model")
        model = self.lake("model").load()
        catalog = lake.catalog()
        catalog.create_namespace("adopted")
        catalog.create_table("adopted.clicks", model.schema(),
                             location=f"{lake.warehouse}/adopted/clicks")
        lake.init()
        lake.ingest("clicks", "-", stdin=line("x"))
        self.assertEqual(lake.once()["taken"], 1)
        self.assertEqual(lake.ids(), collections.Counter(["x"]))
        self.assertEqual(len(lake.load().specs()), 3)

    def test_no_server(self):
        lake = self.lake("none", "http://127.0.0.1:9")
        result = program("bidlake-commit", "once", *lake.commit_flags(), code=FAILED)
        self.assertIn("127.0.0.1:9", result.err)


class Schedules(Case):
    def test_schedules(self):
        wire = Wire(self.peer.port)
        self.addCleanup(wire.close)
        schedules(self, wire, lambda namespace: self.lake(namespace, wire.url), SCHEDULES)


if __name__ == "__main__":
    unittest.main()
