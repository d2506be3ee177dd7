# SPDX-License-Identifier: Apache-2.0
"""The commit service over Apache Iceberg's own REST catalog: foreign readers find through it what
we committed, foreign writers and we go on after each other, and no schedule of lost, late and
doubled requests loses an event or has it twice. INTEROP_SCHEDULES=100 of them."""
import collections
import glob
import os
import random
import subprocess
import unittest

from peer import PATIENCE, IcebergRest, duck_with_http
from faulty_wire import FATES, Wire

import pyarrow as pa
from pyiceberg.catalog import load_catalog

from lake import BUILD, DONE, FAILED, Lake, program

SCHEDULES = int(os.environ.get("INTEROP_SCHEDULES", "100"))
PER_TABLE = 25  # schedules after which a new namespace begins: a read looks at all files


def line(key):
    return b'{"id":"%s","ts":1767225600000,"device_geo_country":"DE"}\n' % key.encode()


class RestLake(Lake):
    """A lake whose tables are in a server."""

    def __init__(self, url, warehouse, namespace="db"):
        super().__init__(tables="openrtb/clicks")
        self.warehouse, self.url, self.namespace = warehouse, url, namespace

    def commit_flags(self):
        return ["--warehouse", f"file://{self.warehouse}", "--catalog", f"rest:{self.url}",
                "--namespace", self.namespace, "--catalog-timeout", "1s", "--tables", self.tables]

    def agent_flags(self, spool=None, agent_id="edge-1"):
        return [*super().agent_flags(spool, agent_id), "--namespace", self.namespace]

    def catalog(self):
        return load_catalog("rest", type="rest", uri=self.url)

    def load(self, table="clicks"):
        return self.catalog().load_table(f"{self.namespace}.{table}")

    def waiting(self):
        return glob.glob(f"{self.warehouse}/_bidlake/inbox/{self.namespace}.*/*/*.json")


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.home = Lake()
        cls.addClassCleanup(cls.home.__exit__)
        cls.peer = IcebergRest(cls.home.directory, f"file://{cls.home.warehouse}")
        cls.addClassCleanup(cls.peer.close)

    def lake(self, namespace, url=None):
        lake = RestLake(url or self.peer.url, self.home.warehouse, namespace)
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
        self.assertEqual(lake.ids("clicks", "click_id"), self.EVENTS)
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
        self.assertEqual(lake.ids("clicks", "click_id"), self.EVENTS)
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
        self.assertEqual(lake.ids("clicks", "click_id"),
                         self.EVENTS + collections.Counter(["theirs", "ours"]))

    def test_table_made_by_others(self):
        """Ids are the server's: a table that lacks our second spec and the sort order gets them."""
        lake = self.lake("adopted")
        self.ready("model")
        model = self.lake("model").load()
        catalog = lake.catalog()
        catalog.create_namespace("adopted")
        catalog.create_table("adopted.clicks", model.schema(),
                             location=f"file://{lake.warehouse}/adopted/clicks")
        lake.init()
        lake.ingest("clicks", "-", stdin=line("x"))
        self.assertEqual(lake.once()["taken"], 1)
        self.assertEqual(lake.ids("clicks", "click_id"), collections.Counter(["x"]))
        self.assertEqual(len(lake.load().specs()), 3)

    def test_no_server(self):
        lake = self.lake("none", "http://127.0.0.1:9")
        result = program("bidlake-commit", "once", *lake.commit_flags(), code=FAILED)
        self.assertIn("127.0.0.1:9", result.err)


class Schedules(Case):
    """Two committers at once, over a wire with faults."""

    def setUp(self):
        self.wire = Wire(self.peer.port)
        self.addCleanup(self.wire.close)

    def faults(self, rng):
        self.wire.commits.extend(rng.choice(FATES) for _ in range(rng.randint(1, 4)))
        self.wire.loads.extend(rng.choice([("pass",), ("pass",), ("before", 503), ("cut_before",)])
                               for _ in range(rng.randint(0, 4)))

    def commit_by_two(self, lake):
        command = [f"{BUILD}/bidlake-commit", "once", *lake.commit_flags()]
        both = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                for _ in range(2)]
        for process in both:
            _, err = process.communicate(timeout=60 * PATIENCE)
            if process.returncode not in (DONE, FAILED):
                raise AssertionError(f"exit {process.returncode}\n{err.decode()[-3000:]}")

    def schedule(self, lake, seed, expected):
        rng = random.Random(seed)
        for agent in rng.sample(["edge-1", "edge-2", "edge-3"], rng.randint(1, 3)):
            keys = [f"s{seed}-{agent}-{n}" for n in range(rng.randint(1, 3))]
            lake.ingest("clicks", "-", stdin=b"".join(map(line, keys)), agent_id=agent,
                        spool=lake.path(agent))
            expected.update(keys)
        self.faults(rng)
        for turn in range(12):
            self.commit_by_two(lake)
            if rng.random() < 0.5:
                self.wire.release()
            if not lake.waiting():
                break
        self.wire.commits.clear()
        self.wire.loads.clear()
        self.wire.settle()
        self.wire.release()
        lake.once()
        self.assertEqual(lake.waiting(), [], f"seed {seed}: not all was taken")
        self.assertEqual(lake.ids("clicks", "click_id"), expected, f"seed {seed}")

    def test_schedules(self):
        lake, expected = None, None
        for seed in range(SCHEDULES):
            if seed % PER_TABLE == 0:
                lake, expected = self.lake(f"s{seed}", self.wire.url), collections.Counter()
                lake.init()
            self.schedule(lake, seed, expected)
            if seed % PER_TABLE == PER_TABLE - 1:
                lake.table("check", f"s{seed - PER_TABLE + 1}.clicks")
        print(f"{SCHEDULES} schedules: fates {dict(self.wire.met)}, "
              f"the catalog answered {dict(self.wire.statuses)}")
        if SCHEDULES >= 50:
            self.assertEqual(set(self.wire.met), {fate[0] for fate in FATES})
            self.assertGreater(self.wire.statuses[409], 0)


if __name__ == "__main__":
    unittest.main()
