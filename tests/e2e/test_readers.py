# SPDX-License-Identifier: Apache-2.0
"""Readers that are not ours over tables of many snapshots, manifests, specs and pages:
PyIceberg through its own SqlCatalog, DuckDB over the metadata and over the files, pyarrow
with page checksums verified. All see the rows of the reference, also by filters that hit the
edges of pages, row groups, files' bounds and partitions."""
import contextlib
import datetime
import os
import random
import time
import unittest

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg import expressions as ice

import reference
from lake import DATA, Lake, difference, duck, generate, normalise, read_lines

REQUESTS = 50000
# Share of the lines, and from what size a partition has its own file: all small slices in
# a day's file; a file for each partition; some of both.
ROUNDS = [(0.0, 0.7, "1GiB"), (0.7, 0.75, "0"), (0.75, 1.0, "20KiB")]


def moment(us):
    return datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc) + \
        datetime.timedelta(microseconds=us)


class Filter:
    """One comparison, told to each reader in its own words."""
    TESTS = {
        "=": lambda value, literal: value == literal,
        "<": lambda value, literal: value < literal,
        "<=": lambda value, literal: value <= literal,
        ">": lambda value, literal: value > literal,
        ">=": lambda value, literal: value >= literal,
        "<>": lambda value, literal: value != literal,
        "prefix": lambda value, literal: value.startswith(literal),
        "in": lambda value, literal: value in literal,
    }
    EXPRESSIONS = {
        "=": ice.EqualTo, "<": ice.LessThan, "<=": ice.LessThanOrEqual, ">": ice.GreaterThan,
        ">=": ice.GreaterThanOrEqual, "<>": ice.NotEqualTo, "prefix": ice.StartsWith,
        "in": ice.In,
    }

    def __init__(self, column, operation, literal=None):
        self.column, self.operation, self.literal = column, operation, literal

    def __str__(self):
        return f"{self.column} {self.operation} {self.literal!r}"

    def matches(self, value):
        if self.operation == "null":
            return value is None
        if self.operation == "not null":
            return value is not None
        return value is not None and self.TESTS[self.operation](value, self.literal)

    def iceberg(self):
        if self.operation == "null":
            return ice.IsNull(self.column)
        if self.operation == "not null":
            return ice.NotNull(self.column)
        literal = self.literal
        if self.column == "event_timestamp":
            literal = moment(literal).isoformat(timespec="microseconds")
        found = self.EXPRESSIONS[self.operation](self.column, literal)
        # By Iceberg's rules null differs from a value, by SQL's it is not known to.
        return ice.And(found, ice.NotNull(self.column)) if self.operation == "<>" else found

    def text_of(self, literal):
        if self.column == "event_timestamp":
            return f"TIMESTAMPTZ '{moment(literal).isoformat(timespec='microseconds')}'"
        if isinstance(literal, str):
            return "'" + literal.replace("'", "''") + "'"
        return repr(literal)

    def sql(self):
        if self.operation in ("null", "not null"):
            return f"{self.column} IS {self.operation.upper()}"
        if self.operation == "prefix":
            return f"starts_with({self.column}, {self.text_of(self.literal)})"
        if self.operation == "in":
            return f"{self.column} IN ({', '.join(map(self.text_of, self.literal))})"
        return f"{self.column} {self.operation} {self.text_of(self.literal)}"


def page_edges(paths, column):
    """Values on both sides of each row group's end and each page's: there an index that is
    off by one loses rows. The writer cuts pages at 20,000 rows."""
    values = []
    for path in paths:
        file = pq.ParquetFile(path)
        data = file.read(columns=[column]).column(0)
        if pa.types.is_timestamp(data.type):
            data = data.cast(pa.int64())
        data = data.to_pylist()
        edges, at = [0], 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            edges += list(range(at + 20000, at + rows, 20000)) + [at + rows]
            at += rows
        values += [data[i] for edge in edges for i in (edge - 1, edge) if 0 <= i < len(data)]
    return sorted({value for value in values if value is not None})


