# SPDX-License-Identifier: Apache-2.0
"""Tables that others made and change: adopted by init, appended to beside PyIceberg's appends,
deletes, branches and expiries; what others wrote is merged right or left alone."""
import collections
import contextlib
import datetime
import decimal
import glob
import json
import os
import time
import unittest

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.manifest import (DataFile, DataFileContent, FileFormat, ManifestContent,
                                ManifestEntry, ManifestEntryStatus, ManifestWriterV2,
                                write_manifest_list)
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.snapshots import Operation, Snapshot, Summary
from pyiceberg.table.update import AddSnapshotUpdate, SetSnapshotRefUpdate
from pyiceberg.transforms import (BucketTransform, DayTransform, IdentityTransform,
                                  TruncateTransform)
from pyiceberg.types import (DateType, DecimalType, DoubleType, LongType, NestedField, StringType,
                             TimestamptzType)

from lake import FAILED, REFUSED, Lake, duck, local_path, read_lines, until

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

    def ours(self, *keys, flags=()):
        lines = [json.dumps({"id": key, "kind": "ab", "amount": 1, "price": 2.5,
                             "ts": 1767225600000}) for key in keys]
        self.lake.ingest("things", "-", stdin="\n".join(lines).encode())
        result = self.lake.once(*flags)
        self.assertEqual(result["taken"], 1, result)
        self.expected.update(keys)

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

    def test_damaged_page(self):
        """A bit that a disk flipped, in a file of the same size: only --deep reads that far."""
        self.create()
        self.append("theirs")
        self.lake.init()
        self.ours("a", "b")
        report = json.loads(self.lake.table("check", "things", "--deep", "--json").out)
        self.assertTrue(report["ok"], report)
        self.assertLess(report["pages_unchecked"], report["pages"])
        path, = [path for path in self.lake.live_files("things") if "-0-2-" in path]
        chunk = pq.ParquetFile(path).metadata.row_group(0).column(0)
        with open(path, "r+b") as file:
            end = (chunk.dictionary_page_offset or chunk.data_page_offset) + \
                chunk.total_compressed_size
            file.seek(end - 1)
            last = file.read(1)[0]
            file.seek(end - 1)
            file.write(bytes([last ^ 1]))
        self.lake.check("things")
        result = self.lake.table("check", "things", "--deep", code=FAILED)
        self.assertIn(os.path.basename(path), result.out)
        self.assertIn("checksum", result.out)

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

    # -- deletes, expiries, branches: others change the table between our commits ----------

    KEEP = ("--snapshots-keep", "2", "--snapshots-grace", "1s", "--commit-prune-every", "1")

    def retained_reads(self):
        """Every path that a snapshot in the metadata names exists and reads."""
        with self.table() as table:
            for snapshot in table.snapshots():
                for manifest in snapshot.manifests(table.io):
                    for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
                        self.assertTrue(os.path.exists(local_path(entry.data_file.file_path)))

    def day_passes(self):
        """The notes of what was dropped grow old."""
        ago = time.time() - 2 * 86400
        notes = glob.glob(f"{self.lake.warehouse}/_bidlake/dropped/*/*.json")
        for path in notes:
            os.utime(path, (ago, ago))
        return len(notes)

    def lists(self):
        return len(glob.glob(f"{self.lake.warehouse}/db/things/metadata/snap-*.avro"))

    def adopted(self, **properties):
        self.create(PartitionSpec(PartitionField(15, 1000, DayTransform(), "day")), **properties)
        self.lake.init()

    def test_rows_deleted_between(self):
        """Copy on write: files go, others come. Ours behind it must not bring them back."""
        self.adopted(**{"commit.manifest.min-count-to-merge": "3"})
        for number in range(3):
            self.ours(f"a{number}", f"b{number}", f"c{number}")
            with self.table() as table:
                table.delete(f"thing_id == 'b{number}'")
            del self.expected[f"b{number}"]
        with self.table() as table:
            table.overwrite(self.rows("new"), overwrite_filter="thing_id == 'c0'")
        del self.expected["c0"]
        self.expected["new"] = 1
        for number in range(3, 8):
            self.ours(f"a{number}")
        self.judge()
        self.lake.check("things")

    def test_delete_files_between(self):
        """Merge on read: a position delete holds by sequence number and path, and its manifest
        is carried over while those of the data are merged."""
        self.adopted(**{"commit.manifest.min-count-to-merge": "4"})
        self.ours("a", "b", "c")
        with self.table() as table:
            task, = table.scan().plan_files()
            rows = pq.read_table(local_path(task.file.file_path))
            delete_rows(table, task.file, [rows.column("thing_id").to_pylist().index("b")])
        del self.expected["b"]
        for number in range(7):
            self.ours(f"d{number}")
        kinds = [manifest["content"] for manifest in self.manifests()]
        self.assertEqual(kinds.count(1), 1)
        self.assertLess(kinds.count(0), 6)
        self.judge()

    def test_expired_by_others(self):
        """PyIceberg expires what it likes, ours among it; our own removal meets that."""
        self.adopted()
        for number in range(4):
            self.ours(f"a{number}")
        with self.table() as table:
            old = [snapshot.snapshot_id for snapshot in table.snapshots()][:-2]
            table.maintenance.expire_snapshots().by_ids(old).commit()
        for number in range(4, 8):
            self.ours(f"a{number}", flags=self.KEEP)
        self.assertGreater(self.day_passes(), 0)
        before = self.lists()
        self.ours("last", flags=self.KEEP)
        self.assertLess(self.lists(), before)
        self.retained_reads()
        self.judge()

    def test_branches_and_tags_of_others(self):
        """What stands on a branch or a tag reads on, whatever main drops and removes."""
        self.adopted(**{"commit.manifest.min-count-to-merge": "3"})
        self.ours("a0")
        with self.table() as table:
            table.manage_snapshots().create_tag(table.current_snapshot().snapshot_id,
                                                "first").commit()
        self.ours("a1", flags=self.KEEP)
        with self.table() as table:
            table.manage_snapshots().create_branch(table.current_snapshot().snapshot_id,
                                                   "audit").commit()
        self.append("on-branch", branch="audit")
        for number in range(2, 10):
            self.ours(f"a{number}", flags=self.KEEP)
        self.append("on-branch-too", branch="audit")
        self.assertGreater(self.day_passes(), 0)
        before = self.lists()
        self.ours("last", flags=self.KEEP)
        self.assertLess(self.lists(), before)
        self.retained_reads()
        self.judge()
        with self.table() as table:
            def ids(name):
                rows = table.scan(snapshot_id=table.snapshot_by_name(name).snapshot_id).to_arrow()
                return sorted(rows.column("thing_id").to_pylist())
            self.assertEqual(ids("first"), ["a0"])
            self.assertEqual(ids("audit"), ["a0", "a1", "on-branch", "on-branch-too"])

    def test_foreign_snapshot_stops_the_pruning(self):
        self.adopted()
        self.ours("a0")
        self.ours("a1")
        self.append("theirs")
        theirs = self.lake.load("things").current_snapshot().snapshot_id
        for number in range(2, 8):
            self.ours(f"a{number}", flags=self.KEEP)
        snapshots = [each.snapshot_id for each in self.lake.load("things").snapshots()]
        self.assertIn(theirs, snapshots)
        self.assertEqual(snapshots.index(theirs), 3)  # the first ledger, a0, a1 stay below it
        self.assertEqual(len(snapshots), 6)
        self.judge()

    def test_rolled_back(self):
        """By PyIceberg: the ledger stays, so what was taken away on purpose stays away."""
        self.adopted()
        self.ours("a")
        earlier = self.lake.load("things").current_snapshot().snapshot_id
        self.ours("b")
        with self.table() as table:
            table.manage_snapshots().set_current_snapshot(snapshot_id=earlier).commit()
        del self.expected["b"]
        self.lake.ingest("things", "-", stdin=b"")
        self.lake.once()
        self.judge()
        for number in range(5):
            self.ours(f"c{number}", flags=self.KEEP)
        self.day_passes()
        self.ours("d", flags=self.KEEP)
        self.retained_reads()
        self.judge()

    def test_dropped_and_made_again(self):
        """Another table under the name: nothing goes into it until a person has said so."""
        self.adopted()
        self.ours("a")
        with contextlib.closing(self.lake.catalog()) as catalog:
            catalog.drop_table("db.things")
            catalog.create_table("db.things", SCHEMA)
        lines = b'{"id":"later","ts":1767225600000}'
        self.lake.ingest("things", "-", stdin=lines)
        result = self.lake.once(code=None)
        self.assertEqual(result.code, FAILED, result.err)
        self.assertEqual(len(self.lake.inbox()), 1)
        self.assertEqual(self.lake.load("things").scan().count(), 0)
        self.assertEqual(self.lake.init(code=None).code, FAILED)
        self.lake.init("--anew")
        self.lake.once(code=REFUSED)
        for _ in range(3):  # the agent hears of the new table and sends anew
            self.lake.ingest("things", "-", stdin=b"")
            self.lake.once()
        self.assertEqual(self.lake.ids("things", "thing_id"), {"later": 1})

    def test_stream_that_was_silent_for_long(self):
        """Retired, it comes back as an alarm, never as a second copy of what it once sent."""
        self.adopted()
        spools = {}
        for agent in ("old", "new"):
            spools[agent] = {"spool": self.lake.path(f"spool-{agent}"), "agent_id": agent}
        self.lake.ingest("things", "-", stdin=b'{"id":"a","ts":1767225600000}', **spools["old"])
        held = {path: b"".join(read_lines(path)) for path in self.lake.inbox()}
        self.lake.once()
        until(lambda: time.time() - os.stat(glob.glob(
            f"{self.lake.warehouse}/_bidlake/receipts/*")[0]).st_mtime > 1.1, "a second passed")
        self.lake.ingest("things", "-", stdin=b'{"id":"b","ts":1767225600000}', **spools["new"])
        self.lake.once("--ledger-retire", "1s")
        self.assertEqual(len(self.lake.table_json("ledger", "things")), 1)
        for path, content in held.items():
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)
        result = self.lake.once(code=None)
        report = json.loads(result.out)
        self.assertEqual((report["retired"], report["taken"]), (1, 0))
        self.assertIn("alarm", result.err)
        self.assertEqual(self.lake.ids("things", "thing_id"), {"a": 1, "b": 1})
        self.assertEqual(len(self.lake.inbox()), 1)


