# SPDX-License-Identifier: Apache-2.0
"""One lake of ours, read by engines that are not: each sees the rows of the reference, reads no
more files for a filter than Iceberg's metadata allows, and answers the queries of cloud/sql."""
import collections
import datetime
import os
import re
import unittest

from engine_lake import TABLES, EngineLake, moment
from engines import ClickHouse, DuckDB, Flink, Spark, Trino

from lake import ROOT

SQL = os.path.join(ROOT, "cloud", "sql")


def plain(value, like):
    """What an engine gave, as a value of the kind of `like`: some say all in text."""
    if value is None or value in ("null", "NULL"):
        return None
    if isinstance(like, float):
        return float(value)
    if isinstance(like, datetime.datetime):
        found = re.fullmatch(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(\.\d+)?(Z| UTC|\+00:00)?",
                             str(value))
        return datetime.datetime.fromisoformat(
            f"{found[1]} {found[2]}.{(found[3] or '.')[1:7].ljust(6, '0')}+00:00")
    return type(like)(value) if like is not None else value


class Sums:
    """Of one table: what each engine has to say of it."""
    COLUMNS = {"bid_requests": ("request_id", "imp_bidfloor", "tmax", "device_os"),
               "bid_responses": ("request_id", "price", "w", "campaign_id"),
               "impressions": ("impression_id", "price", "device_type", "site_domain"),
               "clicks": ("click_id", None, None, "site_domain")}

    @staticmethod
    def sql(table):
        key, real, whole, text = Sums.COLUMNS[table]
        selected = ["count(*)", f"count(DISTINCT {key})", f"min({text})", f"max({text})",
                    f"count({text})", "min(event_timestamp)", "max(event_timestamp)"]
        if real:
            selected += [f"sum({real})", f"min({real})", f"max({real})", f"sum({whole})"]
        return f"SELECT {', '.join(selected)} FROM {table}"

    @staticmethod
    def of(table, rows):
        key, real, whole, text = Sums.COLUMNS[table]
        texts = [row[text] for row in rows if row[text] is not None]
        times = [moment(row["event_timestamp"]) for row in rows]
        found = [len(rows), len({row[key] for row in rows}), min(texts), max(texts), len(texts),
                 min(times), max(times)]
        if real:
            reals = [row[real] for row in rows if row[real] is not None]
            found += [sum(reals), min(reals), max(reals),
                      sum(row[whole] or 0 for row in rows)]
        return tuple(found)


def ranked(rows):
    """By the second column, largest first, then by the first."""
    return sorted(rows, key=lambda row: (-row[1], row[0] or ""))


def rows_by_country(rows):
    return ranked(collections.Counter(row["device_geo_country"]
                                      for row in rows["bid_requests"]).items())


def fill_rate(rows):
    asked, answered = (len({row["request_id"] for row in rows[table]})
                       for table in ("bid_requests", "bid_responses"))
    return [(asked, answered, answered / asked)]


def cpm_by_country(rows):
    prices = collections.defaultdict(list)
    for row in rows["impressions"]:
        prices[row["device_geo_country"]].append(row["price"])
    return ranked((country, len(paid), sum(paid) / len(paid), sum(paid) / 1000)
                  for country, paid in prices.items())


def win_rate_by_hour(rows):
    won = {row["bid_id"] for row in rows["impressions"]}
    hours = collections.defaultdict(list)
    for row in rows["bid_responses"]:
        at = moment(row["event_timestamp"]).replace(minute=0, second=0, microsecond=0)
        hours[at].append(row["bid_id"] in won)
    return [(at, len(bids), sum(bids), sum(bids) / len(bids)) for at, bids in sorted(hours.items())]


QUERIES = {query.__name__: query for query in
           (rows_by_country, fill_rate, cpm_by_country, win_rate_by_hour)}
Filter = collections.namedtuple("Filter", "name where by_iceberg")


def filters(literal):
    """By partition, by partition or a file's bounds, by the bounds of the first sorted column.
    `literal` makes a moment in an engine's words."""
    return [Filter("day", f"event_timestamp >= {literal('2026-03-03 00:00:00')}",
                   "event_timestamp >= '2026-03-03T00:00:00+00:00'"),
            Filter("country", "device_geo_country = 'DEU'", "device_geo_country = 'DEU'"),
            Filter("site", "site_domain < 'd'", "site_domain < 'd'")]


