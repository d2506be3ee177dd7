# SPDX-License-Identifier: Apache-2.0
"""Announcements that are damaged, forged or absurd: refused with the reason under refused/ and
in the receipt, the table untouched; and the agent, which had nothing to do with it, builds its
segment again, so that each event is in the table once in the end."""
import base64
import collections
import copy
import glob
import json
import os
import unittest

from lake import DONE, REFUSED, Lake, until

EVENTS = collections.Counter(f"c{number}" for number in range(40))
LINES = b"".join(f'{{"id":"{key}","ts":1767225600000,"device_geo_country":"{("US", "FR")[i % 2]}"}}\n'
                 .encode() for i, key in enumerate(EVENTS))


def put(path, value):
    """A function that sets a place of the document: "files.0.size" to value."""
    def change(document):
        at = document
        *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
        for step in steps:
            at = at[step]
        if value is DELETE:
            del at[last]
        else:
            at[last] = value(at[last]) if callable(value) else value
    return change


DELETE = object()
HUGE = 2**63 - 1


def other_stream_path(path):
    folder, name = os.path.split(path)
    return f"{folder}/{'0' * 32}{name[32:]}"


def field(document, name):
    return next(each for each in document["schema"]["fields"] if each["name"] == name)


def metric_of(document, name):
    return document["files"][0]["metrics"][str(field(document, name)["id"])]


def set_metric(name, key, value):
    return lambda document: metric_of(document, name).update({key: value})


def set_field(name, key, value):
    return lambda document: field(document, name).update({key: value})


# Name, change of the document, a word of the reason.
FORGED = [
    ("path above the table", put("files.0.path", "../clicks2/data/x.parquet"), "path"),
    ("path with dots", put("files.0.path", lambda p: p.replace("data/", "data/../data/", 1)), "path"),
    ("absolute path", put("files.0.path", lambda p: "/" + p), "path"),
    ("path out of data", put("files.0.path", lambda p: p.replace("data/", "metadata/", 1)), "path"),
    ("path as URL", put("files.0.path", "file:///etc/passwd"), "path"),
    ("path with a line end", put("files.0.path", lambda p: p.replace("data/", "data/a\nb/", 1)), "path"),
    ("path of another stream", put("files.0.path", other_stream_path), "path"),
    ("path with a NUL", put("files.0.path", lambda p: p + "\0"), ""),
    ("path is a number", put("files.0.path", 7), "path"),
    ("the same file twice", lambda d: d["files"].append(copy.deepcopy(d["files"][0])), ""),
    ("size too large", put("files.0.size", lambda size: size + 1), "bytes"),
    ("size too small", put("files.0.size", lambda size: size - 1), "bytes"),
    ("size zero", put("files.0.size", 0), ""),
    ("size negative", put("files.0.size", -1), "size"),
    ("size absurd", put("files.0.size", HUGE), "size"),
    ("size as text", put("files.0.size", "12"), "size"),
    ("size beyond 64 bit", put("files.0.size", 10**30), ""),
    ("other checksum", put("files.0.crc32c", "00000000"), "CRC32C 00000000"),
    ("no checksum", put("files.0.crc32c", DELETE), "crc32c"),
    ("offset beyond the end", put("files.0.offset", 10**15), "ranges"),
    ("rows negative", put("files.0.rows", -1), "rows"),
    ("rows absurd", put("files.0.rows", HUGE), "rows"),
    ("rows do not add up", put("rows", 41), "rows"),
    ("events absurd", put("events", HUGE), "events"),
    ("more events than positions", put("events", 41), "events"),
    ("range backwards", put("to", 0), "range"),
    ("range to the end of numbers", put("to", HUGE), ""),
    ("from elsewhere", put("from", 7), ""),
    ("from negative", put("from", -1), "from"),
    ("from a fraction", put("from", 0.5), "from"),
    ("lost more than the range", put("lost", [{"from": 0, "to": 40, "events": 99, "reason": "x"}]), "lost"),
    ("lost out of the range", put("lost", [{"from": 50, "to": 60, "events": 1, "reason": "x"}]), "lost"),
    ("lost beside all events", put("lost", [{"from": 0, "to": 40, "events": 40, "reason": "x"}]), "lost"),
    ("unknown spec", put("files.0.spec", 99), "spec"),
    ("unknown sort order", put("files.0.sort", 99), "sort"),
    ("partition of another shape", put("files.0.partition", []), "partition"),
    ("partition of another type", put("files.0.partition.0", "2026-01-01"), "partition"),
    ("partition out of range", put("files.0.partition.0", 2**40), "partition"),
    ("thousands of partition values", put("files.0.partition", [0] * 5000), "partition"),
    ("splits backwards", put("files.0.splits", [9, 4]), "split"),
    ("splits beyond the file", put("files.0.splits", [4, 10**12]), "split"),
    ("metrics of no column", put("files.0.metrics", lambda m: dict(m, **{"999": {"size": 1}})), "999"),
    ("metrics by name", put("files.0.metrics", lambda m: dict(m, click_id={"size": 1})), "metric"),
    ("more nulls than rows", set_metric("user_id", "nulls", 10**6), "nulls"),
    ("nulls in a required column", set_metric("click_id", "nulls", 1), ""),
    ("bound that is no base64", set_metric("click_id", "lower", "***"), "base64"),
    ("bound of another width", set_metric("event_timestamp", "lower",
                                          base64.b64encode(b"abc").decode()), "bound"),
    ("lower above upper", set_metric("click_id", "lower", base64.b64encode(b"zzz").decode()), "bound"),
    ("time above its upper bound", set_metric("event_timestamp", "lower", base64.b64encode(
        (2**62).to_bytes(8, "little")).decode()), "above"),
    ("bound that is no UTF-8", set_metric("user_id", "upper", base64.b64encode(b"\xff").decode()),
     "bound"),
    ("another day than its rows", put("files.0.partition.0", 20500), "metrics"),
    ("another country than its rows", put("files.0.partition.1", "BRA"), "metrics"),
    ("column renamed", set_field("landing_page", "name", "page"), "schema"),
    ("column of another type", set_field("landing_page", "type", "long"), "schema"),
    ("column of another id", set_field("landing_page", "id", 500), "schema"),
    ("column more", lambda d: d["schema"]["fields"].append(
        {"id": 600, "name": "more", "required": False, "type": "string"}), "schema"),
    ("required column less", lambda d: d["schema"]["fields"].remove(field(d, "click_id")), ""),
    ("no schema", put("schema", None), "schema"),
    ("schema as text", put("schema", "string"), "schema"),
    ("another table", put("table", "db.impressions"), "table"),
    ("another table's uuid", put("table_uuid", "00000000-0000-4000-8000-000000000000"), "uuid"),
    ("another stream", put("stream", "edge-2/019aa3b4-0000-7000-8000-000000000000/db.clicks"), ""),
    ("stream of another table", put("stream", lambda s: s.replace("clicks", "impressions")), ""),
    ("stream without an end", put("stream", "x" * 100000), ""),
    ("newer version", put("v", 2), "v"),
    ("no version", put("v", DELETE), ""),
    ("no files for its events", put("files", []), "rows"),
    ("files as an object", put("files", {}), "files"),
]