class DeleteWriter(ManifestWriterV2):
    """PyIceberg reads delete files and writes none: this is its writer, told otherwise."""

    def content(self):
        return ManifestContent.DELETES

    @property
    def _meta(self):
        return {**super()._meta, "content": "deletes"}


def delete_rows(table, data_file, positions):
    """Commits a position delete of these rows of one data file."""
    folder = f"{table.location()}/metadata"
    path = f"{table.location()}/data/deletes-{data_file.record_count}.parquet"
    fields = [pa.field(name, kind, False, metadata={"PARQUET:field_id": str(number)})
              for name, kind, number in (("file_path", pa.string(), 2147483546),
                                         ("pos", pa.int64(), 2147483545))]
    pq.write_table(pa.table([pa.array([data_file.file_path] * len(positions)),
                             pa.array(positions, pa.int64())], schema=pa.schema(fields)),
                   local_path(path))
    parent = table.current_snapshot()
    number = parent.snapshot_id ^ 1
    delete = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES, file_path=path, file_format=FileFormat.PARQUET,
        partition=data_file.partition, record_count=len(positions),
        file_size_in_bytes=os.path.getsize(local_path(path)), spec_id=data_file.spec_id)
    with DeleteWriter(table.specs()[data_file.spec_id], table.schema(),
                      table.io.new_output(f"{folder}/deletes-m0.avro"), number, "null") as writer:
        writer.add_entry(ManifestEntry.from_args(status=ManifestEntryStatus.ADDED,
                                                 snapshot_id=number, data_file=delete))
    sequence = table.metadata.last_sequence_number + 1
    name = f"{folder}/snap-{number}-1-deletes.avro"
    with write_manifest_list(2, table.io.new_output(name), number, parent.snapshot_id, sequence,
                             "null") as lists:
        lists.add_manifests([writer.to_manifest_file()] + parent.manifests(table.io))
    snapshot = Snapshot(snapshot_id=number, parent_snapshot_id=parent.snapshot_id,
                        sequence_number=sequence, timestamp_ms=int(time.time() * 1000),
                        manifest_list=name, summary=Summary(Operation.DELETE),
                        schema_id=table.schema().schema_id)
    with table.transaction() as change:
        change._apply((AddSnapshotUpdate(snapshot=snapshot),
                       SetSnapshotRefUpdate(snapshot_id=number, ref_name="main", type="branch")))


if __name__ == "__main__":
    unittest.main()
