# SPDX-License-Identifier: Apache-2.0
"""What ingest does with inputs that are cut, damaged, taken before or grown, and with wrong
configurations: the message names what is wrong, the exit code says of which kind it is."""
import collections
import gzip
import os
import unittest

import zstandard

from lake import DONE, FAILED, USAGE, Lake, program


def clicks(first, count):
    return [f'{{"id":"c{number:06}","landing_page":"{os.urandom(40).hex()}"}}\n'.encode()
            for number in range(first, first + count)]


def zstd(data):
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


COMPRESSED = {"gz": gzip.compress, "zst": zstd}


class WithLake(unittest.TestCase):
    def setUp(self):
        self.lake = Lake()
        self.addCleanup(self.lake.__exit__)
        self.lake.init()

    def committed(self):
        self.lake.once()
        return self.lake.ids("clicks", "click_id")

    def each_once(self, count):
        return collections.Counter(f"c{number:06}" for number in range(count))


class Compressed(WithLake):
    def test_plain_gzip_zstd_and_stdin_give_the_same(self):
        """Logs come as the logger wrote them; several gzip members are one file."""
        lines = clicks(0, 4000)
        parts = [b"".join(lines[i:i + 1000]) for i in range(0, 4000, 1000)]
        self.lake.ingest("clicks", self.lake.write("a.ndjson", parts[0]),
                         self.lake.write("b.gz", gzip.compress(parts[1][:9000]) +
                                         gzip.compress(parts[1][9000:])))
        self.lake.ingest("clicks", self.lake.write("no-ending", zstd(parts[2])))
        self.lake.ingest("clicks", "-", stdin=gzip.compress(parts[3]))
        self.assertEqual(self.committed(), self.each_once(4000))

    def test_cut_short_then_completed(self):
        """A file that is still being written: what is whole is taken, no line twice later."""
        for kind, compress in COMPRESSED.items():
            with self.subTest(kind):
                lake = Lake()
                self.addCleanup(lake.__exit__)
                lake.init()
                data = compress(b"".join(clicks(0, 5000)))
                path = lake.write(f"cut.{kind}", data[:len(data) // 2])
                first = lake.ingest("clicks", path, code=None)
                self.assertEqual(first.code, FAILED)
                self.assertIn(path, first.err)
                self.assertIn("cut short", first.err)
                lake.once()
                found = lake.ids("clicks", "click_id")
                self.assertGreater(len(found), 1000)
                self.assertLess(len(found), 4000)
                self.assertEqual(found, self.each_once(len(found)))
                self.assertEqual(lake.ingest("clicks", path, code=None).code, FAILED)
                with open(path, "ab") as file:
                    file.write(data[len(data) // 2:])
                lake.ingest("clicks", path, code=DONE)
                self.assertEqual(lake.ingest("clicks", path)["inputs_skipped"], 1)
                lake.once()
                self.assertEqual(lake.ids("clicks", "click_id"), self.each_once(5000))

    def test_corrupt(self):
        """A damaged archive must not end as a table that looks whole."""
        for kind, compress in COMPRESSED.items():
            with self.subTest(kind):
                data = bytearray(compress(b"".join(clicks(0, 3000))))
                data[len(data) // 2] ^= 0xff
                path = self.lake.write(f"bad.{kind}", bytes(data))
                result = self.lake.ingest("clicks", path, code=None)
                self.assertEqual(result.code, FAILED)
                self.assertRegex(result.err, rf"bidlake-agent: {path}: .*corrupt")

    def test_not_what_the_first_bytes_say(self):
        path = self.lake.write("bad.gz", b"\x1f\x8b\x08\x00" + b"\xff" * 100)
        result = self.lake.ingest("clicks", path, code=None)
        self.assertEqual(result.code, FAILED)
        self.assertIn(path, result.err)
        self.assertEqual(self.committed(), {})


class Remembered(WithLake):
    def test_again_and_grown(self):
        """A log that is ingested each hour, and twice by mistake."""
        lines = clicks(0, 3000)
        path = self.lake.write("log.ndjson", b"".join(lines[:1000]))
        self.lake.ingest("clicks", path)
        report = self.lake.ingest("clicks", path)
        self.assertEqual((report["events"], report["inputs_skipped"]), (0, 1))
        with open(path, "ab") as file:
            file.writelines(lines[1000:])
        self.assertEqual(self.lake.ingest("clicks", path)["events"], 2000)
        self.assertEqual(self.committed(), self.each_once(3000))
        self.assertEqual(self.lake.ingest("clicks", "--again", path)["events"], 3000)
        self.assertEqual(set(self.committed().values()), {2})

    def test_write_that_failed(self):
        """It may have been kept: a file is asked for, of a pipe the lines in question are named."""
        path = self.lake.write("log.ndjson", b"".join(clicks(0, 60000)))
        failed = set()
        for point in ("committed", "before_commit"):
            for number in (1, 2):
                ran = self.lake.ingest("clicks", path, code=None,
                                       fault=f"fail:spool.append.{point}:{number}")
                if ran.code == DONE:  # fewer batches were left
                    continue
                failed.add(point)
                self.assertEqual(ran.code, FAILED, ran.err)
                self.assertIn("it is not known: a run without --again goes on", ran.err)
        self.assertIn("committed", failed)
        self.lake.ingest("clicks", path)
        self.assertEqual(self.committed(), self.each_once(60000))
        ran = self.lake.ingest("clicks", "-", code=None, stdin=b"".join(clicks(60000, 3)),
                               fault="fail:spool.append.committed")
        self.assertEqual(ran.code, FAILED, ran.err)
        self.assertIn("lines up to 0 are durable, of those up to 3 it is not known: look into the "
                      "table", ran.err)

    def test_half_a_line_at_the_end(self):
        """The last line of a log that is being written is half a line: it is no event, which
        must be said with its place."""
        whole = b"".join(clicks(0, 2))
        path = self.lake.write("log.ndjson", whole[:-30])
        first = self.lake.ingest("clicks", path, code=None)
        self.assertEqual(first.code, 3)
        self.assertIn('"line":2', first.out)

    def test_another_file_under_the_same_name(self):
        """Log rotation: the name is old, the content new."""
        path = self.lake.write("log.ndjson", b"".join(clicks(0, 500)))
        self.lake.ingest("clicks", path)
        os.rename(path, path + ".1")
        path = self.lake.write("log.ndjson", b"".join(clicks(500, 700)))
        self.assertEqual(self.lake.ingest("clicks", path)["events"], 700)
        with open(path, "r+b") as file:  # the same inode begins anew
            file.truncate()
            file.writelines(clicks(1200, 800))
        self.assertEqual(self.lake.ingest("clicks", path)["events"], 800)
        self.assertEqual(self.committed(), self.each_once(2000))

    def test_same_file_for_two_tables(self):
        path = self.lake.write("log.ndjson", b"".join(clicks(0, 10)))
        self.lake.ingest("clicks", path)
        self.assertEqual(self.lake.ingest("impressions", path)["events"], 10)

    def test_missing_file_beside_good_ones(self):
        good = self.lake.write("good.ndjson", b"".join(clicks(0, 10)))
        result = self.lake.ingest("clicks", good, "/nonexistent/x.ndjson", code=None)
        self.assertEqual(result.code, FAILED)
        self.assertIn("/nonexistent/x.ndjson: No such file", result.err)
        self.assertEqual(self.committed(), self.each_once(10))
        self.assertEqual(self.lake.ingest("clicks", self.lake.directory, code=None).code, FAILED)


class Usage(WithLake):
    def refused(self, result, *words):
        self.assertEqual(result.code, USAGE, result.err)
        for word in words:
            self.assertIn(word, result.err)

    def test_unknown_names_get_the_nearest(self):
        self.refused(self.lake.ingest("clikcs", "-", code=None, stdin=b""), "clikcs", "clicks?")
        self.refused(self.lake.agent("ingest", "clicks", "--rol-rows", "7"), "--roll-rows?")
        self.refused(program("bidlake-commit", "once", "--warehose", "x"), "--warehouse?")
        self.refused(self.lake.agent("ingest", "clicks", "--tables", "openrtb/click", stdin=b""),
                     "openrtb/clicks")
        self.refused(self.lake.agent("ingets", "clicks"), "unknown command", "ingest")

    def test_values_need_units_and_bounds(self):
        self.refused(self.lake.agent("ingest", "clicks", "--roll-age", "10"), "--roll-age", "60s")
        self.refused(self.lake.agent("ingest", "clicks", "--roll-age", "9h"), "1h")
        self.refused(self.lake.agent("ingest", "clicks", "--spool-bytes", "1KiB"), "16MiB")

    def test_configuration_file(self):
        """A typing error in a configuration must stop the start, not be a default."""
        for text, line, words in (
                ("agent_id: x\nroll: {agee: 10s}\n", 2, ["roll.agee", "roll.age"]),
                ("roll:\n  age: 10\n", 2, ["roll.age", "60s"]),
                ("roll:\n  age: [1]\n", 2, ["roll.age"]),
                ("agent_id: x\nagent_id: y\n", 2, ["agent_id"]),
                ("agent_id: [\n", 2, ["YAML"]),
                ("agent_id: ../x\n", None, ["agent_id"])):
            with self.subTest(text):
                path = self.lake.write("agent.yaml", text)
                place = f"{path}:{line}:" if line else ""
                self.refused(program("bidlake-agent", "check", "--config", path), place, *words)
        path = self.lake.write("agent.yaml", f"agent_id: edge-9\nwarehouse: file://{self.lake.warehouse}\n"
                               f"spool: {{directory: {self.lake.path('other')}}}\n")
        program("bidlake-agent", "check", "--config", path, code=DONE)
        self.assertEqual(program("bidlake-agent", "check", "--config", path + "x").code, USAGE)

    def test_without_a_warehouse_or_catalog(self):
        self.refused(program("bidlake-agent", "ingest", "clicks", stdin=b""), "--warehouse")
        self.refused(program("bidlake-commit", "once", "--warehouse", "file:///tmp/x"), "--catalog")

    def test_help_and_version(self):
        for name in ("bidlake-agent", "bidlake-commit", "bidlake-table", "bidlake-gen"):
            self.assertRegex(program(name, "--version", code=DONE).out, rf"^{name} \d+\.\d+\.\d+")
            self.assertIn("--help", program(name, "--help", code=DONE).out)
            self.assertEqual(program(name).code, USAGE)


GOOD = {
    "id": "{type: string, from: id, required: true}",
    "kind": "{type: string, from: kind, enum: [a, b]}",
    "text": "{type: string, from: text}",
    "event_timestamp": "{type: timestamptz, from: ts}",
    "received_at": "{type: timestamptz, from: $received_at}",
}


def mapping(columns=None, **keys):
    """A mapping file; each key and column on a line of its own."""
    top = dict({"table": "visits", "partition": "[day(event_timestamp), kind]",
                "sort": "[kind, event_timestamp]"}, **keys)
    lines = [f"{key}: {value}" for key, value in top.items() if value is not None]
    lines += ["columns:"] + [f"  {name}: {column}" for name, column in
                             dict(GOOD, **(columns or {})).items()]
    return "\n".join(lines) + "\n"


class Mappings(WithLake):
    # What is wrong, the text, the line's content, words of the message.
    CASES = [
        ("unknown type", mapping({"text": "{type: strnig, from: text}"}), "text:", ["strnig", "string"]),
        ("unknown key", mapping({"text": "{type: string, form: text}"}), "text:", ["form", "from"]),
        ("unknown top key", mapping(partitions="[kind]"), "partitions:", ["partitions", "partition"]),
        ("doubled column", mapping() + "  text: {type: int, from: x}\n", "text: {type: int", ["text"]),
        ("columns that differ by case", mapping({"Text": "{type: int, from: x}"}), "Text:", ["Text", "text"]),
        ("path that ends in a dot", mapping({"text": "{type: string, from: a.}"}), "text:", ["a."]),
        ("path with an open bracket", mapping({"text": '{type: string, from: "a[0"}'}), "text:", ["a[0"]),
        ("each without explode", mapping({"text": '{type: string, from: "a[].b"}'}), "text:", ["explode"]),
        ("each of another list", mapping({"text": '{type: string, from: "b[].c"}'}, explode="a"), "text:", ["explode"]),
        ("unknown source", mapping({"text": "{type: string, from: $recieved_at}"}), "text:", ["$received_at"]),
        ("explode of three levels", mapping(explode='"a[].b[].c"'), "explode:", ["explode"]),
        ("free text as partition", mapping(partition="[day(event_timestamp), text]"), "partition:", ["text"]),
        ("partition by a missing column", mapping(partition="[day(event_timestamp), knid]"), "partition:", ["knid", "kind"]),
        ("partition by an unknown transform", mapping(partition="[dya(event_timestamp)]"), "partition:", ["dya"]),
        ("sort by a missing column", mapping(sort="[knid]"), "sort:", ["knid", "kind"]),
        ("default of another type", mapping({"n": "{type: int, from: n, default: many}"}), "  n:", ["default", "many"]),
        ("default out of the enum", mapping({"kind": "{type: string, from: kind, enum: [a], default: c}"}), "kind:", ["c"]),
        ("required through explode", mapping({"id": '{type: string, from: "a[].id", required: true}'}, explode="a"), "id:", ["required"]),
        ("unknown preset", mapping(extends="openrtb/clikcs"), "extends:", ["openrtb/clikcs", "openrtb/clicks"]),
        ("unknown unit", mapping({"event_timestamp": "{type: timestamptz, from: ts, unit: h}"}), "event_timestamp:", ["unit"]),
    ]

    def test_each_is_refused_with_file_and_line(self):
        """A mapping that is wrong makes wrong tables for weeks: it must not start."""
        for what, text, at, words in self.CASES:
            with self.subTest(what):
                path = self.lake.write("visits.yaml", text)
                line = next(i for i, found in enumerate(text.splitlines(), 1) if at in found)
                result = program("bidlake-agent", "check", "--warehouse",
                                 f"file://{self.lake.warehouse}", "--spool", self.lake.path("none"),
                                 "--tables", path)
                self.assertEqual(result.code, USAGE, result.err)
                self.assertIn(f"{path}:{line}:", result.err)
                for word in words:
                    self.assertIn(word, result.err)
                self.assertFalse(os.path.exists(self.lake.path("none")))
                commit = program("bidlake-commit", "init", *self.lake.commit_flags(), "--tables",
                                 path)
                self.assertEqual(commit.code, USAGE, commit.err)

    def test_the_good_one_is_good(self):
        """Else the cases above prove nothing."""
        path = self.lake.write("visits.yaml", mapping())
        self.lake.agent("check", "--tables", path, code=DONE)
        path = self.lake.write("visits.yaml", mapping({"text": '{type: string, from: "a[].b"}'}, explode="a"))
        self.lake.agent("check", "--tables", path, code=DONE)

    def test_a_table_twice(self):
        result = self.lake.agent("check", "--tables", "openrtb,openrtb/clicks")
        self.assertEqual(result.code, USAGE)
        self.assertIn("clicks", result.err)


if __name__ == "__main__":
    unittest.main()
