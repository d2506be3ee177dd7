# SPDX-License-Identifier: Apache-2.0
"""Catalog files that are locked, gone, replaced or no catalogs, and tables that the service
does not fully know: an error or an alarm with no half commit, or an append that other engines
read; and whatever it does not know stays as it was."""
import collections
import contextlib
import glob
import json
import os
import shutil
import sqlite3
import subprocess
import time
import unittest

import pyarrow as pa

from lake import BUILD, DEADLINE, DONE, FAILED, REFUSED, Lake, end, local_path, until
from test_spool import has_open

EVENTS = collections.Counter(f"c{number}" for number in range(20))
LINES = b"".join(f'{{"id":"{key}","ts":1767225600000}}\n'.encode() for key in EVENTS)
MORE = b'{"id":"more","ts":1767225600000}\n'


class WithLake(unittest.TestCase):
    def setUp(self):
        self.lake = Lake(tables="openrtb/clicks")
        self.addCleanup(self.lake.__exit__)

    def ready(self):
        self.lake.init()
        self.lake.ingest("clicks", "-", stdin=LINES)

    def ids(self):
        return self.lake.ids("clicks", "click_id")

    def fails(self, result, *words):
        self.assertEqual(result.code, FAILED, result.err)
        for word in words:
            self.assertIn(word, result.err)


class Files(WithLake):
    def lock(self):
        """Another process in the middle of its own swap."""
        connection = sqlite3.connect(self.lake.catalog_path, isolation_level=None)
        self.addCleanup(connection.close)
        connection.execute("BEGIN EXCLUSIVE")
        return connection

    def test_locked_until_the_deadline(self):
        """A backup that holds the file must not hang the service, nor half a commit be left."""
        self.ready()
        holder = self.lock()
        start = time.monotonic()
        result = self.lake.once("--catalog-busy-timeout", "300ms", code=None)
        self.fails(result, "locked")
        self.assertLess(time.monotonic() - start, 20)
        holder.execute("ROLLBACK")
        self.assertEqual(self.ids(), {})
        self.assertEqual(self.lake.once()["taken"], 1)
        self.assertEqual(self.ids(), EVENTS)

    def test_locked_for_a_while(self):
        self.ready()
        holder = self.lock()
        process = subprocess.Popen([f"{BUILD}/bidlake-commit", "once", *self.lake.commit_flags(),
                                    "--catalog-busy-timeout", "30s"], stderr=subprocess.DEVNULL)
        self.addCleanup(end, process)
        until(lambda: has_open(process, "/catalog.db"), "it has the catalog open")
        self.assertIsNone(process.poll())
        holder.execute("ROLLBACK")
        self.assertEqual(process.wait(timeout=DEADLINE), DONE)
        self.assertEqual(self.ids(), EVENTS)

    def test_gone(self):
        """A volume that is not mounted: no new, empty catalog in its place."""
        self.ready()
        os.rename(self.lake.catalog_path, self.lake.path("moved.db"))
        self.fails(self.lake.once(code=None), "catalog.db")
        self.assertFalse(os.path.exists(self.lake.catalog_path))
        self.fails(self.lake.table("ls", code=None), "catalog.db")
        os.rename(self.lake.path("moved.db"), self.lake.catalog_path)
        self.assertEqual(self.lake.once()["taken"], 1)
        self.assertEqual(self.ids(), EVENTS)

    def test_no_catalog(self):
        self.ready()
        for content in (b"", b"this is no SQLite file at all" * 100):
            with self.subTest(content[:10]):
                with open(self.lake.catalog_path, "rb") as file:
                    kept = file.read()
                with open(self.lake.catalog_path, "wb") as file:
                    file.write(content)
                self.fails(self.lake.once(code=None))
                with open(self.lake.catalog_path, "wb") as file:
                    file.write(kept)
        self.assertEqual(self.lake.once()["taken"], 1)
        self.assertEqual(self.ids(), EVENTS)

    def test_replaced_by_another(self):
        """A catalog from elsewhere, whose tables lie elsewhere."""
        self.ready()
        self.lake.once()
        self.lake.ingest("clicks", "-", stdin=MORE)
        other = Lake(tables="openrtb/clicks")
        self.addCleanup(other.__exit__)
        other.init()
        os.rename(self.lake.catalog_path, self.lake.path("old.db"))
        shutil.copy(other.catalog_path, self.lake.catalog_path)
        result = self.lake.once(code=None)
        self.fails(result, "outside of the warehouse")
        self.assertEqual(len(self.lake.inbox()), 1)
        os.replace(self.lake.path("old.db"), self.lake.catalog_path)
        self.assertEqual(self.lake.once()["taken"], 1)
        self.assertEqual(self.ids(), EVENTS + collections.Counter(["more"]))

    def test_made_anew(self):
        """init finds a warehouse in use and a catalog without its table (a volume that isn't
        mounted): it must refuse and make nothing. When a person means it, it is an alarm, what
        was made for the old table is not taken as it is, and what is taken is taken once."""
        self.ready()
        self.lake.once()
        self.lake.ingest("clicks", "-", stdin=MORE)
        os.rename(self.lake.catalog_path, self.lake.path("old.db"))
        self.fails(self.lake.init(code=None), "--anew")
        self.fails(self.lake.once(code=None), "clicks")
        init = self.lake.init("--anew", code=None)
        self.assertIn("alarm", init.err)
        self.assertIn("another table by this name", init.err)
        self.assertEqual(self.lake.once(code=REFUSED)["taken"], 0)
        for _ in range(3):
            self.lake.ingest("clicks", "-", stdin=b"")
            self.lake.once()
        self.assertEqual(self.ids(), {"more": 1})

    def test_put_back_to_an_older_state(self):
        """A catalog from a backup: what its ledger doesn't know comes again, or is an alarm;
        never twice."""
        self.ready()
        self.lake.once()
        shutil.copy(self.lake.catalog_path, self.lake.path("backup.db"))
        self.lake.ingest("clicks", "-", stdin=MORE)
        self.lake.once()
        os.replace(self.lake.path("backup.db"), self.lake.catalog_path)
        for _ in range(3):
            self.lake.ingest("clicks", "-", stdin=b"")
            self.lake.once(code=None)
        self.assertLessEqual(max(self.ids().values()), 1)


