# SPDX-License-Identifier: Apache-2.0
"""Odd events of our own invention: the tables hold the rows that the reference maps them to,
what is no event is refused for the right reason, and each value lost on the way is counted."""
import collections
import os
import unittest

import reference
from lake import DATA, DONE, REFUSED, Lake, difference, read_lines


class Fixtures(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lake = Lake()
        cls.addClassCleanup(cls.lake.__exit__)
        cls.lake.init()
        cls.reports = {table: cls.lake.ingest(table, os.path.join(DATA, f"{table}.ndjson"))
                       for table in reference.TABLES}
        cls.lake.once()

    def each(self):
        for table in reference.TABLES:
            with self.subTest(table=table):
                yield table, reference.map_lines(table, read_lines(f"{DATA}/{table}.ndjson"))

    def test_rows_are_those_of_the_rules(self):
        """A value that lands otherwise than the rules say is wrong in every report forever."""
        for table, expected in self.each():
            text = difference(expected.rows, self.lake.rows(table), reference.columns(table))
            self.assertIsNone(text, text)

    def test_report_counts_what_became_null(self):
        """A sender whose field changes its type is found by these counts, or never."""
        for table, expected in self.each():
            report = self.reports[table]
            self.assertEqual(report["events"], expected.events)
            self.assertEqual(report["rows"], len(expected.rows))
            self.assertEqual(report["counters"]["coerced_to_null"], dict(expected.became_null))

    def test_tables_agree_with_themselves(self):
        self.lake.check()
        self.assertEqual(self.lake.inbox(), [])


class Refusals(unittest.TestCase):
    def test_reasons_lines_and_the_rest(self):
        """Who sends garbage must learn which line, and the good lines beside it must stay."""
        lines = read_lines(f"{DATA}/refused.ndjson")
        expected = reference.map_lines("bid_requests", lines)
        self.assertEqual(expected.events, 0)
        with Lake() as lake:
            lake.init()
            for start in range(0, len(lines), 10):  # as many as are shown
                good = b'{"id":"good","imp":[]}\n'
                path = lake.write(f"{start}.ndjson", good + b"".join(lines[start:start + 10]))
                report = lake.ingest("bid_requests", path, code=REFUSED)
                wanted = [(line - start + 1, reason) for line, reason in expected.refused
                          if start < line <= start + 10]
                self.assertEqual([(error["line"], error["reason"]) for error in report["errors"]],
                                 wanted)
                self.assertEqual({error["file"] for error in report["errors"]}, {path})
                self.assertTrue(all(error["column"] >= 1 for error in report["errors"]))
                self.assertEqual(report["counters"]["refused_by_reason"],
                                 dict(collections.Counter(reason for _, reason in wanted)))
                self.assertEqual((report["events"], report["refused"]), (1, len(wanted)))
            lake.once()
            self.assertEqual(lake.ids("bid_requests", "request_id"), {"good": (len(lines) + 9) // 10})

    def test_first_ten_on_stderr(self):
        """A file of garbage must not bury the terminal, nor hide that it was garbage."""
        with Lake() as lake:
            lake.init()
            path = lake.write("bad.ndjson", b'{"id":1,}\n' * 13 + b'{"id":"good"}\n')
            result = lake.agent("ingest", "clicks", path, code=REFUSED)
            shown = [line for line in result.err.splitlines() if line.startswith(path)]
            self.assertEqual(len(shown), 10)
            self.assertRegex(shown[0], r":1:9: refused \(syntax\): .+")
            self.assertIn("3 more", result.err)
            self.assertIn("1 events", result.out)
            self.assertIn("13 refused", result.out)

    def test_size_limit(self):
        """One event without an end must not take the memory of the ad server."""
        filler = b"x" * (reference.EVENT_BYTES_MAX - len(b'{"id":"big","x":""}'))
        big = b'{"id":"big","x":"' + filler + b'"}'
        self.assertEqual(len(big), reference.EVENT_BYTES_MAX)
        with Lake() as lake:
            lake.init()
            path = lake.write("big.ndjson", big + b"\n" + big.replace(b"xx", b"xxx", 1) + b"\n" +
                              b'{"id":"after"}')
            report = lake.ingest("clicks", path, code=REFUSED)
            self.assertEqual(report["counters"]["refused_by_reason"], {"size": 1})
            lake.once()
            self.assertEqual(lake.ids("clicks", "click_id"), {"big": 1, "after": 1})


class OwnMapping(unittest.TestCase):
    def test_sources_enum_default_units(self):
        """A user's own table goes by the same rules as the presets."""
        with Lake() as lake:
            lake.tables = lake.write("visits.yaml", """
table: visits
partition: [day(event_timestamp), kind]
sort: [kind, event_timestamp]
columns:
  id: {type: string, from: id, required: true}
  kind: {type: string, from: kind, enum: [page, shop], default: page}
  count: {type: long, from: n | m}
  on: {type: boolean, from: on}
  tags: {type: list<long>, from: tags}
  position: {type: long, from: $position}
  stream: {type: string, from: $stream}
  body: {type: string, from: $raw}
  event_timestamp: {type: timestamptz, from: at, unit: s}
  received_at: {type: timestamptz, from: $received_at}
""")
            lake.init()
            lines = [b'{"id":"a","kind":"shop","n":9223372036854775807,"on":1,"tags":[1,"2",3.5,null],"at":1767225600}',
                     b' {"id":"b","kind":"Shop","n":9223372036854775808,"m":"-9223372036854775808","tags":7} ',
                     b'{"id":"c","kind":null,"on":"0","tags":[],"at":1767225600.0}']
            lake.ingest("visits", lake.write("v.ndjson", b"\n".join(lines)), code=DONE)
            lake.once()
            names = "id kind count on tags position body event_timestamp".split()
            at = 1767225600 * 10**6
            expected = [
                ("a", "shop", 2**63 - 1, True, (1, 2), 0, lines[0].decode(), at),
                ("b", "page", -2**63, None, (7,), 1, lines[1].decode().strip(), reference.RECEIVED),
                ("c", "page", None, False, (), 2, lines[2].decode(), at)]
            text = difference(expected, lake.rows("visits", names), names)
            self.assertIsNone(text, text)
            streams = lake.ids("visits", "stream")
            self.assertEqual(streams.total(), 3)
            self.assertRegex(next(iter(streams)), r"^edge-1/[0-9a-f-]{36}/db\.visits$")
            lake.check("visits")


if __name__ == "__main__":
    unittest.main()