def query_text(dialect, name):
    """Of cloud/sql: a dialect's own file where there is one."""
    own = os.path.join(SQL, dialect, f"{name}.sql")
    with open(own if os.path.exists(own) else os.path.join(SQL, f"{name}.sql"),
              encoding="ascii") as file:
        return file.read()


class Engines(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.made = EngineLake()
        cls.addClassCleanup(cls.made.close)
        cls.rows = cls.made.fill()
        cls.planned = {
            table: {each.name: len(cls.plan(table, each.by_iceberg)) for each in filters(str)}
            for table in ("bid_requests", "impressions")}

    @classmethod
    def plan(cls, table, where="true"):
        return [task.file for task in
                cls.made.lake.load(table).scan(row_filter=where).plan_files()]

    def same(self, found, expected, what):
        self.assertEqual(len(found), len(expected), what)
        for row, wanted in zip(found, expected):
            row = tuple(plain(value, like) for value, like in zip(row, wanted))
            for value, like in zip(row, wanted):
                if isinstance(like, float):
                    self.assertAlmostEqual(value, like, delta=1e-9 * abs(like), msg=f"{what} {row}")
                else:
                    self.assertEqual(value, like, f"{what} {row}")

    def agrees(self, kind, literal=lambda text: f"TIMESTAMP '{text} UTC'"):
        dialect = kind.__name__.lower()
        engine = kind(self.made.rest, self.made.store, self.made.home.directory)
        self.addCleanup(engine.close)
        for table in TABLES:
            with self.subTest(f"{dialect} {table}"):
                self.same(engine.query(Sums.sql(table)), [Sums.of(table, self.rows[table])], table)
        for name, expected in QUERIES.items():
            with self.subTest(f"{dialect} {name}"):
                self.same(engine.query(query_text(dialect, name)), expected(self.rows), name)
        with self.subTest(f"{dialect} time travel"):
            [(snapshot,)] = engine.query(query_text(dialect, "snapshot_before_last"))
            text = query_text(dialect, "rows_at_snapshot").replace(":snapshot", str(snapshot))
            self.same(engine.query(text), [(self.made.earlier["bid_requests"],)], text)
        for table, planned in self.planned.items():
            with self.subTest(f"{dialect} files of {table}"):
                found = {each.name: engine.files(table, each.where) for each in filters(literal)}
                self.assertEqual(found, planned)

    def test_lake(self):
        """What follows proves little where nothing is there to prune or to travel to."""
        for table in TABLES:
            self.made.lake.table("check", "--deep", f"db.{table}")
            self.assertGreaterEqual(len(self.made.lake.load(table).snapshots()), 4)
        for table, specs in (("bid_requests", {0, 1}), ("impressions", {0, 1, 2})):
            files = self.plan(table)
            self.assertEqual({file.spec_id for file in files}, specs)
            for name, count in self.planned[table].items():
                self.assertTrue(0 < count < len(files), f"{table} {name}: {count}")

    def test_pyiceberg(self):
        for table in TABLES:
            found = self.made.lake.load(table).scan().to_arrow()
            times = found["event_timestamp"].cast("int64")
            rows = found.set_column(found.column_names.index("event_timestamp"), "event_timestamp",
                                    times).to_pylist()
            self.same([Sums.of(table, rows)], [Sums.of(table, self.rows[table])], table)
        requests = self.made.lake.load("bid_requests")
        before = requests.scan(snapshot_id=requests.current_snapshot().parent_snapshot_id)
        self.assertEqual(before.count(), self.made.earlier["bid_requests"])

    def test_duckdb(self):
        self.agrees(DuckDB, lambda text: f"TIMESTAMPTZ '{text} UTC'")

    def test_clickhouse(self):
        self.agrees(ClickHouse, lambda text: f"toDateTime64('{text}', 6, 'UTC')")

    def test_spark(self):
        self.agrees(Spark)

    def test_trino(self):
        self.agrees(Trino)

    def test_flink(self):
        self.agrees(Flink, lambda text: f"TIMESTAMP '{text}'")


if __name__ == "__main__":
    unittest.main()