class Tables(WithLake):
    def metadata(self, table="clicks"):
        with open(local_path(self.lake.load(table).metadata_location), encoding="utf-8") as file:
            return json.load(file)

    def rewrite(self, change):
        """A commit by hand: metadata that somebody else's program would write."""
        location = self.lake.load("clicks").metadata_location
        metadata = self.metadata()
        change(metadata)
        folder, name = os.path.split(local_path(location))
        number = int(name.split("-")[0]) + 1
        path = f"{folder}/{number:05}-00000000-0000-4000-8000-{number:012}.metadata.json"
        with open(path, "w", encoding="utf-8") as file:
            json.dump(metadata, file)
        with contextlib.closing(sqlite3.connect(self.lake.catalog_path)) as connection:
            connection.execute("UPDATE iceberg_tables SET metadata_location = ?, "
                               "previous_metadata_location = ? WHERE table_name = 'clicks'",
                               (f"file://{path}", location))
            connection.commit()
        return metadata

    def store(self):
        """Names of all that lies under the table."""
        return sorted(glob.glob(f"{self.lake.warehouse}/db/**", recursive=True))

    def refuses(self, *words):
        """Not taken, said why, and nothing was written under the table or its ledger."""
        before, location = self.store(), self.lake.catalog_location()
        ledgers = sorted(glob.glob(f"{self.lake.warehouse}/_bidlake/ledger/**", recursive=True))
        result = self.lake.once(code=None)
        self.fails(result, *words)
        self.assertEqual(self.store(), before)
        self.assertEqual(self.lake.catalog_location(), location)
        self.assertEqual(sorted(glob.glob(f"{self.lake.warehouse}/_bidlake/ledger/**",
                                          recursive=True)), ledgers)
        self.assertEqual(len(self.lake.inbox()), 1)

    def test_what_is_not_known_is_kept(self):
        """Other engines put properties, statistics, refs, keys of later versions into metadata."""
        self.ready()

        def change(metadata):
            metadata["properties"]["owner"] = "somebody"
            metadata["future-key"] = {"nested": [1, {"a": None}], "huge": 2**62}
            metadata["statistics"] = [{"snapshot-id": metadata["current-snapshot-id"],
                                       "statistics-path": "file:///x.puffin",
                                       "file-size-in-bytes": 10,
                                       "file-footer-size-in-bytes": 5, "blob-metadata": []}]
            metadata["refs"]["audit"] = {"snapshot-id": metadata["current-snapshot-id"],
                                         "type": "tag", "max-ref-age-ms": 7}
            metadata["snapshots"][0]["summary"]["engine-name"] = "someone"
        before = self.rewrite(change)
        self.assertEqual(self.lake.once()["taken"], 1)
        after = self.metadata()
        for key in ("future-key", "statistics"):
            self.assertEqual(after[key], before[key])
        self.assertEqual(after["properties"]["owner"], "somebody")
        self.assertEqual(after["refs"]["audit"], before["refs"]["audit"])
        self.assertEqual(after["snapshots"][0], before["snapshots"][0])
        self.assertEqual(self.ids(), EVENTS)

    def test_foreign_commits_between_ours(self):
        """PyIceberg sets properties, evolves the schema, appends and tags: we go on behind it."""
        self.ready()
        self.lake.once()
        with contextlib.closing(self.lake.catalog()) as catalog:
            table = catalog.load_table("db.clicks")
            with table.transaction() as change:
                change.set_properties(color="blue")
            from pyiceberg.types import StringType
            with table.update_schema() as schema:
                schema.add_column("note", StringType())
            rows = table.scan(limit=1).to_arrow()
            table.append(rows.set_column(rows.column_names.index("click_id"),
                                         pa.field("click_id", pa.string(), nullable=False),
                                         pa.array(["foreign"])))
            table.manage_snapshots().create_tag(table.current_snapshot().snapshot_id, "t").commit()
        self.lake.ingest("clicks", "-", stdin=MORE)
        self.assertEqual(self.lake.once()["taken"], 1)
        self.assertEqual(self.ids(), EVENTS + collections.Counter(["foreign", "more"]))
        table = self.lake.load("clicks")
        self.assertEqual(table.properties["color"], "blue")
        self.assertIn("t", table.refs())
        self.assertEqual(table.scan().count(), 22)
        self.lake.check("clicks")

    def test_rolled_back_by_a_person(self):
        """A table set back to an earlier snapshot keeps its ledger: what was taken away on
        purpose does not come again."""
        self.ready()
        self.lake.once()
        earlier = self.lake.load("clicks").current_snapshot().snapshot_id
        self.lake.ingest("clicks", "-", stdin=MORE)
        self.lake.once()

        def back(metadata):
            metadata["current-snapshot-id"] = earlier
            metadata["refs"]["main"]["snapshot-id"] = earlier
        self.rewrite(back)
        self.lake.ingest("clicks", "-", stdin=b'{"id":"behind","ts":1767225600000}\n')
        self.assertEqual(self.lake.once()["taken"], 1)
        self.assertEqual(self.ids(), EVENTS + collections.Counter(["behind"]))

    def test_version_1(self):
        """Format 1 has no sequence numbers: such a table is not written."""
        self.ready()

        def change(metadata):
            metadata["format-version"] = 1
            del metadata["last-sequence-number"]
        self.rewrite(change)
        self.refuses("format")

    def test_version_1_by_pyiceberg(self):
        """Neither does init take such a table over, nor write a contract for it."""
        self.lake.init()
        made = self.lake.load("clicks")
        with contextlib.closing(self.lake.catalog()) as catalog:
            catalog.drop_table("db.clicks")
            shutil.rmtree(f"{self.lake.warehouse}/_bidlake")
            catalog.create_table("db.clicks", made.schema(), partition_spec=made.spec(),
                                 sort_order=made.sort_order(), properties={"format-version": "1"})
        before = self.store()
        self.fails(self.lake.init(code=None), "format")
        self.assertEqual(self.store(), before)
        self.assertEqual(glob.glob(f"{self.lake.warehouse}/_bidlake/tables/*clicks*"), [])

    def test_unknown_version(self):
        self.ready()
        self.rewrite(lambda metadata: metadata.update({"format-version": 4}))
        result = self.lake.once(code=None)
        self.fails(result, "format")
        self.assertEqual(len(self.lake.inbox()), 1)

    def test_version_3(self):
        """Format 3 wants row ids: appended with them, so that its readers accept it."""
        self.ready()
        self.lake.once()

        def change(metadata):
            metadata["format-version"] = 3
            metadata["next-row-id"] = 0
        self.rewrite(change)
        self.lake.ingest("clicks", "-", stdin=MORE)
        result = self.lake.once(code=None)
        if result.code != DONE:
            self.fails(result, "format")
            return
        metadata = self.metadata()
        self.assertEqual(metadata["format-version"], 3)
        snapshot, = [each for each in metadata["snapshots"]
                     if each["snapshot-id"] == metadata["current-snapshot-id"]]
        # Files from before the upgrade get ids with the first commit after it.
        self.assertIn("first-row-id", snapshot)
        self.assertIn("added-rows", snapshot)
        self.assertEqual(metadata["next-row-id"], snapshot["first-row-id"] + snapshot["added-rows"])
        self.assertGreaterEqual(metadata["next-row-id"], 1)
        self.assertEqual(self.lake.load("clicks").scan().count(), 21)
        self.assertEqual(self.ids(), EVENTS + collections.Counter(["more"]))

    def test_encrypted(self):
        """A table with encryption keys: plain files in it would be a leak."""
        self.ready()
        self.rewrite(lambda metadata: metadata.update({
            "format-version": 3, "next-row-id": 0,
            "encryption-keys": [{"key-id": "k", "encrypted-key-metadata": "AAAA"}]}))
        self.refuses("encrypt")

    def test_encrypted_by_property(self):
        self.ready()
        self.rewrite(lambda metadata: metadata["properties"].update({"encryption.key-id": "k"}))
        self.refuses("encrypt")

    def test_another_table_by_this_name(self):
        """Dropped and made anew by somebody: the contract knows the old one's uuid, so nothing is
        taken by a ledger that has never heard of what is committed."""
        self.ready()
        self.rewrite(lambda metadata: metadata.update(
            {"table-uuid": "00000000-0000-4000-8000-000000000000"}))
        self.refuses("belongs to another table")

    def test_ledger_property_unset(self):
        """Without the pointer the ledger would look empty, and all would come twice."""
        self.ready()
        self.lake.once()
        self.lake.ingest("clicks", "-", stdin=MORE)
        self.rewrite(lambda metadata: metadata["properties"].pop("bidlake.ledger"))
        self.refuses("ledger")

    def test_ledger_file_gone(self):
        self.ready()
        self.lake.once()
        self.lake.ingest("clicks", "-", stdin=MORE)
        shutil.move(f"{self.lake.warehouse}/_bidlake/ledger", self.lake.path("kept"))
        result = self.lake.once(code=None)
        self.fails(result, "ledger")
        self.assertEqual(self.ids(), EVENTS)
        shutil.move(self.lake.path("kept"), f"{self.lake.warehouse}/_bidlake/ledger")
        self.assertEqual(self.lake.once()["taken"], 1)
        self.assertEqual(self.ids(), EVENTS + collections.Counter(["more"]))


if __name__ == "__main__":
    unittest.main()