class Readers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lake = lake = Lake()
        cls.addClassCleanup(lake.__exit__)
        lake.init()
        cls.expected = {}
        cls.received = int(time.time() * 10**6)  # near enough for filters on other days
        # Around midnight, so that two days have rows.
        files = generate(lake.path("events"), REQUESTS, seed=7, start="2026-03-01T23:20:00Z",
                         rate=14)
        for table, path in files.items():
            lines = read_lines(path)
            mapped = reference.map_lines(table, lines)
            assert not mapped.refused
            cls.expected[table] = mapped.rows
            for start, stop, partition_bytes in ROUNDS:
                part = lines[int(len(lines) * start):int(len(lines) * stop)]
                part = lake.write(f"{table}-{start}.ndjson", b"".join(part))
                lake.ingest(table, part, "--roll-partition-bytes", partition_bytes)
                lake.once("--tables", f"openrtb/{table}")
            odd = os.path.join(DATA, f"{table}.ndjson")
            cls.expected[table] += reference.map_lines(table, read_lines(odd)).rows
            lake.ingest(table, odd)
            lake.once()
        cls.duck = duck(iceberg=True)
        cls.addClassCleanup(cls.duck.close)

    def each(self):
        for table in reference.TABLES:
            with self.subTest(table=table):
                yield table, self.lake.load(table)

    def counts(self, filters, table):
        """Each filter's count: by the reference, PyIceberg, DuckDB on metadata, on files."""
        names = reference.columns(table)
        loaded = self.lake.load(table)
        files = self.lake.live_files(table)
        sources = [f"iceberg_scan('{loaded.metadata_location}')", f"read_parquet({files!r})"]
        selected = ", ".join(f"count(*) FILTER ({each.sql()})" for each in filters)
        # Together, each row is looked at; alone, the reader prunes by its bounds.
        whole = self.duck.execute(f"SELECT {selected} FROM {sources[1]}").fetchone()
        for each, unpruned in zip(filters, whole):
            at = names.index(each.column)
            expected = sum(each.matches(self.received if row[at] is reference.RECEIVED else row[at])
                           for row in self.expected[table])
            pruned = [self.duck.execute(f"SELECT count(*) FROM {source} WHERE {each.sql()}")
                      .fetchone()[0] for source in sources]
            by_iceberg = loaded.scan(row_filter=each.iceberg()).count()
            with self.subTest(filter=str(each)):
                self.assertEqual([by_iceberg, *pruned, unpruned], [expected] * 4)

    def test_shape(self):
        """What follows proves little over one file of one page: here is more of each."""
        for table, loaded in self.each():
            files = loaded.inspect.files().to_pylist()
            specs = {task.file.spec_id for task in loaded.scan().plan_files()}
            self.assertGreaterEqual(len(loaded.snapshots()), 5)
            self.assertGreaterEqual(len(loaded.inspect.manifests()), len(ROUNDS) + 1)
            if table in ("bid_requests", "impressions", "clicks"):
                self.assertEqual(specs, {0, 1})
                self.assertEqual(loaded.spec().spec_id, 0)
            else:
                self.assertEqual(specs, {0})
            if table == "bid_requests":
                self.assertGreater(max(file["record_count"] for file in files), 40000)
                self.assertGreater(len(files), 60)

    def test_rows_by_pyarrow(self):
        for table, _ in self.each():
            text = difference(self.expected[table], self.lake.rows(table),
                              reference.columns(table))
            self.assertIsNone(text, text)

    def test_rows_by_pyiceberg(self):
        for table, loaded in self.each():
            found = normalise(table, loaded.scan().to_arrow())
            text = difference(self.expected[table], found, reference.columns(table))
            self.assertIsNone(text, text)

    def test_rows_by_duckdb(self):
        for table, loaded in self.each():
            for source in (f"iceberg_scan('{loaded.metadata_location}')",
                           f"read_parquet({self.lake.live_files(table)!r})"):
                data = self.duck.execute(f"SELECT * FROM {source}").to_arrow_table()
                text = difference(self.expected[table], normalise(table, data),
                                  reference.columns(table))
                self.assertIsNone(text, text)

    def test_snapshots_each_add_their_rows(self):
        """Time travel and incremental readers go by each snapshot's own summary."""
        for table, loaded in self.each():
            total = 0
            for snapshot in sorted(loaded.snapshots(), key=lambda each: each.sequence_number):
                total += int(snapshot.summary.additional_properties.get("added-records", 0))
                self.assertEqual(loaded.scan(snapshot_id=snapshot.snapshot_id).count(), total)
                self.assertEqual(int(snapshot.summary.additional_properties["total-records"]),
                                 total)
            self.assertEqual(total, len(self.expected[table]))

    def test_filters_on_text(self):
        for table, _ in self.each():
            at = reference.columns(table).index("request_id")
            ids = sorted({row[at] for row in self.expected[table] if row[at] is not None})
            some = random.Random(1).choice(ids)
            filters = [Filter("request_id", "=", ids[0]), Filter("request_id", "=", ids[-1]),
                       Filter("request_id", "=", some), Filter("request_id", "=", some[:-1]),
                       Filter("request_id", "<", ids[1]), Filter("request_id", ">", ids[-2]),
                       Filter("request_id", "prefix", some[:3]),
                       Filter("request_id", "in", (ids[0], some, "not there"))]
            self.counts(filters, table)

    def test_filters_at_edges(self):
        """Sorted by site within country: pages end within a site; its neighbours must not be
        pruned away, nor long common prefixes that bounds cut off."""
        biggest = sorted(self.lake.live_files("bid_requests"), key=os.path.getsize)[-2:]
        filters = [Filter("site_domain", "null"), Filter("site_domain", "not null"),
                   Filter("site_domain", "=", ""), Filter("site_domain", "<", "\1"),
                   Filter("site_domain", "=", "long-common-prefix." * 20 + "example"),
                   Filter("site_domain", ">", "long-common-prefix." * 20),
                   Filter("site_domain", "=", "long-common-prefix." * 20),
                   Filter("site_domain", ">=", "\U0010ffff" * 20),
                   Filter("site_domain", ">", "\U0010ffff" * 16)]
        for value in page_edges(biggest, "site_domain")[:6]:
            filters += [Filter("site_domain", "=", value), Filter("site_domain", "<", value),
                        Filter("site_domain", "<=", value), Filter("site_domain", ">", value + "\1")]
        for value in page_edges(biggest, "event_timestamp")[:4]:
            filters += [Filter("event_timestamp", operation, value + off)
                        for operation, off in (("=", 0), ("<", 0), ("<=", -1), (">=", 1))]
        self.counts(filters, "bid_requests")

    def test_filters_on_partitions(self):
        day = 86400 * 10**6
        midnight = 20514 * day  # 2026-03-02
        filters = [Filter("event_timestamp", operation, midnight + off)
                   for operation in ("<", ">=", ">", "=") for off in (-1, 0, 1)]
        filters += [Filter("event_timestamp", ">=", midnight + day),
                    Filter("event_timestamp", "<", 1),
                    Filter("event_timestamp", "=", 7258118399999000)]
        for table in ("bid_requests", "bid_responses", "impressions", "clicks"):
            with self.subTest(table=table):
                self.counts(filters if table == "bid_requests" else filters[:6], table)
        countries = ["USA", "MLT", "FRA", "ATA", ""]
        filters = [Filter("device_geo_country", "=", code) for code in countries]
        filters += [Filter("device_geo_country", "null"), Filter("device_geo_country", "not null"),
                    Filter("device_geo_country", "<>", "USA"),
                    Filter("device_geo_country", "<", "ARE"),
                    Filter("device_geo_country", ">", "ZAF"),
                    Filter("device_geo_country", "in", ("USA", "DEU", "XXX"))]
        for table in ("bid_requests", "impressions", "clicks"):
            with self.subTest(table=table):
                self.counts(filters, table)

    def test_filters_on_numbers(self):
        filters = []
        for column in ("imp_bidfloor", "imp_banner_w", "tmax"):
            at = reference.columns("bid_requests").index(column)
            values = sorted({row[at] for row in self.expected["bid_requests"]
                             if row[at] is not None})
            middle = values[len(values) // 2]
            filters += [Filter(column, "null"), Filter(column, "=", values[0]),
                        Filter(column, "<=", values[0]), Filter(column, "<", values[0]),
                        Filter(column, "=", values[-1]), Filter(column, ">", values[-2]),
                        Filter(column, ">", values[-1]), Filter(column, "<", middle),
                        Filter(column, "=", middle)]
        filters += [Filter("imp_bidfloor", "=", 0.0), Filter("imp_bidfloor", "<", 0.0),
                    Filter("is_coppa", "=", True), Filter("is_coppa", "null"),
                    Filter("is_gdpr", "=", False)]
        self.counts(filters, "bid_requests")
        self.counts([Filter("price", "<", 0.0), Filter("price", ">=", 1.0),
                     Filter("price", "null"), Filter("w", "=", 300), Filter("nbr", "=", 2)],
                    "bid_responses")

    def test_day_and_country_together(self):
        """Spec 0 prunes by both, spec 1 by the day alone: neither may drop the other's."""
        midnight = 20514 * 86400 * 10**6
        names = reference.columns("bid_requests")
        time_at, country = names.index("event_timestamp"), names.index("device_geo_country")
        loaded = self.lake.load("bid_requests")
        for code in ("USA", "ISL"):
            filters = [Filter("device_geo_country", "=", code),
                       Filter("event_timestamp", ">=", midnight),
                       Filter("event_timestamp", "<", midnight + 3600 * 10**6)]
            expected = sum(filters[0].matches(row[country]) and
                           all(each.matches(row[time_at]) for each in filters[1:])
                           for row in self.expected["bid_requests"]
                           if row[time_at] is not reference.RECEIVED)
            self.assertGreater(expected, 0)
            wanted = ice.And(*[each.iceberg() for each in filters])
            self.assertEqual(loaded.scan(row_filter=wanted).count(), expected)
            self.assertEqual(self.duck.execute(
                f"SELECT count(*) FROM iceberg_scan('{loaded.metadata_location}') WHERE " +
                " AND ".join(each.sql() for each in filters)).fetchone()[0], expected)

    def test_own_tool_says_the_same(self):
        """bidlake-table answers counts from manifests: it must not answer otherwise."""
        self.lake.check()
        names = reference.columns("bid_requests")
        at = names.index("device_geo_country")
        expected = {}
        for row in self.expected["bid_requests"]:
            expected[row[at]] = expected.get(row[at], 0) + 1
        for table, _ in self.each():
            self.assertEqual(self.lake.table_json("count", f"db.{table}")["rows"],
                             len(self.expected[table]))

    def test_personal_columns_have_no_bounds(self):
        """Bounds of user_id would put people's identifiers into metadata that many read."""
        for table, loaded in self.each():
            if "user_id" not in reference.columns(table):
                continue
            field = loaded.schema().find_field("user_id").field_id
            for task in loaded.scan().plan_files():
                self.assertNotIn(field, task.file.lower_bounds)
                self.assertNotIn(field, task.file.upper_bounds)
                self.assertIn(field, task.file.null_value_counts)
            footer = pq.ParquetFile(self.lake.live_files(table)[0])
            at = footer.schema_arrow.get_field_index("user_id")
            found = [footer.metadata.row_group(0).column(i) for i in
                     range(footer.metadata.num_columns)
                     if footer.metadata.row_group(0).column(i).path_in_schema == "user_id"]
            self.assertTrue(at >= 0 and found)
            self.assertFalse(any(column.is_stats_set and column.statistics.has_min_max
                                 for column in found))


if __name__ == "__main__":
    unittest.main()