DAMAGED = [
    ("empty", lambda data: b""),
    ("cut", lambda data: data[:len(data) // 2]),
    ("not JSON", lambda data: b"\0" * 1000),
    ("an array", lambda data: b"[" + data + b"]"),
    ("a number", lambda data: b"7"),
    ("deep", lambda data: b'{"v":1,"x":' + b"[" * 100000 + b"]" * 100000 + b"}"),
    ("two documents", lambda data: data + data),
    ("invalid UTF-8", lambda data: data.replace(b"edge-1", b"edge\xff1")),
    ("larger than any", lambda data: data[:-1] + b" " * (65 << 20) + b"}"),
]


class Announcements(unittest.TestCase):
    def lake_with_one(self):
        lake = Lake()
        self.addCleanup(lake.__exit__)
        lake.tables = "openrtb/clicks"
        lake.init()
        lake.ingest("clicks", "-", "--roll-partition-bytes", "0", stdin=LINES)
        path, = lake.inbox()
        return lake, path

    def state(self, lake):
        table = lake.load("clicks")
        return table.metadata_location, table.scan().count()

    def heals(self, lake):
        """The agent hears of it and builds again. Whose announcement it was can't always be told:
        then the agent's own repeat, here after a second, heals it."""
        def turn():
            lake.ingest("clicks", "-", "--announce-repeat", "1s", stdin=b"")
            return lake.once()["taken"]
        until(turn, "the agent announces it again", 10)
        self.assertEqual(lake.ids("clicks", "click_id"), EVENTS)
        lake.check("clicks")
        self.assertEqual(lake.inbox(), [])

    def refused(self, lake, word):
        """One turn: refused with a reason that says what, nothing changed."""
        before = self.state(lake)
        report = lake.once(code=REFUSED)
        self.assertEqual((report["taken"], report["refused"]), (0, 1), report)
        self.assertEqual(self.state(lake), before)
        self.assertEqual(lake.inbox(), [])
        path, = lake.refused()
        with open(path, "rb") as file:
            refusal = json.load(file)
        self.assertTrue(refusal["reason"])
        self.assertIn(word, refusal["reason"])
        note, = [note for note in report["notes"] if note["kind"] == "refused"]
        self.assertIn(refusal["reason"][:40], note["text"])
        return refusal

    def test_forged(self):
        """One object in the inbox must not put foreign files, or nonsense, into a table."""
        for name, change, word in FORGED:
            with self.subTest(name):
                lake, path = self.lake_with_one()
                with open(path, "rb") as file:
                    document = json.load(file)
                stream = document["stream"]
                change(document)
                with open(path, "w", encoding="utf-8") as file:
                    json.dump(document, file)
                refusal = self.refused(lake, word)
                self.assertEqual(refusal.get("announcement", document), document)
                if document.get("stream") == stream:
                    receipt = lake.receipts()[stream]
                    self.assertEqual(receipt["next"], 0)
                    self.assertEqual(receipt["refused"], {"from": 0, "reason": refusal["reason"]})
                    self.heals(lake)

    def test_forged_cases_begin_good(self):
        """Else the cases above prove nothing."""
        lake, path = self.lake_with_one()
        with open(path, "rb") as file:
            document = json.load(file)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(dict(document, future={"unknown": [1]}), file, indent=1)
        self.assertEqual(lake.once()["taken"], 1)
        self.assertEqual(lake.ids("clicks", "click_id"), EVENTS)

    def test_damaged(self):
        """A torn object must neither stop the service nor lose what it stood for."""
        for name, change in DAMAGED:
            with self.subTest(name):
                lake, path = self.lake_with_one()
                with open(path, "rb") as file:
                    data = file.read()
                with open(path, "wb") as file:
                    file.write(change(data))
                self.refused(lake, "")
                self.heals(lake)

    def test_file_gone(self):
        """A clean-up took the data file before it was committed: it is built again."""
        lake, _ = self.lake_with_one()
        names = glob.glob(f"{lake.warehouse}/db/clicks/data/**/*.parquet", recursive=True)
        self.assertEqual(len(names), 2)
        os.remove(names[0])
        before = self.state(lake)
        report = lake.once()
        self.assertEqual((report["taken"], report["missing"]), (0, 1))
        self.assertEqual(self.state(lake), before)
        receipt, = lake.receipts().values()
        self.assertEqual((receipt["next"], receipt["missing"]), (0, 0))
        self.heals(lake)

    def test_foreign_objects_in_the_inbox(self):
        """Somebody's editor leaves files about: they are no reason to stop."""
        lake, path = self.lake_with_one()
        folder = os.path.dirname(path)
        for name in ("README", "00000000000000000000.json~", "x.json", "-1.json"):
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write("{}")
        self.assertEqual(lake.once()["taken"], 1)
        self.assertEqual(lake.ids("clicks", "click_id"), EVENTS)

    def test_what_is_quoted_passes_for_nothing_else(self):
        """A name in the inbox may be any bytes; log and report must stay what we wrote."""
        lake, path = self.lake_with_one()
        name = os.fsencode(os.path.dirname(path)) + b'/!\xff" level=info msg="all well\xc3'
        with open(name, "wb"):
            pass
        result = lake.once(code=None)
        note, = json.loads(result.out)["notes"]
        self.assertEqual(note["kind"], "info")
        self.assertIn('no announcements: 1, the first is', note["text"])
        self.assertTrue(note["text"].endswith('/!?" level=info msg="all well?'), note["text"])
        line, = [line for line in result.err.splitlines() if 'msg="note"' in line]
        self.assertTrue(line.endswith('/!\ufffd\\" level=info msg=\\"all well\ufffd"'), line)

    def test_again_after_it_was_taken(self):
        """A redelivered announcement is dead: no row twice."""
        lake, path = self.lake_with_one()
        with open(path, "rb") as file:
            data = file.read()
        lake.once()
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        before = self.state(lake)
        self.assertEqual(lake.once()["dead"], 1)
        self.assertEqual(self.state(lake), before)
        self.assertEqual(lake.inbox(), [])

    def test_gap_waits_and_is_closed_by_hand(self):
        """No timer skips anything: a missing piece is an alarm until its agent or a person
        closes the gap, and then it is counted as lost."""
        lake, first = self.lake_with_one()
        lake.ingest("clicks", "-", code=DONE, stdin=b'{"id":"later"}\n')
        os.remove(first)
        # The second ingest has a stream of its own: it is not held up.
        self.assertEqual(lake.once()["taken"], 1)
        lines = [b"".join(b'{"id":"g%d-%d"}\n' % (part, i) for i in range(10)) for part in range(3)]
        paths = [lake.write(f"g{part}.ndjson", text) for part, text in enumerate(lines)]
        lake.ingest("clicks", "--roll-rows", "10", *paths)
        parts = lake.inbox()
        self.assertEqual(len(parts), 3)
        os.remove(parts[1])
        report = lake.once()
        self.assertEqual((report["taken"], report["waiting"], report["alarms"]), (1, 1, 1))
        with open(parts[2], encoding="utf-8") as file:
            stream = json.load(file)["stream"]
        lake.table("ledger", "clicks", "--skip", stream, "20")
        self.assertEqual(lake.once()["taken"], 1)
        found = lake.ids("clicks", "click_id")
        self.assertEqual({key for key in found if key.startswith("g")},
                         {f"g{part}-{i}" for part in (0, 2) for i in range(10)})
        row, = [row for row in lake.table_json("ledger", "clicks") if row["stream"] == stream]
        self.assertEqual((row["next"], row["lost_events"]), (30, 10))


if __name__ == "__main__":
    unittest.main()
