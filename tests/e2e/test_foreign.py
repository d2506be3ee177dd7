# SPDX-License-Identifier: Apache-2.0
"""Tables that others made and change: adopted by init, appended to beside PyIceberg's appends,
deletes, branches and expiries; what others wrote is merged right or left alone."""
import collections
import contextlib
import datetime
import decimal
import json
import unittest

import pyarrow as pa
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import (BucketTransform, DayTransform, IdentityTransform,
                                  TruncateTransform)
from pyiceberg.types import (DateType, DecimalType, DoubleType, LongType, NestedField, StringType,
                             TimestamptzType)

from lake import Lake, duck, local_path

MAPPING = """table: things
partition: [day(event_timestamp)]
columns:
  thing_id: {type: string, from: id, required: true}
  kind: {type: string, from: kind}
  amount: {type: long, from: amount}
  price: {type: double, from: price}
  event_timestamp: {type: timestamptz, from: ts}
  received_at: {type: timestamptz, from: $received_at}
"""
SCHEMA = Schema(
    NestedField(11, "thing_id", StringType(), required=True), NestedField(12, "kind", StringType()),
    NestedField(13, "amount", LongType()), NestedField(14, "price", DoubleType()),
    NestedField(15, "event_timestamp", TimestamptzType()),
    NestedField(16, "received_at", TimestamptzType()),
    NestedField(17, "their_day", DateType()), NestedField(18, "their_money", DecimalType(12, 3)))
# Of more fields than any mapping may have.
SPEC = PartitionSpec(
    PartitionField(12, 1000, IdentityTransform(), "kind"),
    PartitionField(11, 1001, BucketTransform(4), "thing_bucket"),
    PartitionField(13, 1002, TruncateTransform(10), "tens"),
    PartitionField(15, 1003, DayTransform(), "day"),
    PartitionField(17, 1004, IdentityTransform(), "their_day"),
    PartitionField(18, 1005, IdentityTransform(), "their_money"))
TS = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)


class Foreign(unittest.TestCase):
    def setUp(self):
        self.lake = Lake()
        self.addCleanup(self.lake.__exit__)
        self.lake.tables = self.lake.write("things.yaml", MAPPING)
        self.expected = collections.Counter()
        self.number = 0

    def create(self, spec=SPEC, **properties):
        with contextlib.closing(self.lake.catalog()) as catalog:
            catalog.create_namespace_if_not_exists("db")
            catalog.create_table("db.things", SCHEMA, partition_spec=spec, properties=properties)
            # A catalog gives its own field ids.
            return catalog.load_table("db.things")

    def rows(self, *keys):
        self.number += 1
        data = pa.table({
            "thing_id": pa.array(keys, pa.string()),
            "kind": pa.array([["ab", "ü", None][self.number % 3]] * len(keys), pa.string()),
            "amount": pa.array(range(len(keys)), pa.int64()),
            "price": pa.array([0.5] * len(keys), pa.float64()),
            "event_timestamp": pa.array([TS + datetime.timedelta(days=self.number % 4)] * len(keys),
                                        pa.timestamp("us", tz="UTC")),
            "received_at": pa.array([TS] * len(keys), pa.timestamp("us", tz="UTC")),
            "their_day": pa.array([datetime.date(1969, 12, 31)] * len(keys), pa.date32()),
            "their_money": pa.array([decimal.Decimal("-1.250")] * len(keys), pa.decimal128(12, 3)),
        })
        return data.cast(self.lake.load("things").schema().as_arrow())

    @contextlib.contextmanager
    def table(self):
        with contextlib.closing(self.lake.catalog()) as catalog:
            yield catalog.load_table("db.things")

    def append(self, *keys, **how):
        with self.table() as table:
            table.append(self.rows(*keys), **how)
        if "branch" not in how:
            self.expected.update(keys)

    def ours(self, *keys, code=0):
        lines = [json.dumps({"id": key, "kind": "ab", "amount": 1, "price": 2.5,
                             "ts": 1767225600000}) for key in keys]
        self.lake.ingest("things", "-", stdin="\n".join(lines).encode())
        result = self.lake.once(code=code)
        if code == 0:
            self.assertEqual(result["taken"], 1, result)
            self.expected.update(keys)
        return result

    def judge(self):
        """All rows once, by two readers, and the files as bidlake-table sees them."""
        table = self.lake.load("things")
        found = table.scan(selected_fields=("thing_id",)).to_arrow()
        self.assertEqual(collections.Counter(found.column(0).to_pylist()), self.expected)
        with contextlib.closing(duck(iceberg=True)) as connection:
            count = connection.execute("SELECT count(*) FROM iceberg_scan(?)",
                                       [local_path(table.metadata_location)]).fetchone()[0]
        self.assertEqual(count, self.expected.total())

    def entries(self):
        """Live files of main: all that an entry says, by path."""
        rows = self.lake.load("things").inspect.entries().to_pylist()
        return {row["data_file"]["file_path"]:
                {key: value for key, value in row.items() if key != "status"}
                for row in rows if row["status"] != 2}

    def manifests(self):
        return self.lake.load("things").inspect.manifests().to_pylist()

    def test_adopted_with_its_rows(self):
        self.create()
        self.append("p1", "p2")
        self.lake.init()
        self.ours("a", "b")
        self.append("p3")
        self.ours("c")
        self.judge()
        self.lake.check("things")
        table = self.lake.load("things")
        self.assertEqual(table.spec().fields[0].name, "kind")
        rows = table.scan("thing_id == 'a'").to_arrow().to_pylist()
        self.assertEqual((rows[0]["kind"], rows[0]["amount"], rows[0]["price"],
                          rows[0]["their_day"]), ("ab", 1, 2.5, None))

    def test_foreign_manifests_are_merged(self):
        """Entries keep what they came with: an entry with another sequence number would come
        back to life, or die, under somebody's delete."""
        for version in ("2", "3"):
            with self.subTest(version):
                self.setUp()
                try:
                    self.create(**{"commit.manifest.min-count-to-merge": "9",
                                   "format-version": version})
                    self.append("p0")
                except NotImplementedError:
                    self.assertEqual(version, "3")
                    print("NOT TESTED: PyIceberg does not write format 3")
                    continue
                self.lake.init()
                for number in range(1, 7):
                    self.append(f"p{number}", f"q{number}")
                with self.table() as table:
                    table.delete("thing_id == 'q2'")
                    del self.expected["q2"]
                self.assertLess(len(self.manifests()), 9)
                while len(self.manifests()) < 9:
                    self.append(f"more-{self.number}")
                before, count = self.entries(), len(self.manifests())
                self.ours("merger")
                after = self.entries()
                self.assertLess(len(self.manifests()), count - 4)
                self.assertEqual({path: after[path] for path in before}, before)
                self.assertEqual(len(after), len(before) + 1)
                self.judge()
                self.lake.check("things")

    def test_merging_switched_off(self):
        self.create(**{"commit.manifest.min-count-to-merge": "3",
                       "commit.manifest-merge.enabled": "false"})
        self.lake.init()
        for number in range(6):
            self.ours(f"a{number}")
        self.assertEqual(len(self.manifests()), 6)
        with self.table() as table, table.transaction() as change:
            change.set_properties({"commit.manifest-merge.enabled": "true",
                                   "commit.manifest.min-count-to-merge": "6"})
        self.ours("last")
        self.assertEqual(len(self.manifests()), 2)
        self.judge()


if __name__ == "__main__":
    unittest.main()
